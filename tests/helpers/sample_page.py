"""A page with every part on it, of small drawn photos and hostile names."""

import io
from types import SimpleNamespace

import numpy as np
from PIL import Image

from featcache.pages.page import environment, render
from featcache.pages.sprites import Sprites
from helpers.sample_charts import HOSTILE, charts

PARTS = """\
{% from "parts.html" import chart, chart_grid, gallery, matrix, more, note, photo, stats, table %}
{{ stats(numbers) }}
{{ chart_grid(drawn) }}
<h3>Confused</h3>
{{ matrix(names, counts, links, caption="Confusion of the nine classes") }}
{{ note("Rows: the true class; 360 validation photos.") }}
<h3>Per class</h3>
{{ table(columns, rows, caption="Precision and recall", filter=true, id="classes", strong=(1,)) }}
<h3>Photos</h3>
{{ gallery(photos) }}
<h4>{{ "n" * 200 }}</h4>
{% call more("n" * 200) %}A name of a class without a place to break it.{% endcall %}
{% call more("More photos") %}{{ photo(none, "gone.jpg", "cat, 51.0 %", "wrong", id="gone") }}{% endcall %}
"""

COLUMNS = (
    "class",
    {"label": "photos", "kind": "number"},
    {"label": "precision", "kind": "percent", "help": "how many of those so called are"},
    {"label": "recall", "kind": "bar"},
)
HEADLINE = "97.8 % right; cat is taken for dog most often"


def photo_bytes(number: int, size: tuple[int, int] = (160, 120)) -> bytes:
    """Return a JPEG photo of soft colours, another for each number."""
    random = np.random.default_rng(number)
    small = Image.fromarray(random.integers(0, 255, (4, 5, 3), np.uint8))
    stream = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def sample_page() -> str:
    """Return the page as HTML."""
    random = np.random.default_rng(1)
    sprites = Sprites(lambda name: photo_bytes(len(name) + ord((name or "a")[0])))
    counts = random.integers(0, 3, (9, 9)) * random.integers(0, 2, (9, 9)) + np.diag(
        random.integers(20, 40, 9)
    )
    kinds = ("right", "wrong", "plain")
    photos = [
        (sprites.of(f"{name}/{i}.jpg"), f"{name}/{i}.jpg", f"{name or 'none'}, {90 - i}.0 %", kinds[i % 3])
        for i, name in enumerate(HOSTILE)
    ]
    rows = [
        (name, int(counts[i].sum()), counts[i, i] / counts[:, i].sum(), counts[i, i] / counts[i].sum())
        for i, name in enumerate(HOSTILE)
    ]
    content = {
        "numbers": [
            ("97.8 %", "right", "Of 360 validation photos; between 95.6 % and 99.0 % in 95 of 100 such draws."),
            ("1.2 s", "to train", "The head alone, on 1,020 cached rows."),
            ("0.031", "calibration error", "How far its confidence is from its accuracy, on average."),
        ],
        "drawn": list(charts().values()),
        "names": HOSTILE,
        "counts": counts.tolist(),
        "links": {(0, 0): "#gone"},
        "columns": COLUMNS,
        "rows": [*rows, ("no photo", 0, None, None)],
        "photos": photos,
    }  # fmt: skip
    made = environment()
    template = made.from_string(PARTS)
    sections = [
        SimpleNamespace(key="all", title="All parts", headline=HEADLINE, template=template, content=content),
        SimpleNamespace(
            key="none",
            title="Little",
            headline=HOSTILE[0],
            template=made.from_string("<p>Nothing.</p>"),
            content={},
        ),
    ]
    return render(
        "page.html",
        title="flowers/classifier",
        headline="97.8 % of 360 flowers are named right",
        facts={"backbone": "efficientnet_lite0, layer embedding", HOSTILE[0]: HOSTILE[3]},
        notes=["The photos have moved: " + HOSTILE[1]],
        sections=sections,
        sheets=sprites.sheets(),
    )
