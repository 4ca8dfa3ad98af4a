"""Charts of all kinds, small and hostile, which the pages' tests draw."""

import math
from functools import cache

import numpy as np

from featcache.pages.chart import Axis, Chart, Series

HOSTILE = (
    "<script>alert(1)</script>",
    "\"quotes\" & 'more' <b>",
    "line\nbreak\ttab",
    "right\u202eto left \u200f\u05d0\u05d1",
    "x" * 200,
    "{{ 7 * 7 }} {% raw %} $a_b$",
    "]]> --> </svg></style>",
    "猫と犬 🐈",
    "",
)
"""Names that must be shown as text."""


@cache
def charts() -> dict[str, Chart]:
    """Return the charts by what is special about them."""
    random = np.random.default_rng(0)
    epochs = np.arange(1, 31)
    loss = 0.2 + 1.6 * np.exp(-epochs / 6)
    note = "Mean over the 1,200 validation photos of set <test>."
    accuracy = Axis("accuracy", unit="percent")
    names = tuple(f"a rather long class name, number {i}" for i in range(30))
    sizes = random.integers(5, 400, 30).astype(float)
    recall = np.linspace(0, 1, 200).repeat(2)
    found = [
        Chart(
            "curves",
            "Loss falls until epoch 21",
            Axis("epoch"),
            Axis("loss"),
            (
                Series("train", epochs, loss, low=loss - 0.08, high=loss + 0.08),
                Series("validation", epochs, loss + 0.15 + 0.002 * epochs),
                Series("chance", [1, 30], [1.9, 1.9], colour=-1, dashed=True),
            ),
            note,
            marked=((21, "kept: epoch 21"), (10, "phase 2")),
            levels=((0.4, "best so far"),),
        ),
        Chart(
            "points",
            "More photos help up to about 50 a class",
            Axis("photos a class", "log"),
            accuracy,
            tuple(
                Series(
                    f"head {i}",
                    [1, 2, 5, 10, 50, 100],
                    y := np.clip(np.array([0.4, 0.52, 0.66, 0.78, 0.9, 0.91]) - 0.03 * i, 0, 1),
                    "points",
                    low=y - 0.04,
                    high=y + 0.03,
                )
                for i in range(3)
            ),
            note,
        ),
        Chart(
            "lying",
            "Photos by class",
            Axis("photos"),
            Axis("", "categories", categories=names),
            (
                Series("train", sizes, range(30), "bars"),
                Series("validation", sizes / 5, range(30), "bars"),
            ),
            note,
            stacked=True,
        ),
        Chart(
            "standing",
            "Accuracy by backbone",
            Axis("", "categories", categories=("resnet50", "efficientnet_lite0", "vit_base_patch16")),
            accuracy,
            (
                Series(
                    "accuracy",
                    range(3),
                    [0.91, 0.88, 0.953],
                    "bars",
                    low=[0.9, 0.85, 0.94],
                    high=[0.93, 0.9, 0.96],
                ),
            ),
            note,
            levels=((0.3333, "chance"),),
        ),
        Chart(
            "histogram",
            "Residuals",
            Axis("residual"),
            Axis("photos"),
            (
                Series(
                    "photos", np.arange(-2, 2.1, 0.25), 40 * np.exp(-(np.arange(-2, 2.1, 0.25) ** 2)), "bars"
                ),
            ),
            note,
        ),
        Chart(
            "steps",
            "Precision against recall",
            Axis("recall", unit="percent", low=0, high=1),
            Axis("precision", unit="percent", low=0, high=1),
            tuple(
                Series(f"class {i}", recall[1:], 1 - (0.2 + i / 9) * recall[:-1] ** (4 - i / 2))
                for i in range(6)
            ),
            note,
        ),
        Chart(
            "cost",
            "Accuracy against cost",
            Axis("time for 1,000 photos", "log", "seconds"),
            accuracy,
            (
                Series(
                    "backbones",
                    [3, 9, 40, 600, 7000],
                    [0.7, 0.8, 0.86, 0.9, 0.92],
                    "points",
                    texts=HOSTILE[:5],
                ),
            ),
            note,
            wide=True,
        ),
        Chart("one", "One point", Axis("epoch"), Axis("loss"), (Series("train", [3], [0.25]),), note),
        Chart(
            "nothing",
            "Nothing finite",
            Axis("epoch"),
            Axis("loss", "log"),
            (Series("train", [1, 2, 3], [math.nan, math.inf, -1]),),
            note,
        ),
        Chart(
            "gaps",
            "Gaps stay gaps",
            Axis("epoch"),
            Axis("disk", unit="bytes"),
            (
                Series("a", range(9), [1e6, 2e6, math.nan, 3e6, 5e6, math.inf, math.nan, 4e6, 4.5e6]),
                Series(
                    "b", range(9), [2e6] * 9, "band", low=[1e6] * 9, high=[4e6] * 4 + [math.nan] + [3.5e6] * 4
                ),
            ),
            note,
        ),
        Chart(
            "many",
            "10,000 points",
            Axis("first component"),
            Axis("second component"),
            tuple(
                Series(f"class {i}", *np.add(random.normal(size=(2, 1250)), [[i % 4], [i // 4]]), "points")
                for i in range(8)
            ),
            note,
            wide=True,
        ),
        Chart(
            "long",
            "10,000 steps",
            Axis("step"),
            Axis("loss", "log"),
            (
                Series(
                    "train",
                    np.arange(10_000),
                    np.exp(random.normal(size=10_000) / 4 - np.arange(10_000) / 3000),
                ),
            ),
            note,
        ),
        Chart(
            "hostile",
            HOSTILE[0],
            Axis(HOSTILE[1]),
            Axis(HOSTILE[3], "categories", categories=HOSTILE),
            (
                Series(HOSTILE[2], [0.1, 3, 2, 8, 4, 5, 6, 7, 1], range(9), "bars"),
                Series(
                    HOSTILE[4], [2.1, 1, 4, 9, 3, 5.5, 2, 4, 5], range(9), "points", low=[1] * 9, high=[9] * 9
                ),
            ),
            HOSTILE[5],
            marked=((4, HOSTILE[0]),),
        ),
    ]
    return {chart.name: chart for chart in found}
