"""What is said of maps that mean nothing, and that what means something is drawn."""

import numpy as np
import pytest

from featcache.explanations.remarks import margins, remark_on

PICTURE = np.random.default_rng(0).integers(0, 256, (70, 70, 3), np.uint8)


def heat(*places, size=7, rest=0.0):
    found = np.full((size, size), rest)
    for place in places:
        found[place] = 1
    return found


RING = [np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (heat(np.s_[3, 3]) * np.nan, "The map holds NaN or infinity"),
        (heat(rest=np.inf), "The map holds NaN or infinity"),
        (heat(rest=0.0), "The map is empty: no place of the photo speaks for it"),
        (heat(rest=3.0), "The map is flat"),
        (heat(rest=-1.0) + np.eye(7) * 1e-5, "The map is flat"),
        (heat(rest=-1.0) - np.eye(7), "No place of the photo speaks for it"),
        (heat(*RING), r"100\.0 % of the heat lies in the outermost cells, 49\.0 % of the area"),
        (
            heat(np.s_[0, 0], np.s_[0, -1], np.s_[-1, 0], np.s_[-1, -1]),
            r"100\.0 % of the heat lies in the outermost",
        ),
        (heat(*RING, size=14), r"100\.0 % of the heat lies in the outermost cells, 26\.5 % of the area"),
    ],
)
def test_said(found, text):
    import re

    assert re.match(text, remark_on(found, PICTURE))


@pytest.mark.parametrize(
    "found",
    [
        heat(np.s_[3, 3]),
        heat(np.s_[0]),  # a thing at one edge
        heat(np.s_[:, -1], size=5),
        heat(np.s_[0, :3], np.s_[:3, 0]),  # in a corner
        heat(*RING, np.s_[2:5, 2:5]),
        heat(np.s_[2, 2], rest=-5),
        np.random.default_rng(1).random((7, 7)),
    ],
)
def test_drawn(found):
    assert remark_on(found, PICTURE) == ""


def test_plain_margins_of_a_photo():
    framed = PICTURE.copy()
    framed[:20], framed[-20:] = 255, 250
    assert margins(framed).mean() == pytest.approx(40 / 70)
    assert not margins(PICTURE).any()
    on_margin, within = heat(np.s_[0, 2], np.s_[6, 3]), heat(np.s_[3, 3])
    assert remark_on(on_margin, framed).startswith(
        "100.0 % of the heat lies on the plain margins of the photo"
    )
    assert remark_on(within, framed) == ""
    assert remark_on(within, np.zeros_like(PICTURE)) == ""  # nothing but margin: not theirs to say
