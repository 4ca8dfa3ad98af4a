"""Fuzz readers of foreign bytes: ``python -m tests.soak.fuzz [NAME …] --minutes M``, from the root of the repository.

Every input must be used or refused with a `FeatcacheError`, within seconds and a multiple of its own memory, with
nothing executed and nothing written elsewhere. ``--replay FILE`` tries one input again, ``--list`` names the readers.
"""

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path

_TESTS = Path(__file__).parents[2]
sys.path[:0] = [path for path in (str(_TESTS.parent), str(_TESTS)) if path not in sys.path]

from .driver import HEADER, USUAL, Session, clear  # noqa: E402


def main() -> int:
    """Fuzz what was named; returns 1 where something was found."""
    options = _options()
    from .readers import NAMES, PATIENCE

    if options.list:
        print("\n".join(NAMES))
        return 0
    if unknown := [name for name in options.names if name not in NAMES]:
        raise SystemExit(f"no reader {', '.join(unknown)}; known: {', '.join(NAMES)}")
    names = options.names or list(NAMES)
    if options.replay:
        return _replay(names[0], Path(options.replay))
    found, seconds = 0, options.minutes * 60 / len(names)
    print(
        f"{len(names)} readers, {seconds:.0f} s each, {options.engine}, seed {options.seed}\n{HEADER}",
        flush=True,
    )
    for name in names:
        clear(options.keep, name)
        session = Session(
            name,
            options.engine,
            options.seed,
            seconds,
            options.inputs,
            options.keep.resolve(),
            hangs=PATIENCE.get(name, USUAL),
        ).run()
        print(session.line(), flush=True)
        found += session.counts.findings + bool(session.failure)
    return int(found > 0)


def _options() -> argparse.Namespace:
    known = "atheris" if importlib.util.find_spec("atheris") else "random"
    parser = argparse.ArgumentParser(prog="python -m tests.soak.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="readers; all where none is named")
    parser.add_argument("--minutes", type=float, default=10.0, help="of all of them together")
    parser.add_argument("--inputs", type=int, default=0, help="of each at most; 0 for any number")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("atheris", "random"), default=known)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "featcache-fuzz")
    parser.add_argument("--replay", help="one input, in this process")
    parser.add_argument("--list", action="store_true", help="name the readers")
    return parser.parse_args()


def _replay(name: str, path: Path) -> int:
    from .findings import Findings
    from .notes import Notes
    from .trial import Trial

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        tempfile.tempdir = str(folder)
        trial = Trial.of(name, folder, Notes(folder / "notes"), Findings(folder / "findings"))
        verdict = trial.run(path.read_bytes())
    print(f"{verdict.outcome}: {verdict.kind}\n{verdict.detail}")
    return int(verdict.outcome == "finding")


if __name__ == "__main__":
    raise SystemExit(main())
