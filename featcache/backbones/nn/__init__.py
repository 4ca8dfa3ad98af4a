"""Layers and blocks that the families are built of."""
