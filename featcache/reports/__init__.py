"""A page about a classifier, a sweep, a cache or a fine-tuning."""
