"""Wrong labels: flip some of the training labels, let `featcache.audit` find them, and see what that gains.

Command::

    python pipelines/label_noise.py [--data PHOTOS/] [--backbone efficientnet_lite0]

Question: of 5, 10 and 20 % flipped labels, how many does an audit find (recall), how many of those that it names are
flipped (precision), and what does a head reach on clean test photos after learning from the noisy labels, from what the
audit leaves of them, and from the clean labels? Relabelling computes nothing: every cache takes its features from the
first one. Labels that were wrong before are not known, so that to name one of them counts as a mistake of the audit.

Result (EfficientNet-Lite0, tf_flowers, 5 draws, 548 test photos; two busy cores, 424 s of processors):

======= ===================== ===================== ============================== ============================
flipped found of them         flips among the named test accuracy: noisy, cleaned  gained, in points
======= ===================== ===================== ============================== ============================
5 %     72.7 % (68.0 to 77.3) 73.2 % (67.9 to 78.5) 91.1, 91.9 %                   +0.8 (+0.3 to +1.3)
10 %    69.3 % (65.1 to 73.6) 83.2 % (79.1 to 87.2) 91.5, 92.2 %                   +0.6 (−0.1 to +1.3)
20 %    70.7 % (68.7 to 72.7) 90.5 % (89.8 to 91.2) 90.2, 91.3 %                   +1.1 (+0.4 to +1.8)
======= ===================== ===================== ============================== ============================

Clean labels give 92.7 %: leaving out what the audit names wins back about half of what the noise costs. Intervals are
over the draws. Record and figure: ``pipelines/results/label_noise.json``, ``.svg``.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from common import FLOWERS, Data, Output, Small, Weights, load_network
from records import Comparison, fingerprints_of, weights_note, write_record
from script import run_script
from study import (
    MARKERS,
    PALETTE,
    Clock,
    Most,
    new_figure,
    open_photos,
    over_draws,
    over_draws_and_photos,
    right,
    save_figure,
    share,
)

import featcache

RATES = (0.05, 0.1, 0.2)
LABELS = ("noisy", "cleaned", "clean")


def flipped(data: featcache.Dataset, rate: float, seed: int) -> tuple[featcache.Dataset, set[str]]:
    """Return a dataset with a share of its training labels replaced by another class at random, and whose they are."""
    random = np.random.default_rng(seed)
    rows = [row for row, own in enumerate(data.records) if own.split == "train"]
    chosen = random.choice(rows, round(rate * len(rows)), replace=False).tolist()
    records = list(data.records)
    for row in chosen:
        other = (records[row].label + 1 + int(random.integers(len(data.classes) - 1))) % len(data.classes)
        records[row] = replace(records[row], label=other)
    return replace(data, records=records), {records[row].id for row in chosen}


def found_of(named: set[str], flips: set[str]) -> dict[str, float]:
    """Return which share of the flips was named, and which share of the named are flips."""
    both = len(named & flips)
    return {"recall": both / len(flips), "precision": both / len(named) if named else 1.0}


def one_draw(
    data: featcache.Dataset, clean: featcache.Extraction, rate: float, seed: int, network: Any
) -> dict[str, Any]:
    """Return what an audit finds of one draw of flips, and which test photos heads with and without it have right."""
    noisy, flips = flipped(data, rate, seed)
    target = clean.path.with_name(f"noisy-{round(100 * rate)}-{seed}.h5")
    extraction = featcache.extract(noisy, backbone=network, output=target, reuse=[clean.path], overwrite=True)
    suspects = featcache.audit(extraction, only="wrong-labels", seed=seed)["wrong-labels"].entries
    named = {entry.id for entry in suspects if entry.certain and entry.split == "train"}
    heads = {
        "noisy": fitted(extraction, seed),
        "cleaned": fitted(extraction, seed, exclude=sorted(named)),
    }
    return {
        **found_of(named, flips),
        "flips": len(flips),
        "named": len(named),
        "right": {labels: right(head, extraction) for labels, head in heads.items()},
    }


def fitted(cache: featcache.Extraction, seed: int, **more: Any) -> featcache.Classifier:
    """Return a logistic head, whose strength folds choose."""
    return featcache.train_head(cache, output=None, head="logistic", calibrate=False, seed=seed, **more)


def summed(draws: list[dict[str, Any]], clean: np.ndarray) -> dict[str, Any]:
    """Return means over draws, with 95 % intervals: of the audit over draws, of accuracies over draws and photos."""
    row: dict[str, Any] = {name: over_draws([own[name] for own in draws]) for name in ("recall", "precision")}
    for own in row.values():
        own["interval"] = [min(1.0, max(0.0, end)) for end in own["interval"]]
    row["named"] = float(np.mean([own["named"] for own in draws]))
    correct = {name: np.array([own["right"][name] for own in draws]) for name in ("noisy", "cleaned")}
    correct["clean"] = np.array([clean] * len(draws))
    row["accuracy"] = {name: of_draws(values) for name, values in correct.items()}
    row["gained"] = over_draws((correct["cleaned"].mean(axis=1) - correct["noisy"].mean(axis=1)).tolist())
    row["lost_by_noise"] = over_draws((clean.mean() - correct["noisy"].mean(axis=1)).tolist())
    return row


def of_draws(correct: np.ndarray) -> dict[str, Any]:
    """Return the mean accuracy of right or wrong ``[draws, N]``, with an interval over draws and photos."""
    of_photos = share(correct.mean(axis=0))["interval"]
    values = correct.mean(axis=1).tolist()
    return {"mean": float(np.mean(values)), "interval": list(over_draws_and_photos(values, tuple(of_photos)))}


def drawn(found: dict[str, dict[str, Any]], output: Path) -> str:
    """Draw what the audit finds, and what heads reach, over the share of flipped labels."""
    figure, (finds, gains) = new_figure(2)
    rates = [100 * float(rate) for rate in found]
    series = [(finds, name, [own[name] for own in found.values()]) for name in ("recall", "precision")]
    series += [(gains, name, [own["accuracy"][name] for own in found.values()]) for name in LABELS]
    for number, (axes, name, rows) in enumerate(series):
        values = [100 * row["mean"] for row in rows]
        errors = [[abs(100 * (row["mean"] - row["interval"][end])) for row in rows] for end in (0, 1)]
        look = {"color": PALETTE[number], "marker": MARKERS[number], "capsize": 3, "label": name}
        axes.errorbar([rate + 0.15 * (number % 3 - 1) for rate in rates], values, errors, **look)
    for axes in (finds, gains):
        axes.set(xlabel="flipped training labels, %")
        axes.set_xticks(rates)
        axes.legend(frameon=False)
    finds.set(ylabel="%", title="What the audit names")
    gains.set(ylabel="test accuracy, %", title="Heads of noisy, cleaned and clean labels")
    return save_figure(figure, output, "label_noise")


def main(
    data: Data = FLOWERS,
    backbone: Annotated[str, typer.Option(help="Network.")] = "efficientnet_lite0",
    weights: Weights = None,
    output: Output = Path("runs/label_noise"),
    seeds: Annotated[int, typer.Option(help="Draws of the flips.")] = 5,
    most: Most = None,
    small: Small = False,
) -> None:
    photos, rates = open_photos(data, small, most), RATES
    if small:
        rates, seeds = (0.1,), 1
    network = load_network(backbone, weights, small)
    extracting, looking = Clock(), Clock()
    with extracting.running():
        clean = featcache.extract(photos, backbone=network, output=output / "clean.h5")
    correct, found = right(fitted(clean, 0), clean), {}
    for rate in rates:
        with looking.running():
            draws = [one_draw(photos, clean, rate, seed, network) for seed in range(seeds)]
        found[f"{rate:g}"] = summed(draws, correct)
        typer.echo(f"{rate:.0%}: {found[f'{rate:g}']}", err=True)
    write_record(
        output,
        "label_noise",
        title="What an audit finds of flipped labels, and what that gains",
        data=photos.spec,
        images=clean.images,
        small=small,
        weights={network.name: weights_note(network.tag)},
        fingerprints=fingerprints_of(clean.cache),
        seeds=list(range(seeds)),
        settings={"rates": list(rates), "head": "logistic", "c": "chosen by folds", "list": "wrong-labels"},
        comparisons=[
            Comparison(
                f"{float(rate):.0%} flipped: {what}",
                None,
                own[key]["mean"],
                tuple(own[key]["interval"]),
                unit,
                note,
            )
            for rate, own in found.items()
            for what, key, unit, note in (
                ("found of them", "recall", "%", "over draws"),
                (
                    "flips among the named",
                    "precision",
                    "%",
                    "labels that were wrong before count as mistakes",
                ),
                (
                    "test accuracy gained without them",
                    "gained",
                    "points",
                    "over draws, for these test photos",
                ),
            )
        ],
        result={"clean": share(correct), "rates": found},
        seconds={"extract": extracting.wall, "audits and heads": looking.wall},
        figures=[drawn(found, output)],
    )


if __name__ == "__main__":
    run_script(main)
