"""Draws the curves of a fine-tuning, and writes an HTML report; each is self-contained.

The history has one record for each epoch, counted over all phases, with the keys that `featcache.finetuning.loop`
writes; any may be missing. Epoch 0 is the start, before any training.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.core.disk.files import replace_file
from featcache.core.disk.storage import storage_errors
from featcache.core.display import percent
from featcache.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, Any]]

# Contrast of 3 : 1 or more on a white and on a nearly black page; line styles differ too, for readers without colour.
_SERIES = {"": ("train", "#2f7fc4", "--", "o"), "val_": ("validation", "#cf6f1e", "-", "s")}
# A placeholder, replaced by the colour of the text around the figure.
_INK = "#010203"

_COLUMNS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "epoch": ("epoch", "{:.0f}".format),
    "phase": ("phase", lambda value: f"{value:.0f}" if value else "start"),
    "step": ("steps", "{:,.0f}".format),
    "learning_rate": ("learning rate", "{:.3g}".format),
    "loss": ("loss", "{:.4f}".format),
    "val_loss": ("validation loss", "{:.4f}".format),
    "accuracy": ("accuracy", percent),
    "val_accuracy": ("validation accuracy", percent),
    "images_per_second": ("images per second", "{:.0f}".format),
    "seconds": ("seconds", "{:.1f}".format),
}


def best_epoch(history: History) -> int | None:
    """Return the epoch with the lowest validation loss, the first of equals; ``None`` without any."""
    losses = [
        (loss, int(record["epoch"]))
        for record in history
        if (loss := _number(record, "val_loss")) is not None
    ]
    return min(losses)[1] if losses else None


def curves_svg(history: History, *, best: int | None = None) -> str:
    """Draw loss and accuracy over the epochs.

    Parameters
    ----------
    history
        Records of epochs.
    best
        The epoch to mark as kept; by default `best_epoch`.

    Returns
    -------
    str
        An ``<svg>`` element with transparent background, in the colour of the surrounding text.

    Raises
    ------
    UsageError
        If the extra ``report`` is not installed, or there is no epoch.
    """
    _require_package("matplotlib")
    if not history:
        raise UsageError("the history has no epoch to draw; train for at least one")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    best = best_epoch(history) if best is None else best
    # Text stays text, and the same history gives the same bytes.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "featcache", "font.family": "sans-serif"}):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axes, key, title in ((left, "loss", "loss"), (right, "accuracy", "accuracy")):
            _draw(axes, history, key, title, best)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, labelcolor=_INK)
        return _inline(figure)


def _draw(axes: "Axes", history: History, key: str, title: str, best: int | None) -> None:
    """Draw one quantity: a line for the training rows and one for the validation rows."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    for prefix, (label, colour, line, marker) in _SERIES.items():
        points = [(record["epoch"], _number(record, prefix + key)) for record in history]
        points = [(epoch, value) for epoch, value in points if value is not None]
        if points:
            axes.plot(
                *zip(*points, strict=True), line, color=colour, marker=marker, markersize=3.5, label=label
            )
    if best is not None:
        axes.axvline(best, color=_INK, linewidth=1, alpha=0.6, label=f"kept: epoch {best}")
    _mark_phases(axes, history)
    axes.set_title(title, color=_INK, fontsize=11, pad=14)
    axes.set_xlabel("epoch", color=_INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if key == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(color=_INK, alpha=0.15, linewidth=0.8)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.patch.set_visible(False)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_INK)


def _mark_phases(axes: "Axes", history: History) -> None:
    """Separate phases by lines and number them, where there are several."""
    starts: dict[int, float] = {}
    for record in history:
        if record.get("phase"):
            starts.setdefault(int(record["phase"]), float(record["epoch"]))
    if len(starts) < 2:
        return
    for number, (phase, epoch) in enumerate(starts.items()):
        edge = epoch - 0.5
        if number:
            axes.axvline(edge, color=_INK, linewidth=1, linestyle=":", alpha=0.6)
        axes.annotate(
            f"phase {phase}",
            (edge, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(4, 3),
            textcoords="offset points",
            color=_INK,
            fontsize=8,
            alpha=0.8,
        )


def _inline(figure: "Figure") -> str:
    """Return a figure as an SVG element, without prologue and metadata, in the colour of the surrounding text."""
    stream = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = text.replace(_INK, "currentColor")
    return text.replace("<svg", '<svg role="img" aria-label="loss and accuracy by epoch"', 1)


def write_report(
    path: Path,
    *,
    title: str,
    history: History,
    table: Sequence[Sequence[str]],
    facts: Mapping[str, str],
    verdict: str,
    best: int | None = None,
) -> Path:
    """Write an HTML report of a run: verdict, curves, comparison, facts, and every epoch.

    Parameters
    ----------
    path
        The HTML file; an existing one is replaced atomically.
    title, verdict
        The heading, and the verdict as a sentence.
    history
        Records of epochs.
    table
        Rows of cells; the first row is the header.
    facts
        Names and values of facts about the run.
    best
        See `curves_svg`.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    UsageError
        If the extra ``report`` is not installed, or there is no epoch.
    StorageError
        If it cannot be written.
    """
    _require_package("jinja2")
    from jinja2 import Environment
    from markupsafe import Markup

    best = best_epoch(history) if best is None else best
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_PAGE)
    text = page.render(
        title=title,
        verdict=verdict,
        curves=Markup(curves_svg(history, best=best)),  # safe: made above, from numbers
        header=table[0] if table else (),
        rows=table[1:],
        facts=facts,
        columns=[_COLUMNS[key][0] for key in _columns(history)],
        epochs=[
            ([_cell(record, key) for key in _columns(history)], record["epoch"] == best) for record in history
        ],
    )
    path = Path(path)
    with storage_errors(path, "write the page"):
        # File names that are not UTF-8 hold lone surrogates.
        replace_file(path, text.encode("utf-8", "replace"))
    return path


def _columns(history: History) -> list[str]:
    """Return the columns with at least one value."""
    return [key for key in _COLUMNS if any(_number(record, key) is not None for record in history)]


def _cell(record: Mapping[str, Any], key: str) -> str:
    value = _number(record, key)
    return "" if value is None else _COLUMNS[key][1](value)


def _number(record: Mapping[str, Any], key: str) -> float | None:
    value = record.get(key)
    return None if value is None or not math.isfinite(value) else float(value)


def _require_package(name: str) -> None:
    try:
        __import__(name)
    except ImportError as error:
        raise UsageError(
            f"curves and the report need {name}, which is not installed: pip install 'featcache[report]'"
        ) from error


_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ title }}</title>
<style>
:root { --ground: #fff; --ink: #1c2024; --faint: #5f6872; --line: #d9dde2; --mark: #eef4fa; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #16181c; --ink: #e4e7ea; --faint: #9aa3ad; --line: #363c43; --mark: #22303d; }
}
@media print { :root { --ground: #fff; --ink: #000; --faint: #444; --line: #bbb; --mark: #eee; } }
body { background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  max-width: 60rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
.verdict { font-size: 1.1rem; margin: .25rem 0 1.5rem; }
svg { display: block; width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92em; }
th, td { padding: .3em 1.1em .3em 0; border-bottom: 1px solid var(--line); text-align: right; }
th { color: var(--faint); font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
tr.kept td { background: var(--mark); font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.25rem; margin: 0; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; font-size: 10pt; }
  .wide { overflow: visible; font-size: .82em; } svg, tr { break-inside: avoid; } h2 { break-after: avoid; } }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="verdict">{{ verdict }}</p>
{{ curves }}
{% if rows %}
<h2>Compared</h2>
<div class="wide"><table>
<thead><tr>{% for cell in header %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
{% endif %}
{% if facts %}
<h2>The run</h2>
<dl>
{% for name, value in facts.items() %}
<dt>{{ name }}</dt><dd>{{ value }}</dd>
{% endfor %}
</dl>
{% endif %}
<h2>Epochs</h2>
<div class="wide"><table>
<thead><tr>{% for name in columns %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for cells, kept in epochs %}
<tr{% if kept %} class="kept"{% endif %}>{% for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
</body>
</html>
"""
