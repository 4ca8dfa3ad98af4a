"""What ``classifier.json`` holds; `featcache.classifier.loading` checks what depends on the kind of head.

Keys that are optional here are missing in classifiers of earlier versions of featcache.
"""

from featcache.core.documents.document_format import DocumentFormat
from featcache.core.documents.kinds import (
    ANYTHING,
    PATH,
    SHA256,
    Flag,
    Items,
    Maybe,
    Number,
    Record,
    Table,
    Text,
    Whole,
)
from featcache.core.documents.recipe import RECIPE, VIEWS
from featcache.core.tasks import TASKS

_NAME = Text(1, 200)
_SLICE = Text(1, 10_000)
_SHARE = Number(0, 1)
_COUNT = Whole(0)

SELECTION = Record(
    {},
    {
        "train": _SLICE,
        "val": Maybe(_SLICE),
        "test": Maybe(_SLICE),
        "val_fraction": _SHARE,
        "group_by": Maybe(Text()),
        "seed": Whole(0),
        "folds": _COUNT,
        "shuffle_slices": Flag(),
        "exclude": Items(Text()),
    },
)
"""Which rows trained, validated and tested: `featcache.splits.selection.SplitSpec`."""

REJECTION = Record(
    {
        "threshold": Maybe(Number(0, 2)),  # a float32 of 1 may be a little above
        "accepted": _COUNT,
        "count": _COUNT,
        "coverage": _SHARE,
        "accuracy": Maybe(_SHARE),
        "lower": _SHARE,
        "level": _SHARE,
    }
)

CALIBRATION = Record(
    {
        "temperature": Number(1e-6, 1e6),
        "count": _COUNT,
        "error_before": Maybe(Number(0)),
        "error_after": Maybe(Number(0)),
        "rejection": Maybe(REJECTION),
        "note": Maybe(Text()),
    }
)

KNOWN = Record(
    {
        "distances": Maybe(Whole(1)),
        "right": Maybe(Whole(1)),
        "no_familiarity": Text(),
        "no_sets": Text(),
    }
)
"""Of how many held-out rows there are distances, and probabilities of the right class; why either is missing."""

TRAINING = Record(
    {},
    {
        "best_epoch": _COUNT,
        "epochs_run": _COUNT,
        "history": Table(Items(Maybe(Number()))),
        "seconds": Maybe(Number(0)),
        "validation": Text(),
        "tta": Flag(),
        "view_recipe": VIEWS,
        "selection": SELECTION,
        "image_floor": Maybe(Number()),
        "warnings": Items(Record({"code": Text(), "message": Text()})),
        "sweep": Text(),
        "finetuned": Table(),
        "left_out": Record({}, {"ids": _COUNT, "sha256": SHA256, "rows": Table(_COUNT)}),
        "refitted": Record({}, {"images": _COUNT, "folds": _COUNT}),
    },
)
"""Beside these, the settings of the head: `featcache.heads.settings.Settings`."""

PROVENANCE = Record(
    {"cache": PATH, "dataset": Text()},
    {
        "base": Maybe(_NAME),
        "rows_sha256": SHA256,
        "slice": Maybe(_SLICE),
        "split_rule": Maybe(Record({}, {"rule": Text(), "test_fraction": _SHARE, "seed": Whole(0)})),
        "created": Text(),
        "featcache": Text(),
    },
)

CLASSIFIER = DocumentFormat(
    Record(
        {
            "backbone": _NAME,  # architecture.tag
            "weights": Maybe(PATH),
            "recipe": RECIPE,
            "layer": _NAME,
            "fingerprint": SHA256,
            "head": _NAME,
            "classes": Items(Text(), least=1, distinct=True),
            "metrics": Table(Table()),
            "training": TRAINING,
            "provenance": PROVENANCE,
            "head_sha256": SHA256,
        },
        {
            "task": Text(choices=TASKS),
            "calibration": Maybe(CALIBRATION),
            "known": Maybe(KNOWN),
            "layer_weights_sha256": SHA256,  # of the stages as far as the layer
            "backbone_sha256": SHA256,  # of the file of its own backbone
            "document_sha256": ANYTHING,
        },
    ),
    what="a classifier's document",
    remedy="restore it from a copy, or train the head again",
    name="featcache-classifier",
    version=1,
)
