"""Classifiers and backbones written for elsewhere, with their preprocessing inside."""
