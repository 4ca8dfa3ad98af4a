"""What E1, E2, E3, E7 and E8 share: extract once, train one head on several splits, compare with scikit-learn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import Data, Output, Small, Weights, open_material, with_transforms
from records import Comparison, fingerprints_of, processor_seconds, weights_note, write_record

import featcache
from featcache.metrics.intervals import wilson_interval

__all__ = ["Data", "Output", "Small", "Weights", "run"]

LINEAR: Mapping[str, Any] = {
    "head": "linear",
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "schedule": "constant",
    "weight_decay": 0.0,
    "batch_size": 32,
    "epochs": 6,
    "patience": 6,
    "scaling": "standard",
}
"""The head of E1, E2 and E3: a linear softmax, by Adam, in six epochs; features are standardised here."""


def run(
    name: str,
    *,
    title: str,
    data: str,
    backbone: str,
    weights: str | None,
    output: Path,
    small: bool,
    protocol: Mapping[str, Any],
    parts: tuple[int, ...],
    published: Mapping[str, float],
    differs: str,
    seeds: Sequence[int] = range(5),
    layer: str = "pool",
    image_size: int | None = None,
) -> Path:
    """Run one experiment and write its record.

    Parameters
    ----------
    name, title
        Of the record.
    data, backbone, weights
        What to extract, and with what.
    output
        Folder for everything that is made.
    small
        Run on the stand-in.
    protocol
        Arguments of `featcache.train_head`.
    parts
        Per cent of all photos that train, validate and, where the original tests, test; every seed draws them anew.
    published
        What the original reports: ``accuracy`` of the last part, and ``seconds`` of its whole training.
    differs
        What differs from the original.
    seeds
        Of the splits, the starting weights and the order of the batches.
    layer
        What is cached of the network.
    image_size
        Input size of the original, where it is not the weights' own.
    """
    output.mkdir(parents=True, exist_ok=True)
    material = open_material(data, backbone, weights, small, image_size)
    # As Keras' pipelines do: resized whatever the aspect ratio is.
    transforms = with_transforms(material.network, crop_mode="squash", crop_pct=1.0)
    began = processor_seconds()
    extraction = featcache.extract(
        material.data,
        backbone=material.network,
        transforms=transforms,
        layers=(layer,),
        output=output / f"{name}-{backbone}.h5",
    )
    spent = {"extract": processor_seconds() - began} if extraction.computed else {}
    cache, cuts = extraction.cache, slices(parts)
    seeds = list(seeds)[:2] if small else list(seeds)
    place = output / f"{name}-classifier"
    rows = [one_split(cache, place, layer, {**protocol, **cuts}, seed) for seed in seeds]
    spent["first head"] = rows[0]["seconds"]
    result = summary(rows)
    return write_record(
        output,
        name,
        title=title,
        data=material.data.spec,
        images=extraction.images,
        small=small,
        weights={material.network.name: weights_note(material.network.tag)},
        fingerprints=fingerprints_of(cache),
        seeds=seeds,
        settings={**protocol, **cuts, "layer": layer, "transforms": transforms.to_json()},
        comparisons=compared(rows, result, published, spent, tested=len(parts) == 3),
        result={**result, "splits": [{key: row[key] for key in SHOWN} for row in rows]},
        seconds={f"{stage}, processor": value for stage, value in spent.items()},
        differs=differs,
    )


def one_split(
    cache: featcache.FeatureCache, output: Path, layer: str, arguments: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Train one head, and scikit-learn's on the same photos; return the scores on its last part."""
    began = processor_seconds()
    classifier = featcache.train_head(cache, output=output, refit=False, seed=seed, **arguments)
    seconds = processor_seconds() - began
    row = judged(classifier, cache, arguments["val" if arguments["test"] == "none" else "test"])
    train = judged(classifier, cache, arguments["train"])["rows"]
    row["theirs"] = scikit_learn(cache, layer, train, row["rows"], arguments, seed)
    epochs = [float(value) for value in classifier.history["val_score"]]
    return row | {"seed": seed, "seconds": seconds, "val_accuracy_by_epoch": epochs}


def compared(
    rows: Sequence[Mapping[str, Any]],
    result: Mapping[str, Any],
    published: Mapping[str, float],
    spent: Mapping[str, float],
    *,
    tested: bool,
) -> list[Comparison]:
    """Return the published numbers beside ours; an original without a test reports the last epoch."""
    own, ends, wanted = result["accuracy"], result["interval"], published["accuracy"]
    if tested:
        what = "test accuracy"
        found = [Comparison(what, wanted, own, ends)]
    else:
        what = "validation accuracy"
        found = [last_epoch(rows, wanted), Comparison(f"{what} of the best epoch", None, own, ends)]
    for name, theirs in result["scikit_learn"].items():
        found.append(
            Comparison(f"{what} by scikit-learn's {name}", None, theirs["accuracy"], theirs["interval"])
        )
    if "seconds" in published:
        ours = sum(spent.values()) if "extract" in spent else None
        note = "ours is processor time, extraction included"
        found.append(Comparison("seconds of a training", published["seconds"], ours, unit="s", note=note))
    return found


def last_epoch(rows: Sequence[Mapping[str, Any]], published: float) -> Comparison:
    """Return the accuracy after the last epoch: featcache keeps the epoch that validation likes best."""
    accuracy = float(np.mean([row["val_accuracy_by_epoch"][-1] for row in rows]))
    ends = wilson(accuracy, rows[0]["photos"])
    return Comparison("validation accuracy after the last epoch", published, accuracy, ends)


def slices(parts: tuple[int, ...]) -> dict[str, Any]:
    """Return the arguments of `featcache.train_head` that cut all photos into parts of so many per cent."""
    train, judge = parts[0], parts[0] + parts[1]
    names = {"train": f"all[:{train}%]", "val": f"all[{train}%:{judge}%]", "test": "none"}
    if len(parts) == 3:
        names["test"] = f"all[{judge}%:]"
    return {**names, "shuffle_slices": True}


SHOWN = ("seed", "accuracy", "interval", "photos", "val_accuracy_by_epoch", "confusion")
"""Of each split, what stands in the record."""


def judged(classifier: featcache.Classifier, cache: featcache.FeatureCache, part: str) -> dict[str, Any]:
    """Return a head's scores on a part of the photos: their rows, and which of them it has right."""
    found = classifier.evaluate(cache, part)
    assert found.images is not None
    place = {name: row for row, name in enumerate(cache.ids)}
    return {
        "accuracy": found.accuracy,
        "interval": list(found.interval),
        "photos": found.count,
        "confusion": found.confusion,
        "rows": np.array([place[file] for file in found.images.files]),
        "right": found.images.guesses == found.images.truth,
    }


def scikit_learn(
    cache: featcache.FeatureCache,
    layer: str,
    train: np.ndarray,
    judge: np.ndarray,
    protocol: Mapping[str, Any],
    seed: int,
) -> dict[str, np.ndarray]:
    """Return which of the rows `judge` scikit-learn's heads have right, that learnt from the same features.

    Of a linear head: the same softmax by the same Adam in as many epochs (a perceptron without a hidden layer), and
    `LogisticRegression`, which has the minimum. Of another head: only the latter.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    models: dict[str, Any] = {"LogisticRegression": LogisticRegression(max_iter=2000)}
    if protocol["head"] == "linear":
        models["Adam"] = MLPClassifier(
            hidden_layer_sizes=(),
            solver="adam",
            alpha=0.0,
            batch_size=protocol["batch_size"],
            learning_rate_init=protocol["learning_rate"],
            max_iter=protocol["epochs"],
            random_state=seed,
        )
    features = {
        part: cache.features(rows, layer).reshape(len(rows), -1) for part, rows in ((0, train), (1, judge))
    }
    found = {}
    for name, model in models.items():
        fitted = make_pipeline(StandardScaler(), model).fit(features[0], cache.labels[train])
        found[name] = fitted.predict(features[1]) == cache.labels[judge]
    return found


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return means over the splits; an interval is that of one run: the mean of the splits' own 95 % intervals.

    Of scikit-learn's heads also the difference of ours, photo by photo: of each photo the mean over the splits that
    judged it, then a 95 % interval over photos.
    """
    values = np.array([row["accuracy"] for row in rows])
    found: dict[str, Any] = {
        "accuracy": values.mean(),
        "interval": np.mean([row["interval"] for row in rows], axis=0).tolist(),
        "deviation": values.std(ddof=1) if len(values) > 1 else 0.0,
    }
    theirs = {}
    for name in rows[0]["theirs"]:
        shares = [row["theirs"][name].mean() for row in rows]
        accuracy = float(np.mean(shares))
        difference, ends = paired([(row["rows"], row["right"], row["theirs"][name]) for row in rows])
        interval = wilson(accuracy, rows[0]["photos"])
        theirs[name] = {
            "accuracy": accuracy,
            "interval": interval,
            "ours_within": interval[0] <= found["accuracy"] <= interval[1],
            "ours_minus_theirs": difference,
            "difference_interval": ends,
        }
    return {**found, "scikit_learn": theirs}


def paired(
    judged: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> tuple[float, tuple[float, float]]:
    """Return the mean over photos of one head's being right minus another's, and its 95 % interval.

    Parameters
    ----------
    judged
        For each split the rows that were judged, int ``[n]``, and which of them either has right, bool ``[n]`` each. A
        photo that several splits judge counts once, by its mean.
    """
    sums: dict[int, list[float]] = {}
    for rows, first, second in judged:
        for photo, value in zip(rows.tolist(), (first.astype(float) - second).tolist(), strict=True):
            sums.setdefault(photo, []).append(value)
    each = np.array([np.mean(own) for own in sums.values()])
    half = 1.96 * each.std(ddof=1) / np.sqrt(len(each))
    return float(each.mean()), (float(each.mean() - half), float(each.mean() + half))


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of `count` photos."""
    return wilson_interval(share * count, count)
