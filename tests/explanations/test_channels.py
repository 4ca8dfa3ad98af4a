"""What is asked of grids of channels and of filters, before a network is loaded."""

import pytest

import featcache
from featcache.errors import UsageError


@pytest.mark.parametrize(
    "asked",
    [
        lambda: featcache.activations("classifier", "a.jpg", "block_1", most=0),
        lambda: featcache.filters("classifier", most=0),
    ],
)
def test_none_to_show_is_refused(asked):
    with pytest.raises(UsageError, match=r"^most 0: expected at least 1$"):
        asked()
