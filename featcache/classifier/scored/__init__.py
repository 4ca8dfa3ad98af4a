"""What a classifier is scored on: rows, their images, those that it has seen, and the photos nearest to them."""
