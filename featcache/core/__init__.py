"""Names, small records, files and processes: what every package may use; knows nothing of images or heads."""
