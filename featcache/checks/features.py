"""Checks of features: labels that look shuffled, dead features, a head that colour statistics alone would beat.

Every check is a pure function of arrays and returns its findings; an empty list means that all is well. None takes more
than a second at 10,000 rows of 1280 features; where rows are sampled, a seed chooses them.
"""

import numpy as np

from featcache.checks.rows import Finding
from featcache.core.display import percent
from featcache.heads.class_weights import balanced_class_weights
from featcache.heads.nearest import knn_scores, prototype_scores, prototypes

FEWEST_JUDGES = 8
"""Fewer rows do not tell a head from statistics of the images."""

LEAST_ROWS = 30
"""Rows below which `chance_level` says nothing, as guessing scatters too far, and nothing is said of features that
are constant: behind a ReLU many are 0 for most images, and so for all of a few."""


def check_features(
    x: np.ndarray, labels: np.ndarray, *, most_rows: int = 2000, seed: int = 0
) -> list[Finding]:
    """Check training features ``[N, D]`` and labels ``[N]``: `find_collapsed`, and if they are not, `chance_level`."""
    return find_collapsed(x, most_rows=most_rows, seed=seed) or chance_level(
        x, labels, most_rows=most_rows, seed=seed
    )


def chance_level(
    x: np.ndarray,
    labels: np.ndarray,
    *,
    most_rows: int = 2000,
    neighbours: int = 5,
    deviations: float = 3.0,
    seed: int = 0,
) -> list[Finding]:
    """Find features whose nearest neighbours predict the labels no better than chance.

    Parameters
    ----------
    x
        float ``[N, D]``, finite.
    labels
        int ``[N]``.
    most_rows
        Rows to look at; of more, that many are drawn.
    neighbours
        Each row is classified by so many of the others, the rarer a class the more a vote.
    deviations
        By how many standard deviations of guessing the neighbours must be better than guessing.
    seed
        Of the draw.

    Returns
    -------
    list of Finding
        ``chance-level``, or nothing; nothing either for fewer than `LEAST_ROWS` rows or one class (of two
        rows or more).

    Notes
    -----
    Guessing means the same predictions in random order. With shares a of the labels and b of the predictions
    it is right in ``Σ ab`` of n rows, with the variance ``(Σ ab + (Σ ab)² − Σ ab (a + b)) / (n − 1)``: the test
    that Cohen's kappa is 0 (Fleiss, Cohen and Everitt, "Large sample standard errors of kappa", 1969). Unlike
    the share of the largest class this is fair where one class is nearly all. Neighbours are not independent, so
    that shuffled labels scatter up to 1.25 times as far: of 400 shuffles of each of six made-up data sets 0.3 to
    1.5 % were beyond 3 deviations, and so were not found.
    """
    rows = np.random.default_rng(seed).permutation(len(x))[:most_rows] if len(x) > most_rows else slice(None)
    x, labels = x[rows], labels[rows]
    # A class's only row has no neighbour of its class, whatever the features are.
    paired = np.bincount(labels)[labels] > 1
    x, (names, labels) = x[paired], np.unique(labels[paired], return_inverse=True)
    count = len(labels)
    if count < LEAST_ROWS or len(names) < 2:
        return []
    weight = balanced_class_weights(labels, classes=len(names))[labels]
    scores = knn_scores(x, labels, classes=len(names), neighbours=neighbours, weight=weight)
    predicted = scores.argmax(axis=1)
    true, guessed = (np.bincount(which, minlength=len(names)) / count for which in (labels, predicted))
    both = true * guessed
    chance = both.sum()
    variance = (chance + chance**2 - np.sum(both * (true + guessed))) / (count - 1)
    spread = deviations * np.sqrt(max(variance, 0.0))
    accuracy = np.mean(predicted == labels)
    # Where all predictions are one class the spread is 0, and a rounding above chance is no better.
    if accuracy > chance + spread + 1e-9:
        return []
    message = (
        f"the {neighbours} nearest neighbours of {count} training rows tell their class in {percent(accuracy)}, where "
        f"guessing does in {percent(chance)} ± {percent(spread)}: these features do not separate these classes; "
        "check whether labels are shuffled, and whether the preprocessing is that of the weights"
    )
    return [Finding("chance-level", message)]


def find_collapsed(x: np.ndarray, *, most_rows: int = 10_000, seed: int = 0) -> list[Finding]:
    """Find features that are not finite, the same in all rows, or mostly constant.

    Parameters
    ----------
    x
        float ``[N, D]``.
    most_rows
        Rows to compare; of more, that many are drawn. All are checked for NaN.
    seed
        Of the draw.

    Returns
    -------
    list of Finding
        ``not-finite``, ``same-rows`` (rows differ by less than 1e-4 of their length), ``constant-features``
        (more than half of them, over `LEAST_ROWS` rows or more), or nothing.
    """
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        message = (
            f"{len(bad)} of {len(x)} training rows hold NaN or infinity, first row {bad[0]}; "
            "extract again, in float32 if it was float16 or bfloat16"
        )
        return [Finding("not-finite", message)]
    if len(x) < 2:
        return []
    if len(x) > most_rows:
        x = x[np.random.default_rng(seed).permutation(len(x))[:most_rows]]
    x = np.asarray(x, np.float32)
    mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
    deviation, length = (float(np.sqrt(np.mean(np.square(x - point)))) for point in (mean, 0.0))
    if deviation <= 1e-4 * length:
        share = deviation / length if length else 0.0
        message = (
            f"all {len(x)} training rows are nearly the same: they differ by {share:.1e} of their length; "
            "check whether the images are blank, and whether the preprocessing is that of the weights"
        )
        return [Finding("same-rows", message)]
    # The same bound as featcache.heads.model.feature_scaling has for a feature that cannot be standardised.
    constant = int(np.sum(np.ptp(x, axis=0) <= 1e-6 * (1 + np.abs(mean))))
    if constant <= x.shape[1] / 2 or len(x) < LEAST_ROWS:
        return []
    message = (
        f"{constant} of {x.shape[1]} features are constant over {len(x)} training rows; "
        "check the weights and the preprocessing, or choose another layer"
    )
    return [Finding("constant-features", message)]


def statistics_floor(
    train: np.ndarray, labels: np.ndarray, val: np.ndarray, val_labels: np.ndarray, *, classes: int
) -> float:
    """Return the accuracy that simple statistics of the images reach, without any network.

    Parameters
    ----------
    train, labels
        Statistics of the training images (mean colours, size, …), float ``[N, S]``, and labels int ``[N]``.
    val, val_labels
        The same of validation images.
    classes
        Number of classes.

    Returns
    -------
    float
        The best of the largest class, the nearest class mean, and five nearest neighbours.
    """
    # Each in units of its own deviation: a file size would outweigh every colour.
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    train, val = ((x - mean) / np.where(deviation > 0, deviation, 1.0) for x in (train, val))
    kinds = {"classes": classes, "metric": "euclidean"}
    votes = knn_scores(train, labels, val, neighbours=5, **kinds)
    means = prototype_scores(prototypes(train, labels, **kinds), val, metric="euclidean")[0]
    largest = np.bincount(labels, minlength=classes)
    predictions = (largest.argmax(), votes.argmax(axis=1), means.argmax(axis=1))
    return max(float(np.mean(predicted == val_labels)) for predicted in predictions)


def below_floor(accuracy: float, floor: float, *, count: int = FEWEST_JUDGES) -> list[Finding]:
    """Find a head that is no better than statistics of the images.

    Parameters
    ----------
    accuracy
        Validation accuracy of the chosen head, 0..1.
    floor
        Of `statistics_floor` on the same rows.
    count
        How many rows that are: of a few, nothing is found, since chance makes either the better one.

    Returns
    -------
    list of Finding
        ``below-floor``, or nothing.
    """
    if accuracy > floor or count < FEWEST_JUDGES:
        return []
    message = (
        f"the head is right in {percent(accuracy)} of the validation rows, and simple statistics of the images "
        f"(colours, sizes) in {percent(floor)}: the features add nothing; check the weights, the preprocessing and the "
        "layer, and whether the classes differ in how their images were made"
    )
    return [Finding("below-floor", message)]
