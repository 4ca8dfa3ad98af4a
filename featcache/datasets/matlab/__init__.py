"""MATLAB files: the variables in them, and the datasets whose labels and splits are published as such."""
