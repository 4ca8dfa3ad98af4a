"""Findings about the quality of data: datasets, rows and features."""
