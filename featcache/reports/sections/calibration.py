"""Whether the probabilities are true: reliability before and after calibration, and what "unknown" costs and brings."""

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from featcache.classifier.calibration import Calibration
from featcache.classifier.rejection import Rejection, by_confidence, rejection_at
from featcache.core.display import counted, percent
from featcache.metrics.classification import ReliabilityBin, expected_calibration_error, reliability
from featcache.metrics.intervals import wilson_interval
from featcache.pages.chart import Axis, Chart, Series
from featcache.reports.curves_by_class import thinned
from featcache.reports.material import Material
from featcache.reports.scored import Scored, scored
from featcache.reports.section import Section

BLOCK = 1024
"""Rows whose features are read at a time."""

LEAST_ANSWERED = 10
"""Rows from which on a share of right answers is drawn: that of fewer jumps."""


def section(material: Material) -> Section | None:
    """Return the section; ``None`` without scored rows of classes."""
    rows = scored(material)
    if rows is None or material.classifier is None:
        return None
    fitted = material.classifier.calibration
    before = uncalibrated(material, rows)
    after_bins = reliability(rows.labels, rows.values)
    before_bins = None if before is None else reliability(rows.labels, before)
    error = expected_calibration_error(rows.labels, rows.values)
    error_before = None if before is None else expected_calibration_error(rows.labels, before)
    threshold = fitted.threshold
    kept = None if threshold is None else rejection_at(threshold, rows.values, rows.labels)
    charts = (
        _reliability_chart(rows, after_bins, before_bins),
        _confidence_chart(rows, threshold),
        _coverage_chart(rows, kept),
    )
    return Section(
        key="calibration",
        title="Probabilities",
        headline=_headline(rows, error, error_before, kept),
        template="calibration.html",
        content={
            "numbers": _numbers(rows, fitted, error, error_before, kept),
            "drawn": charts,
            "why_not": fitted.note or "",
            "photos": rows.photos,
        },
        data={
            "split": rows.split,
            "count": len(rows),
            "calibration_error": error,
            "calibration_error_before": error_before,
            "temperature": fitted.temperature,
            "fitted_to": fitted.count,
            "mean_confidence": float(np.mean(rows.confidence, dtype=np.float64)),
            "rejection": None if kept is None else kept.to_json(),
            "note": fitted.note,
            "bins": [asdict(each) for each in after_bins],
            "bins_before": None if before_bins is None else [asdict(each) for each in before_bins],
        },
        charts=charts,
    )


def uncalibrated(material: Material, rows: Scored) -> np.ndarray | None:
    """Return the probabilities at temperature 1, float ``[N, C]``.

    ``None`` if no temperature was fitted, or the features are not at hand.
    """
    classifier, cache = material.classifier, material.cache
    if (
        classifier is None
        or classifier.calibration.temperature == 1
        or cache is None
        or material.rows is None
    ):
        return None
    plain = replace(classifier, calibration=replace(classifier.calibration, temperature=1.0))
    tta = getattr(material.evaluation, "views", 1) > 1
    found = np.empty_like(rows.values)
    for start in range(0, len(rows), BLOCK):
        part = slice(start, start + BLOCK)
        features = cache.features(material.rows[part], classifier.layer, view="all" if tta else 0)
        found[part] = plain.values(features, tta=tta)
    return found


def _points(share: float) -> str:
    return f"{100 * share:.1f}"


def _headline(rows: Scored, error: float, before: float | None, kept: Rejection | None) -> str:
    helped = ", which did not help on these photos" if before is not None and error > before else ""
    was = "" if before is None else f" ({_points(before)} before calibration{helped})"
    gap = float(np.mean(rows.confidence, dtype=np.float64)) - float(np.mean(rows.right))
    how = "too sure" if gap > 0 else "not sure enough"
    told = f"Its confidence is off by {_points(error)} percentage points on average{was}"
    if abs(gap) >= 0.02:
        told += f": {how} by {_points(abs(gap))}"
    if kept is None:
        return told
    if kept.accuracy is None:
        return f"{told}; it answers none of the photos, all are below its threshold"
    return (
        f"{told}; it answers {percent(kept.coverage)} of the photos, {percent(kept.accuracy)} of these right"
    )


def _numbers(
    rows: Scored, fitted: Calibration, error: float, before: float | None, kept: Rejection | None
) -> list[tuple[str, str, str]]:
    """Return the numbers: value, name, and what it means."""
    of = f"Of {rows.photos}."
    gap = (
        "The mean gap, in percentage points, between how sure it is and how often it is right, over 15 bins of "
        "confidence"
    )
    numbers = [(percent(error), "expected calibration error", f"{gap}. {of}")]
    if before is not None:
        numbers.append((percent(before), "before calibration", f"The same with its own temperature, 1. {of}"))
    if fitted.count:
        effect = "more" if fitted.temperature < 1 else "less"
        told = f"Its outputs are divided by it, which makes it {effect} sure and changes no answer"
        if fitted.temperature == 1:
            told = "No other was surely better, so its outputs are used as they are"
        text = f"{told}. Fitted to {fitted.count:,} rows that did not train it."
        numbers.append((f"{fitted.temperature:.3f}", "temperature", text))
    if kept is not None and kept.threshold is not None:
        text = 'The confidence below which its answer is "unknown"; chosen on the rows it was calibrated with'
        numbers.append((percent(kept.threshold), "threshold", f"{text}."))
        text = f'The share that is answered, {kept.accepted:,} photos; the others are "unknown". {of}'
        numbers.append((percent(kept.coverage), "coverage", text))
        if kept.accuracy is not None:
            text = f"The share of right answers among these, {percent(kept.lower)} or more with 95 % certainty. {of}"
            numbers.append((percent(kept.accuracy), "accuracy of what is answered", text))
    return numbers


# Charts -----------------------------------------------------------------------------------------------------


def _reliability_chart(
    rows: Scored, after: Sequence[ReliabilityBin], before: Sequence[ReliabilityBin] | None
) -> Chart:
    diagonal = Series("as sure as right", [0.0, 1.0], [0.0, 1.0], colour=-1, dashed=True)
    now = _bin_series("its probabilities" if before is None else "after calibration", after, colour=0)
    earlier = [] if before is None else [_bin_series("before calibration", before, colour=1)]
    return Chart(
        name="reliability",
        title="Reliability: how often it is right, by how sure it is",
        x=Axis("confidence: the largest probability", unit="percent", low=0, high=1),
        y=Axis("share that is right", unit="percent", low=0, high=1),
        series=(diagonal, *earlier, now),
        note=f"Points below the dashed line: surer than right. Bars are 95 % intervals; bins without photos are "
        f"missing. Of {rows.photos}.",
    )


def _bin_series(name: str, bins: Sequence[ReliabilityBin], *, colour: int) -> Series:
    ends = [wilson_interval(each.accuracy * each.count, each.count) for each in bins]
    return Series(
        name,
        [each.confidence for each in bins],
        [each.accuracy for each in bins],
        "points",
        low=[low for low, _ in ends],
        high=[high for _, high in ends],
        colour=colour,
        texts=[
            f"{counted(each.count, 'photo')}, {percent(each.confidence)} sure, {percent(each.accuracy)} right"
            for each in bins
        ],
    )


def _confidence_chart(rows: Scored, threshold: float | None) -> Chart:
    edges = np.linspace(0.0, 1.0, 21)
    counts = {
        name: np.histogram(np.clip(rows.confidence[which], 0, 1), edges)[0]
        for name, which in (("right", rows.right), ("wrong", ~rows.right))
    }
    middles = ((edges[1:] + edges[:-1]) / 2).tolist()
    series = tuple(
        Series(
            name,
            middles,
            (held / max(int(held.sum()), 1)).tolist(),
            "line",
            colour=colour,
            texts=[
                f"{count:,} {name} answers, {percent(a)} to {percent(b)} sure"
                for count, a, b in zip(held.tolist(), edges[:-1], edges[1:], strict=True)
            ],
        )
        for (name, held), colour in zip(counts.items(), (0, 1), strict=True)
    )
    return Chart(
        name="confidence",
        title="How sure it is, where it is right and where it is wrong",
        x=Axis("confidence: the largest probability", unit="percent", low=0, high=1),
        y=Axis("share of the right, and of the wrong answers", unit="percent", low=0),
        series=series,
        note="How many of its right and of its wrong answers are in each twentieth of confidence. "
        f"Of {rows.photos}.",
        marked=() if threshold is None else ((threshold, 'below: "unknown"'),),
    )


def _coverage_chart(rows: Scored, kept: Rejection | None) -> Chart:
    thresholds, right, accepted = by_confidence(rows.values, rows.labels)
    coverage, accuracy = accepted / len(rows), right / accepted
    # The surest few are all right or not; their share jumps and tells nothing.
    told = np.flatnonzero(accepted >= min(LEAST_ANSWERED, len(rows)))
    places = told[thinned(len(told))]
    low = [wilson_interval(float(right[p]), float(accepted[p])) for p in places]
    return Chart(
        name="coverage",
        title='Coverage against accuracy: what "unknown" costs and brings',
        x=Axis("coverage: share of the photos that is answered", unit="percent", low=0, high=1),
        y=Axis("share of right answers among these", unit="percent"),
        series=(
            Series(
                "accuracy",
                coverage[places].tolist(),
                accuracy[places].tolist(),
                low=[each[0] for each in low],
                high=[each[1] for each in low],
                colour=0,
                texts=[
                    f"threshold {percent(float(thresholds[p]))}: {percent(float(coverage[p]))} answered, "
                    f"{percent(float(accuracy[p]))} right"
                    for p in places
                ],
            ),
        ),
        note=f"From its surest answers (left) to all (right), with 95 % intervals. Of {rows.photos}.",
        marked=() if kept is None else ((kept.coverage, f"threshold {percent(kept.threshold or 0.0)}"),),
    )
