"""``featcache cache``: list, check, repair, export and delete cache files."""

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.cli.arguments.options import WholeHelpGroup
from featcache.cli.commands.extract import quarantine_json, views_of
from featcache.cli.console import Console, Json, Quiet, Verbose, escaped
from featcache.cli.terminal.drawings import Facts, Part, Table
from featcache.core.tasks import MULTICLASS
from featcache.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from featcache.cache import CacheInfo, Leftover, Verification

NAME = "cache"

group = typer.Typer(
    name=NAME,
    cls=WholeHelpGroup,
    help="Look after cache files.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

Folder = Annotated[Path, typer.Argument(help="Folder to look in.")]
CacheFile = Annotated[Path, typer.Argument(help="A cache file.")]


@group.command("ls")
def list_(
    folder: Folder = Path(), as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False
) -> None:
    """List the caches in a folder, unfinished ones included."""
    console = Console("cache ls", as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.cache import list_caches

    found = list_caches(folder)
    columns = ("cache", "state", "images", "classes", "backbone", "layers", "dtype", "size")
    rows = [
        (
            str(info.path),
            info.detail if info.state == "unfinished" else info.state,
            str(info.images),
            str(info.classes),
            info.backbone,
            " ".join(info.layers),
            info.dtype,
            _megabytes(info.nbytes),
        )
        for info in found
    ]
    parts = [Table(columns, rows, right=("images", "classes", "size"))] if rows else []
    console.result({"caches": [info.to_json() for info in found]}, parts)
    for info in found:
        if info.state == "unreadable":
            console.note(f"unreadable: {escaped(info.detail)}")
    if not found:
        console.note(f"no caches in {escaped(str(folder))}")


@group.command("info")
def info_(cache: CacheFile, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Show the contents and the recipe of a cache; with --json the whole identity."""
    console = Console("cache info", as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.cache import FeatureCache, describe
    from featcache.extraction.result import quarantined_rows

    with FeatureCache(cache) as opened:  # first: it raises where `describe` only tells
        about = describe(cache)
        unreadable = quarantined_rows(opened)
        identity = opened.identity
        value = about.to_json() | {"identity": identity, **quarantine_json(unreadable)}
        console.result(value, _info_parts(about, identity, unreadable))


@group.command("verify")
def verify_(
    caches: Annotated[list[Path], typer.Argument(help="Cache files.")],
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check every row of caches against its checksum; exit code 4 if any is damaged."""
    console = Console("cache verify", as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.cache import verify

    with console.progress() as on_progress:
        found = [verify(path, on_progress=on_progress) for path in caches]
    console.result(
        {"caches": [each.to_json() for each in found]},
        [line for each in found for line in _verification_lines(each)],
    )
    bad = [str(each.path) for each in found if not each.ok]
    if bad:
        raise IntegrityError(
            f"{len(bad)} of {len(found)} caches are not intact: {', '.join(map(escaped, bad))}"
        )


@group.command("repair")
def repair_(cache: CacheFile, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Mark damaged rows, so that the extract command that made the cache computes them again."""
    console = Console("cache repair", as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.cache import FeatureCache, repair
    from featcache.extraction.result import temporary_rows

    found = repair(cache)
    console.result(found.to_json(), _verification_lines(found))
    if not found.ok:
        console.note(
            "next: run the featcache extract command that made it; only the damaged rows are computed"
        )
        return
    with FeatureCache(cache) as opened:
        waiting = len(temporary_rows(opened))
    if waiting:
        console.note(
            f"{waiting} images could not be read when it was made; next: run the featcache extract command that "
            "made it, which tries them again"
        )


@group.command("export")
def export_(
    cache: CacheFile,
    output: Annotated[Path, typer.Argument(help="File that ends in .npz or .parquet.")],
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a cache's readable rows as a numpy archive or a Parquet table; of views, the plain one."""
    console = Console("cache export", as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.cache import FeatureCache

    with FeatureCache(cache) as opened:
        writers = {".npz": opened.to_npz, ".parquet": opened.to_parquet}
        if output.suffix not in writers:
            raise UsageError(f"output {output} must end in {' or '.join(writers)}")
        path = writers[output.suffix](output)
        if opened.views > 1:
            console.note(f"of {opened.views} views of each image, only the plain one, 0, was written")
    console.result({"path": str(path)}, [f"{escaped(str(path))}: {_megabytes(path.stat().st_size)}"])


@group.command("rm")
def remove_(
    caches: Annotated[list[Path], typer.Argument(help="Cache files.")],
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Delete caches and the files of their unfinished extractions; refuses files that are not caches."""
    console = Console("cache rm", as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.cache import remove

    for path in caches:
        remove(path)
    names = [str(path) for path in caches]
    console.result({"removed": names}, [f"removed {escaped(name)}" for name in names])


@group.command("gc")
def gc_(
    folder: Folder = Path(),
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete what is listed [default: only list it].")
    ] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Also delete unfinished extractions.")
    ] = False,
    programs: Annotated[
        bool, typer.Option("--programs", help="Also delete compiled programs that are still valid.")
    ] = False,
    fetched: Annotated[
        bool, typer.Option("--fetched", help="Also delete the kept bytes of images from stores and URLs.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List or delete what interrupted commands left in a folder, and what is of no more use in FEATCACHE_HOME.

    That is old compiled programs, and remembered hashes of datasets that are gone.
    """
    console = Console("cache gc", as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.cache import find_leftovers, gc

    if delete:
        found = gc(folder, unfinished=unfinished)
    else:
        found = [left for left in find_leftovers(folder) if left.removable or unfinished or verbose]
    found += _in_home(delete=delete, verbose=verbose)
    given_up = [(left, left.removable or (unfinished and left.path.suffix == ".h5")) for left in found]
    given_up += _compiled_programs(programs=programs, delete=delete, verbose=verbose)
    given_up += _remembered_hashes(delete=delete)
    given_up += _fetched_bytes(fetched=fetched, delete=delete, verbose=verbose)
    word = "removed" if delete else "would remove"
    console.result(
        {"deleted": delete, "leftovers": [left.to_json() for left, _ in given_up]},
        [_leftover_line(left, word if goes else "kept") for left, goes in given_up]
        or [f"nothing is left over in {folder}"],
    )
    if given_up and not delete:
        console.note("nothing was deleted; do it with --delete")


def _compiled_programs(*, programs: bool, delete: bool, verbose: bool) -> Iterator["tuple[Leftover, bool]"]:
    """Yield the folders of compiled programs and whether each is obsolete; delete obsolete ones on request."""
    from featcache.cache import Leftover
    from featcache.core.compilation_cache import list_programs, remove_programs
    from featcache.core.disk.storage import storage_errors

    for each in list_programs():
        goes = each.outdated or programs
        if delete and goes:
            with storage_errors(each.folder, "remove"):
                remove_programs(each.folder)
        if goes or (verbose and not delete):
            whose = "this machine" if each.here else "another machine, JAX or featcache"
            reason = f"compiled programs ({each.count}) of {whose}, last used {_day(each.used)}"
            yield Leftover(each.folder, each.nbytes, reason, each.outdated), goes


def _in_home(*, delete: bool, verbose: bool) -> "list[Leftover]":
    """Return what is half written in the folders of FEATCACHE_HOME; delete it on request."""
    from featcache.cache import find_leftovers, gc
    from featcache.core.environment import home

    names = ("weights", "hashes", "fetched")
    folders = [place for name in names if os.path.isdir(place := home() / name)]
    if delete:
        return [left for place in folders for left in gc(place)]
    return [left for place in folders for left in find_leftovers(place) if left.removable or verbose]


def _remembered_hashes(*, delete: bool) -> Iterator["tuple[Leftover, bool]"]:
    """Yield the files of hashes that nobody will use again; delete them on request."""
    from featcache.cache import Leftover
    from featcache.core.disk.storage import storage_errors
    from featcache.extraction.planning.remembered_hashes import list_remembered

    for each in list_remembered():
        if each.why_useless:
            if delete:
                with storage_errors(each.path, "remove"):
                    each.path.unlink(missing_ok=True)
            yield Leftover(each.path, each.nbytes, each.why_useless, removable=True), True


def _fetched_bytes(*, fetched: bool, delete: bool, verbose: bool) -> Iterator["tuple[Leftover, bool]"]:
    """Yield the folder of bytes that were fetched from elsewhere, if there are any; delete them on request."""
    if not (fetched or verbose):
        return
    from featcache.cache import Leftover
    from featcache.core.disk.storage import storage_errors
    from featcache.datasets.remote.kept import entries, fetched_folder

    found = list(entries(fetched_folder()))
    if delete and fetched:
        for path, _, _ in found:
            with storage_errors(path, "remove"):
                path.unlink(missing_ok=True)
    if found:
        reason = f"fetched images and blocks of shards ({len(found)}), which are fetched again when they are wanted"
        yield Leftover(fetched_folder(), sum(size for _, size, _ in found), reason, fetched), fetched


def _day(seconds: float) -> str:
    try:
        return str(date.fromtimestamp(seconds))
    except (ValueError, OverflowError, OSError):  # a file's time may be any number
        return "at no date of a calendar"


def _info_parts(about: "CacheInfo", identity: dict, unreadable: dict[str, str], most: int = 10) -> list[Part]:
    recipe, dataset, provenance = (identity[name] for name in ("recipe", "dataset", "provenance"))
    device = provenance.get("device")
    from featcache.cache import LayerSpec
    from featcache.extraction.result import unreadable_lines

    shapes = {layer["name"]: LayerSpec.from_json(layer).row_shape for layer in identity["layers"]}
    layers = ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in shapes.items())
    classes = escaped(", ".join(dataset["classes"][:most])) + (", …" if about.classes > most else "")
    facts = [
        ("dataset", escaped(about.dataset) + (f", {dataset['slice']}" if "slice" in dataset else "")),
        ("splits", ", ".join(f"{name} {count}" for name, count in about.splits.items())),
        (dataset.get("task", MULTICLASS), (f"{about.classes}: " if about.classes else "no labels") + classes),
        ("backbone", f"{about.backbone}, weights {recipe['backbone']['weights_sha256'][:12]}…"),
        ("layers", f"{layers}, {about.dtype}"),
        ("transforms", _transforms_text(recipe["transforms"])),
        *([("views", views_of(recipe))] if recipe["views"]["count"] > 1 else []),
        (
            "computed in",
            ", ".join(
                filter(None, [recipe["compute_dtype"], provenance.get("engine"), device, about.created])
            ),
        ),
        *([("took", about.cost.describe())] if about.cost else []),
    ]
    return [
        f"{escaped(str(about.path))}: {about.state}{', ' + about.detail if about.detail else ''}, "
        f"{about.images} images, {_megabytes(about.nbytes)}",
        Facts(facts),
        *(f"  {line}" for line in unreadable_lines(unreadable, most)),
    ]


def _transforms_text(transforms: dict) -> str:
    """Return what a recipe says of its transforms; caches of other programs may not say everything."""
    crop = [transforms[name] for name in ("crop_mode", "crop_pct") if name in transforms]
    parts = [
        "×".join(map(str, transforms.get("input_size", ()))),
        " ".join(map(str, crop)),
        transforms.get("interpolation", ""),
        *(f"{name} {transforms[name]}" for name in ("mean", "std") if name in transforms),
    ]
    return escaped(", ".join(filter(None, parts)))


def _verification_lines(found: "Verification") -> list[str]:
    name = escaped(str(found.path))
    if found.error:
        return [f"{name}: not usable: {escaped(found.error)}"]
    if found.ok:
        return [f"{name}: {found.images} images, all intact"]
    lines = [f"{name}: {found.missing} of {found.images} images not written yet"] if found.missing else []
    for layer, ids in found.damaged.items():
        some = ", ".join(map(escaped, ids[:10])) + (", …" if len(ids) > 10 else "")
        lines.append(f"{name}: layer {layer}, {len(ids)} damaged: {some}")
    return lines


def _leftover_line(left: "Leftover", word: str) -> str:
    return f"{word} {escaped(str(left.path))} ({_megabytes(left.nbytes)}): {escaped(left.reason)}"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
