"""Contact sheets: every photo once, its words below it, those that cannot be read named."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from featcache.errors import ImageError
from featcache.pages.contact_sheet import SheetGroup, SheetPhoto, sheet


def picture(value: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((20, 30, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def page(asked) -> str:
    def read(name: str) -> bytes:
        asked.append(name)
        if name == "gone.jpg":
            raise ImageError("unreadable file", "gone.jpg is not there any more")
        return picture(len(asked) * 40)

    groups = [
        SheetGroup(
            "Two <photos>", [SheetPhoto("a.jpg", "not sure", ("daisy 41 %",)), SheetPhoto("gone.jpg")]
        ),
        SheetGroup(
            "The first again", [SheetPhoto("a.jpg", kind="wrong")], title="Again", note="What it means."
        ),
    ]
    return sheet(
        "What to label", groups, read=read, headline="2 photos", notes=["A note."], facts={"of": "10"}
    )


def test_every_photo_is_read_once_and_stands_where_it_is_named(page, asked):
    assert asked == ["a.jpg", "gone.jpg"]
    assert len(re.findall(r'class="thumb sheet0"', page)) == 2
    assert page.count("data:image/webp") == 1
    assert "no picture" in page


def test_words_stand_below_photos_and_are_escaped(page):
    for text in (
        "not sure",
        "daisy 41 %",
        "What it means.",
        "A note.",
        "Two &lt;photos&gt;",
        "✗ wrong",
        ">Again</a>",
    ):
        assert text in page, text


def test_those_that_cannot_be_read_are_named(page):
    assert (
        "1 photo without a picture, the first is gone.jpg: unreadable file: gone.jpg is not there any more."
        in page
    )


def test_without_pictures_the_words_remain():
    page = sheet("T", [SheetGroup("H", [SheetPhoto("a.jpg", "said")])], read=None, notes=["They have moved."])
    assert "data:image/webp" not in page
    assert "said" in page
    assert "They have moved." in page
