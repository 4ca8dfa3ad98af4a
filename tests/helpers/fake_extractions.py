"""Extractions with a fake network, whole or stopped after some rows."""

from pathlib import Path

import pytest

import featcache
from featcache.errors import Interrupted
from helpers.fake_network import FakeNetwork


def extract(photos: Path | str, target: Path, **options):
    return featcache.extract(photos, backbone=FakeNetwork(), output=target, workers=1, **options)


def extract_until(photos: Path, target: Path, done: int) -> None:
    """Stop as a signal would, once that many rows are there."""
    seen = []
    with pytest.raises(Interrupted):
        extract(
            photos,
            target,
            on_progress=lambda progress: seen.append((progress.stage, progress.done)),
            stop=lambda: seen[-1][0] == "compute" and seen[-1][1] >= done,
        )
