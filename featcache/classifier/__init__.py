"""From a cache to a trained classifier, and from a classifier to predictions."""
