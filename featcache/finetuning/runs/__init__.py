"""What a fine-tuning run leaves on disk."""
