"""Rows computed by several processes and machines: actors compute, the process that was started writes."""
