"""Fits many heads on cached features and chooses one on validation rows."""
