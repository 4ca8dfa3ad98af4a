"""Let featcache know a family of networks for the time of some tests."""

from collections.abc import Iterator
from contextlib import contextmanager

from featcache.backbones import registry
from featcache.backbones.family import Family


@contextmanager
def known(family: Family) -> Iterator[None]:
    """Add a family to those that featcache knows, so that what is saved of its networks can be loaded."""
    before = registry.families
    registry.families = lambda: (*before(), family)
    registry.pretrained_weights.cache_clear()
    try:
        yield
    finally:
        registry.families = before
        registry.pretrained_weights.cache_clear()
