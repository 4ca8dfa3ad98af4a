"""What is taken of settings where nothing is said and one value does not suit all: head, epochs, decay, votes."""

from collections.abc import Container, Iterable
from dataclasses import replace

from featcache.heads.settings import DESCENT, SETTINGS, STEPPING, Settings, settings_for

FEWEST_STEPS = 5000
"""Steps that heads by descent may take at least: of 240 photos an epoch is two."""

PATIENT_STEPS, LEAST_PATIENCE = 10_000, 2
"""Steps without a better validation after which heads by descent stop, and the least epochs that this may be.

What an epoch can still gain depends on the steps that it takes. Of 80,000 rows of 1,280 features and 100 classes one
epoch (625 steps of 128) is enough at the learning rate 1e-3, and six at 1e-4; of 800,000 rows, which take 6,250, one is
enough at either (`benchmarks/scale_heads.py`), and of eleven epochs ten were in vain. Two, because one epoch may be
worse by chance.
"""


DECAY, DECAY_ROWS = 0.1, 300
"""Weight decay of up to so many rows; of more rows it is less in proportion, as what they tell outweighs it.

Half the decay times the squared weights beside a mean over the rows: the penalty of logistic regression with
C = 1 / (decay · N), 0.1 with 100 rows. Test accuracy of `benchmarks/accuracy.py` without → with 0.1: 82.4 → 83.5 %
(hidden layers 81.3 → 82.7 %) with 100 photos of five classes, 84.5 → 86.0 % (83.8 → 87.3 %) with three classes against
two. With 2,569 photos 0.03 is as good as 0.1, and 0.3 costs a point.
"""

SOLVED = 10_000_000
"""Rows times features times classes up to which the usual head of classes is logistic regression.

It is the model of a ``linear`` head, solved to the end instead of stopped by a few validation rows, with a penalty that
folds choose. It takes seconds for 1,000 photos of five classes with 1,280 features, which are 6.4 million; of more, a
``linear`` head knows as much, is faster, and reads them in batches. Test accuracy of the two beside scikit-learn's grid
search, in the cells of `benchmarks/accuracy.py`: ``linear`` +.3 in the mean and −1.03 in the worst cell (300 photos of
three kinds of flowers against two: it stops too early under too weak a penalty), logistic regression +.5 and −.15.
"""


def usual_head(rows: int, width: int, classes: int, said: Iterable[str]) -> str:
    """Return the head to train on classes where none is said.

    Parameters
    ----------
    rows, width, classes
        Numbers of training rows (of all views), features and classes.
    said
        Names of the settings that were given: a head that does not know one of them is not meant.
    """
    known = (*settings_for("logistic"), *(name for name, own in SETTINGS.items() if not own.heads))
    solved = classes >= 2 and all(name in known for name in said)
    return "logistic" if solved and rows * width * classes <= SOLVED else "linear"


def for_rows(settings: Settings, rows: int, said: Container[str]) -> Settings:
    """Return settings with what depends on the number of rows, where nothing is said.

    The most epochs are 100, or what `FEWEST_STEPS` take; the patience is 10 epochs, or the fewer that `PATIENT_STEPS`
    take (from 128,000 rows on at 128 a step), but at least `LEAST_PATIENCE`; the weight decay of classes is `DECAY`, or
    less. Heads that take no steps stay as they are.

    Parameters
    ----------
    settings
        What was said, and the usual values.
    rows
        Number of training rows.
    said
        Names of the settings that were given.
    """
    if settings.head not in DESCENT:
        return settings
    found = settings
    steps = max(1, -(-rows // settings.batch_size))  # of an epoch
    if "epochs" not in said and settings.optimizer in STEPPING:
        found = replace(found, epochs=max(100, -(-FEWEST_STEPS // steps)))
    if "patience" not in said and settings.optimizer in STEPPING:
        enough = max(LEAST_PATIENCE, -(-PATIENT_STEPS // steps))
        found = replace(found, patience=min(settings.patience, enough))
    # The decay of ``adamw`` is another one: no part of the loss, and multiplied by the learning rate.
    if "weight_decay" not in said and settings.loss == "softmax" and settings.optimizer != "adamw":
        found = replace(found, weight_decay=min(DECAY, DECAY * DECAY_ROWS / max(rows, 1)))
    return found


FADING = 0.07
"""Temperature of votes by cosine similarity, as in DINO's evaluation (Caron et al., https://arxiv.org/abs/2104.14294).

Of twenty votes that count the same, the near ones are outvoted where a class has fewer than twenty rows: with five of
each of five classes, flowers are recognised in 56 % of the cases so, and in 69 % with votes that fade.
"""


def with_fading_votes(settings: Settings) -> Settings:
    """Return settings whose neighbours' votes fade with the distance, where nothing is said and its unit is known."""
    unsaid = settings.head == "knn" and settings.metric == "cosine" and settings.temperature is None
    return replace(settings, temperature=FADING) if unsaid else settings
