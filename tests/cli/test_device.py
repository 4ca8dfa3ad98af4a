"""``--device``: which commands have it, that it holds before they compute, and what it refuses."""

import pytest
from typer.main import get_command

from featcache.cli.app import COMPUTING, app

COMMANDS = {
    name: {option for parameter in command.params for option in parameter.opts}
    for name, command in get_command(app).commands.items()  # type: ignore[attr-defined]
}


def test_commands_that_compute_take_a_device():
    assert {name for name, options in COMMANDS.items() if "--device" in options} == {
        module.NAME for module in COMPUTING
    }
    assert {"extract", "train-head", "sweep", "finetune", "evaluate", "predict"} <= {
        each.NAME for each in COMPUTING
    }


@pytest.mark.parametrize("command", ["predict x y", "sweep x", "train-head x", "extract x"])
def test_what_is_no_device_is_refused_before_anything_is_read(cli, command):
    ran = cli(*command.split(), "--device", "gpu:0")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "error: no --device 'gpu:0'; NVIDIA's cards are called cuda: say cuda:0, or auto for whatever card JAX finds\n"
    )


def test_a_device_that_the_environment_hides_is_told_with_both_readings(cli, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    ran = cli("predict", "x", "y", "--device", "cuda:1")
    assert ran.code == 2
    assert ran.err.startswith(
        "error: --device cuda:1 and JAX_PLATFORMS=cpu contradict each other: the variable allows"
    )
    assert "leave out --device, or unset JAX_PLATFORMS" in ran.err


def test_the_command_runs_on_the_device_that_is_there(cli, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert cli("predict", "gone", "y", "--device", "cpu").err.startswith("error: no classifier in gone")
