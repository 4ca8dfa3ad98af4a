"""Names, signatures, defaults and options of the public face are those of ``tests/data/public_face.json``.

So that moving code cannot change what people call. A change that is meant is written down with
``python tests/integration/test_public_face.py --write``, and seen in the difference of that file. Help texts
and annotations are not part of it: they may be worded anew.
"""

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

import featcache
from featcache.cli.app import app

RECORD = Path(__file__).parents[1] / "data" / "public_face.json"
REGENERATE = "if that is meant, write it down with: python tests/integration/test_public_face.py --write"


# Python -----------------------------------------------------------------------------------------------------


def public_face() -> dict[str, Any]:
    """Everything public, as JSON values."""
    names = {name: told(getattr(featcache, name)) for name in sorted(featcache.__all__)}
    return {"python": names, "commands": dict(commands(typer.main.get_command(app)))}


def told(value: Any) -> Any:
    """What a caller may rely on: a function's parameters; a class's, and its members; of a value its type."""
    if inspect.isclass(value):
        return {"class": parameters(value), "members": dict(members(value))}
    return {"function": parameters(value)} if callable(value) else {"value": type(value).__name__}


def parameters(function: Callable[..., Any]) -> list[str] | None:
    """Each parameter as ``name``, ``name=default`` or ``*name``, and ``*`` before those that must be named."""
    try:
        found = inspect.signature(function).parameters.values()
    except ValueError:  # an exception, which takes what every exception takes
        return None
    lines, named = [], False
    for parameter in found:
        if parameter.kind == parameter.KEYWORD_ONLY and not named:
            lines.append("*")
            named = True
        mark = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        named = named or mark == "*"
        given = parameter.default is not parameter.empty
        lines.append(f"{mark}{parameter.name}" + (f"={default(parameter.default)}" if given else ""))
    return lines


def default(value: Any) -> str:
    # Where the class of a default lives is what may change.
    return type(value).__name__ if type(value).__module__.startswith("featcache") else repr(value)


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods, properties and fields that featcache itself defines, by name."""
    found: dict[str, Any] = {}
    for base in reversed([base for base in cls.__mro__ if base.__module__.startswith("featcache")]):
        fields = getattr(base, "__dataclass_fields__", {})
        found |= dict.fromkeys([*inspect.get_annotations(base), *fields], "field")
        found |= {name: member(value) for name, value in vars(base).items() if name not in fields}
    yield from sorted((name, kind) for name, kind in found.items() if not name.startswith("_"))


def member(value: Any) -> Any:
    if isinstance(value, (classmethod, staticmethod)):
        return {type(value).__name__: parameters(value.__func__)}
    return {"method": parameters(value)} if inspect.isfunction(value) else "property"


# The command line -------------------------------------------------------------------------------------------


def commands(command: Any, path: str = "featcache") -> Iterator[tuple[str, Any]]:
    """Every command and group with its arguments and options."""
    arguments = [parameter.name for parameter in command.params if parameter.param_type_name == "argument"]
    yield path, {"arguments": arguments} | {own.name: option(own) for own in command.params}
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{path} {name}")


def option(parameter: Any) -> dict[str, Any]:
    """How an option is spelled, whether it takes a value, and its default.

    Only what typer's parameters have in every version: they are click's in some, and its own in others.
    """
    value = parameter.default() if callable(parameter.default) else parameter.default
    plain = str(value) if isinstance(value, Path) else value
    # Versions differ in what stands for "no default".
    known = isinstance(plain, (str, int, float, bool))
    return {
        "names": sorted([*parameter.opts, *parameter.secondary_opts]),
        "flag": bool(getattr(parameter, "is_flag", False)),
        "default": plain if known else None,
        "required": bool(parameter.required),
        "repeated": bool(parameter.multiple) or parameter.nargs != 1,
    }


# Tests ------------------------------------------------------------------------------------------------------


def differences(found: Any, recorded: Any, where: str) -> list[str]:
    """A line for each place in which two JSON values differ."""
    if isinstance(found, Mapping) and isinstance(recorded, Mapping):
        lines = [f"{where}.{name} is new" for name in found.keys() - recorded.keys()]
        lines += [f"{where}.{name} is gone" for name in recorded.keys() - found.keys()]
        for name in found.keys() & recorded.keys():
            lines += differences(found[name], recorded[name], f"{where}.{name}")
        return sorted(lines)
    return [] if found == recorded else [f"{where}: was {recorded}, is {found}"]


@pytest.mark.parametrize("part", ["python", "commands"])
def test_the_public_face_is_what_it_was(part):
    recorded = json.loads(RECORD.read_text())[part]
    lines = differences(json.loads(json.dumps(public_face()))[part], recorded, part)
    assert not lines, "\n".join([*lines, REGENERATE])


def test_differences_are_named():
    recorded = {"extract": {"function": ["dataset", "*", "seed=0"]}, "sweep": {}}
    found = {"extract": {"function": ["dataset", "*", "seed=1"]}, "explain": {}}
    assert differences(found, recorded, "python") == [
        "python.explain is new",
        "python.extract.function: was ['dataset', '*', 'seed=0'], is ['dataset', '*', 'seed=1']",
        "python.sweep is gone",
    ]


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(
            "to write down the public face as it is now: python tests/integration/test_public_face.py --write"
        )
    RECORD.write_text(json.dumps(public_face(), indent=1, sort_keys=True) + "\n")
