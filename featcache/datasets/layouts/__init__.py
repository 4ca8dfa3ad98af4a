"""What the folders of a dataset are, by their names and places alone: splits, classes, or neither."""
