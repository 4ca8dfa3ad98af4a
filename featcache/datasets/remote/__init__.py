"""Datasets that lie in object stores and on web servers: listed, fetched, and kept for a while on this disk.

What is listed is laid out as empty files, and read by the very code that reads folders of this disk (`mirror`); what a
record reads is fetched (`fetching`, `web`), ahead of its turn (`pieces`), and kept (`kept`).
"""
