"""A bar with the time that is left for what takes long, on a terminal; none elsewhere, under --json or under -q."""

import re
import sys
from pathlib import Path

import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.terminals import Terminal, run_on_terminals, use_terminals

ETA = r"(?:-:--:--|\d+:\d\d:\d\d)"
COMMANDS = {
    "data check": ("data check photos", rf"check +.* 11/11 .*{ETA}"),
    "cache verify": ("cache verify x.h5", rf"verify +.* 90/90 .*{ETA}"),
    "sweep": ("sweep x.h5 -o sweep --head ridge --l2 1,10", rf"2/2 heads {ETA} last: ridge"),
    "predict": ("predict classifier photos", rf"predict +.* 11/11 .*{ETA}"),
    "train-head": ("train-head x.h5 -o head", r"training a \S+ head on x\.h5 \d:\d\d:\d\d"),
    "evaluate": ("evaluate classifier photos/val", rf"\d+/\d+ .*{ETA}"),
}


@pytest.fixture
def inputs(tmp_path, monkeypatch, trained):
    monkeypatch.chdir(tmp_path)
    features, labels = blobs(90)
    feature_cache(Path("x.h5"), features, labels, ["train"] * 60 + ["val"] * 30).close()
    Path("photos").symlink_to(trained.photos)
    Path("classifier").symlink_to(trained.folder)
    return trained


@pytest.mark.parametrize("name", COMMANDS)
def test_a_terminal_sees_how_much_is_done(inputs, monkeypatch, name):
    command, bar = COMMANDS[name]
    count = sum(1 for path in inputs.photos.rglob("*") if path.is_file())
    _, err = run_on_terminals(monkeypatch, *command.split(), columns=120)
    assert re.search(bar.replace("11/11", f"{count}/{count}"), err.seen()), err.seen()


@pytest.mark.parametrize("flag", ["--json", "-q"])
@pytest.mark.parametrize("name", ["data check", "cache verify", "sweep", "train-head"])
def test_none_is_drawn_under_json_or_quiet(inputs, monkeypatch, name, flag):
    _, err = run_on_terminals(monkeypatch, *COMMANDS[name][0].split(), flag)
    assert "\x1b" not in err.getvalue()
    assert not re.search(ETA, err.getvalue())


@pytest.mark.parametrize("name", ["cache verify", "sweep", "train-head"])
def test_none_is_drawn_off_a_terminal(cli, inputs, monkeypatch, name):
    use_terminals(monkeypatch)
    ran = cli(*COMMANDS[name][0].split())
    assert ran.code == 0
    assert "\x1b" not in ran.out + ran.err
    assert not re.search(ETA, ran.out + ran.err)


def test_a_name_above_the_bar_is_not_read_as_markup(monkeypatch):
    from featcache.cli.terminal.live import head_bar

    use_terminals(monkeypatch)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with head_bar() as bar:
        bar.show(1, 2, "last: [bold]x[/]", above=["a [red]name[/]", "\x1b[2J"])
        bar.refresh()
    assert "a [red]name[/]" in terminal.seen()
    assert "last: [bold]x[/]" in terminal.seen()
    assert r"\x1b[2J" in terminal.seen()
