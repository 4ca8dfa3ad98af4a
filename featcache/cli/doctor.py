"""``featcache doctor``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from featcache.cli.console import Console, Json, Quiet, Verbose, table

NAME = "doctor"


def command(
    folder: Annotated[Path, typer.Argument(help="Where to look for caches and locks.")] = Path(),
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Examine the machine: versions, devices, weights, space, unfinished caches and locks.

    Exit code 1 if something is missing that featcache needs.
    """
    console = Console(NAME, as_json=as_json, quiet=quiet, verbose=verbose)
    from featcache.doctor import examine

    findings = examine(folder)
    rows = [(finding.state, finding.topic, finding.detail) for finding in findings]
    console.result({"findings": [asdict(f) for f in findings]}, table(("", "", ""), rows)[1:])
    return int(any(finding.state == "bad" for finding in findings))
