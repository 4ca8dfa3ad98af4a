"""``featcache backbones``."""

from fnmatch import fnmatch
from typing import Annotated

import typer

from featcache.cli.console import Console, Json, Quiet, Verbose, table

NAME = "backbones"


def command(
    pattern: Annotated[
        str, typer.Option("--filter", help="Only names like this, such as 'mobilenet*'.")
    ] = "*",
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List the backbones: name, tag, input size, features, parameters, accuracy, licence, installed."""
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.backbones import pretrained_weights
    from featcache.backbones.pretrained import how_to_get, locate

    found = [
        w for name, w in pretrained_weights().items() if fnmatch(name, pattern) or fnmatch(w.arch, pattern)
    ]
    values = [
        {
            "name": w.arch,
            "tag": w.tag,
            "input_size": list(w.transforms.input_size),
            "features": w.features,
            "params": w.params,
            "top1": w.top1,
            "licence": w.licence,
            "source": w.source,
            "installed": locate(w) is not None,
            "how_to_get": how_to_get(w),
        }
        for w in found
    ]
    columns = ("name", "tag", "size", "features", "params", "top-1", "licence", "installed", "source")
    rows = [
        (
            v["name"],
            v["tag"],
            "×".join(map(str, v["input_size"])),
            str(v["features"]),
            f"{v['params'] / 1e6:.1f} M",
            f"{v['top1']:.1f} %",
            v["licence"],
            "yes" if v["installed"] else "no",
            v["source"],
        )
        for v in values
    ]
    console.result({"backbones": values}, table(columns, rows, right=("size", "features", "params", "top-1")))
    if not values:
        console.note(f"no backbone matches {pattern!r}")
    for weights in found:
        if locate(weights) is None:
            console.detail(f"{weights.name}: {how_to_get(weights)}")
