"""Extract features: run a backbone over a dataset and write a cache."""
