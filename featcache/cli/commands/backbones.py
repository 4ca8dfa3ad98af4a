"""``featcache backbones`` lists the backbones; ``show`` shows one stage by stage, ``forget`` releases a record."""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.cli.arguments.options import WholeHelpGroup
from featcache.cli.console import Console, Json, Quiet, Verbose, escaped
from featcache.cli.terminal.drawings import Table, Whole
from featcache.errors import UsageError

if TYPE_CHECKING:
    from featcache.backbones.family import Pretrained
    from featcache.backbones.summary import BackboneSummary, Counts, StageSummary

NAME = "backbones"

group = typer.Typer(
    name=NAME,
    cls=WholeHelpGroup,
    invoke_without_command=True,
    rich_markup_mode=None,
    add_completion=False,
)

NONE = "–"


@group.callback()
def list_(
    context: typer.Context,
    pattern: Annotated[
        str, typer.Option("--filter", help="Only names and aliases that match, such as 'mobilenet*'.")
    ] = "*",
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List the backbones and their weights, or show one stage by stage.

    Size is that of the input in pixels, features the width of the default layer; MACs are multiply-accumulates
    for one image, top-1 is on ImageNet as the source publishes it. A star marks the default weights
    of an architecture.
    """
    if context.invoked_subcommand is not None:
        if pattern != "*" or as_json or quiet or verbose:
            raise UsageError(
                f"options of the list were given before {context.invoked_subcommand!r}; give its own options after it: "
                f"featcache {NAME} {context.invoked_subcommand} NAME [OPTIONS]"
            )
        return
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.backbones.catalogue import match_names, nearest

    entries = [_entry(weights) for weights in match_names(pattern)]
    console.result({"backbones": entries}, [*map(Whole, _list_lines(entries, _width()))] if entries else [])
    if not entries:
        console.note(f"no backbone matches {pattern!r}; {nearest(pattern)}")
        return
    for entry in entries:
        if not entry["installed"]:
            console.detail(f"{entry['name']}.{entry['tag']}: {entry['how_to_get']}")
    console.note(f"*: default weights of the architecture; next: featcache {NAME} show NAME")


@group.command("show")
def show_(
    name: Annotated[str, typer.Argument(help="Network, as ARCH, ARCH.TAG or an alias.")],
    image_size: Annotated[
        str | None,
        typer.Option(help="Pixels, as SIZE or HEIGHTxWIDTH [default: what belongs to the weights]."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show a backbone stage by stage: shapes, parameters, work, and the layers to extract.

    Nothing is computed or downloaded. The column Inside lists layers within a stage, extracted as STAGE_NAME;
    --verbose prints a line for each. Statistics are the means and variances of batch normalisations.
    """
    console = Console(f"{NAME} show", as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.backbones.summary import describe

    summary = describe(name, image_size=image_size)
    about = _about(summary)
    width = _width()
    head = _head_lines(about, summary, width)
    lines = [*head, "", *_stage_lines(summary, width, verbose=verbose)]
    console.result(about | summary.to_json(), [*map(Whole, lines)])
    if summary.left_out:
        console.note(f"the stages after {summary.layer.stage} are left out: {summary.left_out}")
    size = "" if image_size is None else f" --image-size {image_size}"
    again = escaped(name) if summary.weights_path else summary.pretrained.name
    console.note(f"next: featcache extract DATASET -b {again}{size} -l STAGE")


@group.command("forget")
def forget_(
    name: Annotated[str, typer.Argument(help="Weights, as ARCH, ARCH.TAG or an alias; or the file's name.")],
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Release the record of a weights file, so that the next file of that name is recorded anew.

    Where no whole sha256 is published, that of the first file that could be loaded is recorded in the lock file, and
    another one is refused. If the record is of a wrong file, or the publisher changed the file, this releases it. The
    file itself stays where it is.
    """
    console = Console(f"{NAME} forget", as_json=as_json, quiet=quiet, verbose=verbose)
    from dataclasses import asdict

    from featcache.backbones.registry import resolve
    from featcache.backbones.weights.lock_file import forget, lock_file, read_record
    from featcache.core.environment import weights_folder

    filename = name if read_record(name) is not None else resolve(name).file.filename
    record, lock = forget(filename), lock_file()
    about = {"file": filename, "lock": str(lock), "released": None if record is None else asdict(record)}
    if record is None:
        console.result(about, [f"nothing is recorded of {escaped(filename)} in {escaped(str(lock))}"])
        return
    text = f"released {escaped(filename)}: sha256 {record.sha256}, {record.size:,} bytes, recorded on {record.date}"
    console.result(about, [f"{text} in {escaped(str(lock))}"])
    if (weights_folder() / filename).exists():
        console.note(
            f"{escaped(str(weights_folder() / filename))} stays, and is recorded when it is next loaded; delete it if "
            "it is a broken one"
        )


def _entry(weights: "Pretrained") -> dict[str, Any]:
    """Return the JSON values on weights that both commands share."""
    from featcache.backbones.catalogue import is_default
    from featcache.backbones.weights.download import how_to_get, locate

    return {
        "name": weights.arch,
        "tag": weights.tag,
        "default": is_default(weights),
        "input_size": list(weights.transforms.input_size),
        "features": weights.features,
        "params": weights.params,
        "macs": weights.macs,
        "top1": weights.top1,
        "licence": weights.licence,
        "source": weights.source,
        "installed": locate(weights) is not None,
        "how_to_get": how_to_get(weights),
    }


_COLUMNS = ("name", "size", "features", "params", "MACs", "top-1", "here", "licence", "source")
_NUMBERS = ("size", "features", "params", "statistics", "MACs", "top-1")
"""Columns that are aligned to the right."""


def _list_lines(entries: Sequence[dict[str, Any]], width: int | None) -> list[str]:
    """Return the lines of the list, without the last columns if the terminal is narrow."""
    rows = [
        (
            f"{entry['name']}.{entry['tag']}" + " *" * entry["default"],
            _pixels(entry["input_size"]),
            str(entry["features"]),
            f"{entry['params'] / 1e6:.1f} M",
            _short(entry["macs"]),
            _percent(entry["top1"]),
            "yes" if entry["installed"] else "no",
            entry["licence"],
            entry["source"],
        )
        for entry in entries
    ]
    least = _COLUMNS.index("here") + 1
    tables = [
        Table(_COLUMNS[:shown], [row[:shown] for row in rows], right=_NUMBERS).lines()
        for shown in range(len(_COLUMNS), least - 1, -1)
    ]
    fitting = (lines for lines in tables if width is None or max(map(len, lines)) <= width)
    return next(fitting, tables[-1])


def _about(summary: "BackboneSummary") -> dict[str, Any]:
    """Return the JSON values of a summary, except its stages."""
    from featcache.backbones.catalogue import aliases_of, tags_of
    from featcache.backbones.weights.download import locate

    weights = summary.pretrained
    path = summary.weights_path or locate(weights)
    transforms = weights.transforms.with_size(*summary.image_size)
    return _entry(weights) | {
        "family": summary.family.name,
        "paper": summary.family.paper,
        "installed": path is not None,
        "path": None if path is None else str(path),
        "tags": tags_of(weights.arch),
        "aliases": aliases_of(weights.arch),
        "transforms": transforms.to_json(),
        "transforms_text": transforms.describe(),
        "protocol": _protocol(weights),
    }


def _protocol(weights: "Pretrained") -> dict[str, Any] | None:
    """Return how the accuracy was measured as JSON values; ``None`` if that is not known."""
    from featcache.backbones.protocols import protocol_of

    if (protocol := protocol_of(weights)) is None:
        return None
    known = protocol.transforms
    return {
        "words": protocol.words,
        "transforms": None if known is None else known.to_json(),
        "same": known == weights.transforms,
    }


def _protocol_text(weights: "Pretrained") -> str:
    from featcache.backbones.protocols import protocol_of

    protocol = protocol_of(weights)
    if protocol is None:
        return "not known; the accuracy may not be that of these transforms"
    if protocol.transforms == weights.transforms:
        return protocol.words
    if protocol.transforms is None:
        return f"{protocol.words}; these transforms crop nothing: a centre crop is --transforms center:0.875"
    return f"{protocol.words}, not with these transforms: for those, --transforms published"


def _head_lines(about: dict[str, Any], summary: "BackboneSummary", width: int | None) -> list[str]:
    default, *others = about["tags"]
    pooled = "" if str(summary.layer) == "pool" else f" ({summary.layer})"
    ends_there = summary.weights_path and summary.stages[-1].name == summary.layer.stage
    layer = f"{summary.layer} at the end" if ends_there else f"pool{pooled} by default"
    named = {
        "family": f"{about['family']}, {about['paper']}",
        "source": f"{about['source']}, {about['licence']}",
        "weights": about["path"] or f"not here: {about['how_to_get']}",
        "transforms": about["transforms_text"],
        "top-1": f"{_percent(about['top1'])} on ImageNet as published, at {_pixels(about['input_size'])}"
        if about["top1"]
        else NONE,
        "protocol": _protocol_text(summary.pretrained) if about["top1"] else "",
        "tags": ", ".join([f"{default} (default)", *others]),
        "also named": ", ".join(about["aliases"]),
        "layer": f"{layer}, {summary.features} features",
    }
    lines = [f"{about['name']}.{about['tag']}"]
    for name, text in named.items():
        lines += _wrap(f"  {name:<12}{escaped(text)}", width) if text else []
    return lines


def _wrap(line: str, width: int | None) -> list[str]:
    if width is None:
        return [line]
    # Addresses and paths are not broken, so that they can be copied.
    return textwrap.wrap(
        line,
        max(width, 40),
        subsequent_indent=" " * 14,
        drop_whitespace=True,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _stage_lines(summary: "BackboneSummary", width: int | None, *, verbose: bool) -> list[str]:
    inside = ["inside"] if any(stage.points for stage in summary.stages) and not verbose else []
    columns = ("stage", "output", "params", "statistics", "MACs", *inside)
    rows = [
        ("image", _shape((*summary.image_size, 3)), "", "", "", ""),
        *(row for stage in summary.stages for row in _rows_of(stage, verbose=verbose)),
        ("as far as pool", str(summary.features), *_numbers(summary.to_layer), ""),
    ]
    if summary.left_out is None:
        rows.append(("in all", "", *_numbers(summary.total), ""))
    lines = Table(columns, [row[: len(columns)] for row in rows], right=_NUMBERS).lines()
    return [line if width is None or len(line) <= width else line[: width - 1] + "…" for line in lines]


def _rows_of(stage: "StageSummary", *, verbose: bool) -> list[tuple[str, ...]]:
    points = {point.removeprefix(f"{stage.name}_"): shape for point, shape in stage.points.items()}
    row = (stage.name, _shape(stage.shape), *_numbers(stage.counts), " ".join(points))
    inner = [(f"  {point}", _shape(shape), "", "", "", "") for point, shape in stage.points.items()]
    return [*inner, row] if verbose else [row]


def _width() -> int | None:
    """Return the columns of the terminal; ``None`` if stdout is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _numbers(counts: "Counts") -> tuple[str, str, str]:
    return f"{counts.params:,}", f"{counts.statistics:,}", _short(counts.macs)


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _pixels(size: Sequence[int]) -> str:
    """Return a size as text, one number for a square."""
    return _shape(size) if size[0] != size[1] else str(size[0])


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f} %"


def _short(count: int) -> str:
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.1f} {letter}"
    return str(count)
