"""Which unlabelled photos to label next."""
