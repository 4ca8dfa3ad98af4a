"""From a dataset and a backbone to a cache."""
