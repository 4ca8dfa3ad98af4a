"""Learn from a cache how far photos may lie from what a head was trained on."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from featcache.cache import FeatureCache
from featcache.classifier.known.conformal import right_class_scores
from featcache.classifier.known.familiarity import (
    MOST_HELD_OUT,
    MOST_ROWS,
    Familiarity,
    distance_to,
    sample_of,
)
from featcache.classifier.known.knowledge import Knowledge
from featcache.classifier.known.thresholds import HeldOutScores
from featcache.core.tasks import MULTICLASS, TASK_NAMES
from featcache.heads.feature_table import blocks
from featcache.heads.streamed_nearest import one_vector
from featcache.heads.task_types import TASK_TYPES
from featcache.splits.selection import Selection

if TYPE_CHECKING:
    from featcache.classifier.classifier import Classifier
    from featcache.classifier.refitting import RefittedHeads

BLOCK_BYTES = 2**26
"""Features that are measured at a time."""

NO_ROWS = "no rows were held out to measure distances on; train with validation rows"


def learn_familiarity(
    cache: FeatureCache, layer: str, rows: Selection, refitted: "RefittedHeads | None", *, seed: int
) -> Familiarity | None:
    """Return what a head's training rows make familiar; ``None`` if no other rows can say how far is far.

    The sample is of training rows, also where the head was fitted again on validation rows too: these tell how far
    photos like them lie, which they could not if they were in the sample. Without validation rows the first of the
    folds takes their place.

    Parameters
    ----------
    cache, layer
        The features; of several views of an image the plain one.
    rows, refitted
        See `featcache.classifier.finishing.finish_head`.
    seed
        Of the samples.
    """
    train, held_out = rows.train, rows.val
    if not len(held_out) and refitted is not None and refitted.fold_of is not None:
        train, held_out = refitted.rows[refitted.fold_of != 0], refitted.rows[refitted.fold_of == 0]
    if not len(train) or not len(held_out):
        return None
    random = np.random.default_rng(seed)
    sample = sample_of(one_vector(cache.features(drawn_rows(train, MOST_ROWS, random), layer)), seed=seed)
    measured = drawn_rows(held_out, MOST_HELD_OUT, random)
    parts = blocks(len(measured), int(np.prod(cache.layers[layer].shape)), BLOCK_BYTES)
    distances = [distance_to(sample, one_vector(cache.features(measured[part], layer))) for part in parts]
    return Familiarity(sample, HeldOutScores.of(np.concatenate(distances)))


def learnt_again(
    classifier: "Classifier", features: np.ndarray, raw: np.ndarray, labels: np.ndarray, *, tta: bool
) -> Knowledge:
    """Return what a classifier knows when other rows that it has not learnt from were held out.

    What is familiar stays; how far is far, and how sure right classes are, is told by these rows.

    Parameters
    ----------
    classifier
        With the temperature that it is to have.
    features, raw, labels
        Of the rows: float ``[N, …]``, with `tta` ``[N, V, …]``; the head's raw outputs; and int ``[N]``.
    tta
        Whether outputs are means over views.
    """
    known = classifier.known
    if known.familiarity is not None and len(features):
        plain = features[:, 0] if tta else features
        distances = HeldOutScores.of(known.familiarity.distance(plain))
        known = replace(known, familiarity=Familiarity(known.familiarity.sample, distances))
    return with_sets(classifier, known, raw, labels)


def with_sets(
    classifier: "Classifier", known: Knowledge, raw: np.ndarray, labels: np.ndarray, *, not_so: str = ""
) -> Knowledge:
    """Return what is known with how sure right classes are on held-out rows.

    Parameters
    ----------
    classifier
        With the temperature that it is to have.
    known
        What is known beside.
    raw, labels
        Raw outputs ``[n, C]`` of the head that gives the sets, for rows that it has not learnt from, and int ``[n]``.
    not_so
        Reason why these rows may not be used; ``""`` if they may.
    """
    if classifier.task != MULTICLASS:
        not_so = f"they hold the one right class, and its task is {TASK_NAMES[classifier.task]}"
    elif not len(labels):
        not_so = not_so or "no rows were held out to measure them on; train with validation rows"
    if not_so:
        return replace(known, right=None, no_sets=not_so)
    task = TASK_TYPES[classifier.task]
    p = task.values(classifier.loss, classifier.calibration.cooled(raw), len(classifier.classes))
    return replace(known, right=right_class_scores(p, labels), no_sets="")


def drawn_rows(rows: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
    """Return at most so many rows, drawn at random, so that they are exchangeable with further ones."""
    return rows if len(rows) <= most else np.sort(random.permutation(rows)[:most])
