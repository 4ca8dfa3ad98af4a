"""Numbers about predictions: arrays in, scores out."""
