"""The tiny network is known here."""

from collections.abc import Iterator

import pytest
from helpers.tiny_finetuning import registered


@pytest.fixture(scope="module", autouse=True)
def _tiny_is_known() -> Iterator[None]:
    with registered():
        yield
