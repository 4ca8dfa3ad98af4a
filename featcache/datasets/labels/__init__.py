"""What says the label of an image: names of files, cells of tables, lists of classes."""
