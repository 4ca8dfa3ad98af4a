"""The network that files nearly fit is known where tests ask for it."""

from collections.abc import Iterator

import pytest
from helpers import near_network


@pytest.fixture(scope="module")
def near_is_known() -> Iterator[None]:
    with near_network.registered():
        yield
