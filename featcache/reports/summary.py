"""What a page is about, in one sentence and a few facts: its first lines."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from featcache.core.display import SPLIT_WORDS, counted, percent, percents, some
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION, UNLABELLED

if TYPE_CHECKING:
    from featcache.cache import FeatureCache
    from featcache.reports.material import Material


@dataclass(frozen=True)
class Fact:
    """A number of the first lines.

    Parameters
    ----------
    name, value
        What it is called, and the number with its unit.
    note
        One line: what it means, and which rows it is of.
    """

    name: str
    value: str
    note: str


@dataclass(frozen=True)
class Summary:
    """The first lines of a page.

    Parameters
    ----------
    title
        Of the page.
    headline
        The finding in one sentence.
    facts
        The numbers behind it.
    """

    title: str
    headline: str
    facts: tuple[Fact, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def summarised(material: "Material") -> Summary:
    """Return the first lines of a page."""
    if material.compared:
        return _of_several(material)
    if material.records:
        from featcache.reports.sections.records import headline

        return Summary(f"Experiments: {material.path.name or material.path}", headline(material.records), ())
    scores = scores_of(material)
    heads, facts = [], []
    if scores and material.classifier is not None:
        found = _score_facts(material.classifier.task, scores)
        heads.append(f"{found[0].value} {_of_what(material.classifier.task, scores)} {_rows(scores)}")
        facts += found
    if material.run is not None and (verdict := (material.run.get("finished") or {}).get("verdict")):
        heads.append(f"fine-tuning: {verdict}")
    if material.sweep is not None:
        heads.append(_chosen(material.sweep, scored=bool(heads)))
        facts.append(
            Fact("heads", f"{material.sweep['heads']:,}", "Heads that the sweep trained and compared.")
        )
    if (cache := material.cache) is not None:
        facts += _cache_facts(cache)
        heads = heads or [_cache_words(cache)]
    return Summary(_title(material), "; ".join(heads or ["No scores were saved with it"]), tuple(facts))


def _of_several(material: "Material") -> Summary:
    """Return the first lines of a comparison: who is first, and the score of each."""
    order = sorted(material.compared, key=lambda own: -(own.score or 0.0))
    facts = []
    for own in order[:6]:
        task = own.classifier.task
        shown = "–" if own.score is None else f"{own.score:.4f}" if task == REGRESSION else percent(own.score)
        what = "R²" if task == REGRESSION else "Accuracy"
        facts.append(
            Fact(
                own.name,
                shown,
                f"{what}, {_rows(own.scores)}; {own.classifier.head} on {own.classifier.backbone}.",
            )
        )
    headline = f"{len(order)} classifiers compared: {order[0].name} has the highest score, {facts[0].value}"
    return Summary(_title(material), headline, tuple(facts))


def scores_of(material: "Material") -> Mapping[str, Any]:
    """Return the scores that a page shows first: those measured for it, or else those the classifier was saved with."""
    if material.evaluation is not None:
        return material.evaluation.to_json()
    if material.classifier is None:
        return {}
    metrics = material.classifier.metrics
    return metrics.get("test") or next(iter(metrics.values()), {})


def _title(material: "Material") -> str:
    kind = (
        "Sweep"
        if material.sweep is not None
        else "Fine-tuning"
        if material.run is not None
        else "Classifier"
        if material.classifier is not None
        else "Cache"
    )
    if material.compared:
        return f"Classifiers: {', '.join(each.name for each in material.compared)}"
    return f"{kind}: {material.path.name or material.path}"


def _rows(scores: Mapping[str, Any]) -> str:
    split = scores.get("split", "")
    return counted(scores.get("count", 0), f"{SPLIT_WORDS.get(split, split)} photo")


def _cache_words(cache: "FeatureCache") -> str:
    """Return what a cache is of, in words."""
    photos = counted(len(cache), "photo")
    if cache.task == UNLABELLED:
        return f"{photos} without labels"
    return f"{photos} of {counted(len(cache.classes), _NOUNS[cache.task])}: {some(cache.classes)}"


_NOUNS = {MULTICLASS: "class", MULTILABEL: "label", REGRESSION: "number"}


def _of_what(task: str, scores: Mapping[str, Any]) -> str:
    if task == REGRESSION and scores["r2"] < 0:
        return "is R², worse than always answering the mean, on"  # a negative share means nothing
    return {MULTILABEL: "of the answers right on", REGRESSION: "of the variance explained on"}.get(
        task, "right on"
    )


def _score_facts(task: str, scores: Mapping[str, Any]) -> list[Fact]:
    """Return the scores as facts, the first being the one of the headline."""
    rows = _rows(scores)
    if task == REGRESSION:
        low, high = scores["interval"]
        return [
            Fact(
                "R²",
                f"{scores['r2']:.4f}",
                f"Share of the variance of the numbers that is explained. Of the {rows}.",
            ),
            Fact(
                "mean absolute error",
                f"{scores['mae']:.4g}",
                f"How far off its numbers are on average; 95 % interval {low:.4g}–{high:.4g}. Of the {rows}.",
            ),
        ]
    what = (
        "Share of the answers, yes or no, that are right"
        if task == MULTILABEL
        else "Share of photos whose most probable class is the right one"
    )
    facts = [
        Fact("accuracy", percent(scores["accuracy"]), f"{what}. Of the {rows}."),
        Fact(
            "95 % interval",
            percents(*scores["interval"]),
            "Where the accuracy on all photos like these is likely to be: 19 of 20 such intervals hold it. "
            f"From the {rows}.",
        ),
    ]
    if task == MULTILABEL:
        precision = scores.get("mean_average_precision")
        shown = "–" if precision is None else percent(precision)
        facts.append(
            Fact(
                "mean average precision",
                shown,
                f"How well the answers rank the photos, mean over the answers. Of the {rows}.",
            )
        )
    return facts


def _chosen(sweep: Mapping[str, Any], *, scored: bool) -> str:
    """Return what a sweep chose; behind a score, whose it is."""
    from featcache.sweeps.results import shots_text  # which imports JAX

    chosen = sweep["chosen"]
    few = "" if chosen["shots"] is None else f" with {shots_text(chosen['shots'])}"
    which = f"{chosen['head']} on {chosen['cache']} {chosen['layer']}{few}"
    return f"{'by ' if scored else ''}{which}, chosen of {counted(sweep['heads'], 'head')}"


def _cache_facts(cache: "FeatureCache") -> list[Fact]:
    missing = len(cache.quarantined())
    unread = f"{missing:,} could not be read." if missing else "All of them could be read."
    facts = [Fact("photos", f"{len(cache):,}", unread)]
    if cache.task != UNLABELLED:
        name = "classes" if cache.targets is None else "targets"
        facts.append(Fact(name, f"{len(cache.classes):,}", "What the photos are labelled with."))
    return facts
