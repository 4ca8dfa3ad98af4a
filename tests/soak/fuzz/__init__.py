"""Fuzzing of every reader of foreign bytes: ``python -m tests.soak.fuzz NAME --minutes M``; see `.__main__`."""
