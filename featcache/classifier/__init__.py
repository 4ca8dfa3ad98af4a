"""Train a classifier on a cache, calibrate and evaluate it, and predict with it."""
