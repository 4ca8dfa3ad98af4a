"""Every command and every option says what it is for."""

import pytest
from typer.main import get_command

from featcache.cli.app import app
from featcache.cli.arguments.options import COMMON, SECTIONS, sections


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
        own = parameter.metavar if parameter.param_type_name == "argument" else None
        for option in [own] if own else (*parameter.opts, *parameter.secondary_opts):
            assert option in ran.out


@pytest.mark.parametrize("path", [(), ("cache",)], ids=["featcache", "cache"])
def test_a_group_alone_prints_its_help_and_is_a_usage_error(cli, path):
    ran = cli(*path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: featcache")
    assert "Commands:" in ran.err


@pytest.mark.parametrize(("path", "command"), [p for p in ALL if hasattr(p.values[1], "commands")])
def test_a_group_says_of_each_command_its_whole_first_sentence(cli, path, command):
    text = " ".join(cli(*path, "--help").out.partition("Commands:")[2].split())
    assert "..." not in text
    for name, below in command.commands.items():
        sentence = " ".join(below.help.split("\n\n")[0].split()).split(". ")[0].rstrip(".")
        assert f"{name} {sentence}" in text


@pytest.mark.parametrize(("path", "command"), [p for p in ALL if not hasattr(p.values[1], "commands")])
def test_every_command_takes_json_quiet_and_verbose(path, command):
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--quiet", "-q", "--verbose", "-v"} <= options


def test_the_version(cli):
    import featcache

    assert cli("--version").out == f"featcache {featcache.__version__}\n"


# Help in sections -------------------------------------------------------------------------------------------

PANELLED = ("extract", "train-head", "sweep", "finetune")


@pytest.mark.parametrize("name", PANELLED)
def test_help_shows_the_eight_commonest_first_and_every_option_once(cli, name):
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    found = [
        (title, within)
        for title, within in sections([p for p in command.params if p.name != "help"])
        if title != "Arguments"
    ]
    assert found[0][0] == COMMON
    assert len(found[0][1]) == 8
    assert all(title in SECTIONS for title, _ in found)
    listed = [option.name for _, within in found for option in within]
    assert sorted(listed) == sorted(
        p.name for p in command.params if p.param_type_name == "option" and p.name != "help"
    )
    lines = cli(name, "--help").out.splitlines()
    titles = [line[:-1] for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Arguments", *(title for title, _ in found)]


def test_help_names_the_words_the_heads_and_the_default_of_a_setting(cli):
    text = " ".join(cli("train-head", "--help").out.split())
    assert "--activation" in text
    assert "mlp: after each hidden layer: relu, gelu, silu or tanh." in text
    assert (
        "linear, mlp, logistic, ridge, knn or prototype [default: logistic for few photos, linear for many, both in "
        "sweeps; ridge for numbers]." in text
    )
    swept = " ".join(cli("sweep", "--help").out.split())
    assert "--lr VALUES Step size [default: 1e-4:1e-2:log3]." in swept
    assert "Largest norm of a gradient, or none." in swept


def test_a_command_without_sections_lists_its_options(cli):
    assert "\nOptions:\n" in cli("doctor", "--help").out
