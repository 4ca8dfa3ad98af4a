"""What the reader of each page has before its first block: photos, and what commands made of them."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from helpers.doc_pages import photos
from helpers.doc_pages.blocks import ROOT


@dataclass(frozen=True)
class Reader:
    """What a reader has beside the photos of `photos.for_all`.

    Parameters
    ----------
    make
        Writes more into the folder.
    shell
        Commands that ran then.
    python
        Statements that ran before, such as ``classifier = …``.
    """

    make: Callable[[Path], None] = lambda root: None
    shell: str = ""
    python: str = ""


EXTRACT = "featcache extract photos/\n"
TRAIN = "featcache train-head photos-efficientnet_lite0.h5\n"
NAMES = (
    "import featcache\n"
    "classifier = featcache.Classifier.load('classifier')\n"
    "cache = featcache.FeatureCache('photos-efficientnet_lite0.h5')\n"
    "extraction = featcache.extract('photos/')\n"
)
FLOWERS = "featcache extract flowers/ -o flowers.h5\n"
TRAINED = Reader(shell=EXTRACT + TRAIN, python=NAMES)
"""The reader of most pages."""
TEXTURES = Reader(shell="rm -rf photos; featcache demo --photos photos\n" + EXTRACT + TRAIN, python=NAMES)
"""The reader who comes from the tutorial."""

READERS = {
    "README.md": Reader(
        python=(
            "from pathlib import Path\n"
            "paths = sorted(Path('photos').glob('*/*.png'))\n"
            "labels = [path.parent.name for path in paths]\n"
        )
    ),
    "docs/tutorial.md": Reader(shell="rm -rf photos\n"),
    **{f"docs/concepts/{name}.md": TEXTURES for name in ("recipe", "cache", "protocol", "honest-results")},
    "docs/guide/audit.md": Reader(photos.mislabelled, "featcache extract photos/ -o flowers.h5\n"),
    "docs/guide/datasets.md": Reader(photos.odd_folders, EXTRACT + TRAIN, NAMES),
    "docs/guide/explain.md": Reader(photos.few, EXTRACT + TRAIN, NAMES),
    "docs/guide/images.md": Reader(photos.with_faults),
    "docs/guide/published.md": Reader(photos.matlab),
    "docs/guide/finetuning.md": Reader(shell="cp -r new-photos more-photos\n", python="import featcache\n"),
    "docs/guide/label-next.md": Reader(python="import featcache\n"),
    "docs/guide/report.md": Reader(
        photos.mislabelled,
        "rm photos/daisy/copy.png\n"
        + EXTRACT
        + TRAIN
        + "featcache sweep photos-efficientnet_lite0.h5 --head logistic,ridge\n"
        + "featcache train-head photos-efficientnet_lite0.h5 -o head-a\n"
        + "featcache train-head photos-efficientnet_lite0.h5 --head ridge -o head-b\n"
        + f"mkdir pipelines && cp -r {shlex.quote(str(ROOT / 'pipelines/results'))} pipelines/results\n",
        python=NAMES,
    ),
    "docs/guide/results.md": Reader(
        photos.holiday,
        EXTRACT + TRAIN + "cp photos-efficientnet_lite0.h5 photos.h5\n",
        python=NAMES + "from PIL import Image\n"
        "from pathlib import Path\nfrom types import SimpleNamespace\n"
        "url = 'a.jpg'  # there is no network\n"
        "requests = SimpleNamespace(get=lambda url: SimpleNamespace(content=Path(url).read_bytes()))\n",
    ),
    "docs/guide/scikit-learn.md": Reader(photos.textures),
    "docs/guide/similar.md": Reader(
        photos.flowers, FLOWERS + "featcache train-head flowers.h5\n", "import featcache\n"
    ),
    "docs/guide/sources.md": Reader(
        photos.hub,
        python=(
            "import numpy as np\n"
            "images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)\n"
            "labels = [number % 2 for number in range(20)]\n"
        ),
    ),
    "docs/guide/splits.md": Reader(
        photos.mislabelled,
        EXTRACT + TRAIN + "cp photos-efficientnet_lite0.h5 flowers.h5; cp flowers.h5 x.h5\n",
        NAMES,
    ),
    "docs/guide/unknown.md": Reader(
        photos.flowers,
        FLOWERS + "mv flowers flower-photos; featcache train-head flowers.h5 -o flowers\n",
        "import featcache\nclassifier = featcache.Classifier.load('flowers')\n",
    ),
    "docs/reference/api.md": Reader(
        photos.with_faults,
        EXTRACT
        + "mv photos-efficientnet_lite0.h5 flowers.h5; cp flowers.h5 photos-mobilenet_v2.h5; cp a.jpg rose.jpg\n"
        "cp a.jpg new.jpg\n"
        "featcache train-head flowers.h5 -o flowers && cp -r flowers photos-mobilenet_v2-linear\n",
        "from featcache import *\n"
        "train = FeatureCache('photos-mobilenet_v2.h5')\n"
        "paths = [f'photos/{train.ids[row]}' for row in train.rows_of('train')]\n",
    ),
    "docs/reference/cache-format.md": Reader(
        shell="featcache extract photos/ -o flowers-efficientnet_lite0.h5\n"
    ),
}
"""By page; that of another page is `TRAINED`."""


def reader_of(page: str) -> Reader:
    """Return what a page's reader has."""
    return READERS.get(page, TRAINED)
