"""Write docs/reference/cli.md from the commands' own help texts and defaults; ``--check`` only compares.

From the parameters and not from the rendered ``--help``, whose layout changes with typer's version.

Command: ``python tools/make_cli.py``
"""

import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"


def reference() -> str:
    """Return the page."""
    from typer.main import get_command

    from featcache.cli.app import app

    root: Any = get_command(app)
    parts = [
        "# Command line",
        "",
        "Made by `python tools/make_cli.py` from the commands' own help texts. Results go to stdout, progress and",
        "hints to stderr. Exit codes: 0 ok, 1 runtime, 2 usage, 3 data or weights missing or offline,",
        "4 integrity, 130 interrupted.",
    ]
    for name, command in sorted(root.commands.items()):
        parts += ["", *_section(name, command)]
    return "\n".join(parts) + "\n"


def _section(name: str, command: Any) -> list[str]:
    lines = [f"## featcache {name}", "", command.help.strip(), *_parameters(name, command)]
    for below, sub in getattr(command, "commands", {}).items():
        lines += ["", *_section(f"{name} {below}", sub)]
    return lines


def _parameters(name: str, command: Any) -> list[str]:
    """How to call a command; nothing for a group that does nothing by itself."""
    from featcache.cli.arguments.options import sections

    found = sections([p for p in command.params if p.name != "help"])
    arguments = dict(found)["Arguments"]
    if not any(parameters for _, parameters in found):
        return []
    usage = " ".join([f"featcache {name}", *(p.name.upper() for p in arguments), "[OPTIONS]"])
    lines = ["", f"    {usage}"]
    if len(found) == 2:  # no sections
        return [*lines, *_table("", [p for _, parameters in found for p in parameters])]
    for title, parameters in found:
        lines += _table(title, parameters)
    return lines


def _table(title: str, parameters: list[Any]) -> list[str]:
    """One section's arguments or options; nothing where there are none."""
    if not parameters:
        return []
    return ["", f"| {title}".rstrip() + " | | default |", "| --- | --- | --- |", *map(_row, parameters)]


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"| `{parameter.name.upper()}` | {_cell(parameter.help)} | |"
    return f"| {_names(parameter)} | {_cell(parameter.help)} | {_default(parameter)} |"


def _names(option: Any) -> str:
    return ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def _default(option: Any) -> str:
    shown = not (option.default is None or isinstance(option.default, bool) or callable(option.default))
    return f"`{option.default}`" if shown else ""


def main() -> int:
    """Write or compare; returns the exit code."""
    text = reference()
    if "--check" not in sys.argv:
        PAGE.write_text(text)
        return 0
    if PAGE.is_file() and PAGE.read_text() == text:
        return 0
    print(f"{PAGE} is not what the commands' help says; run: python tools/make_cli.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
