"""What a classifier knows of photos like those it has seen: how far others lie, and which classes a photo may be."""
