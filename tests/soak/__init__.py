"""Hours of random work on a dataset folder and its caches, against a model that knows what must be true.

``python -m tests.soak --minutes 60``, or ``pytest -m soak tests/soak --soak-minutes 60``; see `tests.soak.run`.
"""
