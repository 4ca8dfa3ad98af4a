"""Every command and every option says what it is for."""

import pytest
from typer.main import get_command

from featcache.cli.app import app


def commands(command=None, path=()) -> list:
    """All commands of the tree as (path, command), groups included."""
    command = command or get_command(app)
    below = getattr(command, "commands", {})
    return [
        (path, command),
        *(found for name, sub in below.items() for found in commands(sub, (*path, name))),
    ]


ALL = [pytest.param(path, command, id=" ".join(path) or "featcache") for path, command in commands()]


@pytest.mark.parametrize(("path", "command"), ALL)
def test_commands_and_their_options_have_help_texts(path, command):
    assert command.help
    assert command.help.strip().endswith((".", "goes on.", "damaged."))
    silent = [p.name for p in command.params if p.name != "help" and not getattr(p, "help", None)]
    assert silent == []


@pytest.mark.parametrize(("path", "command"), ALL)
def test_help_is_printed_with_every_option(cli, path, command):
    ran = cli(*path, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: {' '.join(('featcache', *path))} ")
    for parameter in command.params:
        for option in (*parameter.opts, *parameter.secondary_opts):
            assert option in ran.out


@pytest.mark.parametrize("path", [(), ("cache",)], ids=["featcache", "cache"])
def test_a_group_alone_prints_its_help_and_is_a_usage_error(cli, path):
    ran = cli(*path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: featcache")
    assert "Commands:" in ran.err


@pytest.mark.parametrize(("path", "command"), [p for p in ALL if not hasattr(p.values[1], "commands")])
def test_every_command_takes_json_quiet_and_verbose(path, command):
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--quiet", "-q", "--verbose", "-v"} <= options


def test_the_version(cli):
    import featcache

    assert cli("--version").out == f"featcache {featcache.__version__}\n"
