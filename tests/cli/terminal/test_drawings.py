"""Results on a terminal: aligned, folded within its width, and never read as markup; plain lines everywhere else."""

import io
import math
import re
import sys

import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.terminals import Terminal, run_on_terminals, use_terminals
from rich.cells import cell_len

from featcache import Classifier, train_head
from featcache.cli.console import Console, draws, on_terminal
from featcache.cli.terminal.drawings import BARS, Curve, Facts, OnTerminal, Table, Whole, plain, sparkline
from featcache.core.display import percent

NUMBERS = Table(
    ("class", "share", "images"),
    [("狐 [red]x", "9.0 %", "7"), ("b", "100.0 %", "1234")],
    right=("share", "images"),
)


@pytest.fixture
def shown(monkeypatch):
    """Return what a terminal of some width shows of parts."""

    def shown(*parts, columns: int = 80) -> list[str]:
        use_terminals(monkeypatch, columns)
        terminal = Terminal()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", terminal)
            Console().result({}, parts)
        return [line.rstrip() for line in terminal.seen().splitlines()]

    return shown


def test_numbers_stand_below_each_other(shown):
    head, rule, *rows = shown(NUMBERS)
    assert set(rule) == {"─"}
    assert len({cell_len(line) for line in (head, *rows)}) == 1, "the last column ends in one place"
    for word in ("share", "9.0 %", "100.0 %"):
        line = next(line for line in (head, *rows) if word in line)
        assert cell_len(line[: line.index(word)] + word) == cell_len(head[: head.index("share")] + "share")
    assert rows[0].startswith("狐 [red]x ")


def test_a_file_gets_plain_lines(capsys, monkeypatch):
    use_terminals(monkeypatch)
    Console().result({}, [NUMBERS, Curve("curve", [0.1, 0.9], "accuracy"), OnTerminal(["a"], ["b"])])
    assert capsys.readouterr().out.splitlines() == [
        "class       share  images",
        "狐 [red]x    9.0 %       7",
        "b         100.0 %    1234",
        "b",
    ]


def test_what_is_drawn_instead(shown):
    assert shown(OnTerminal(["a [b]", NUMBERS], ["c"]))[0] == "a [b]"
    assert plain([OnTerminal(["a"], ["c"])]) == ["c"]


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_long_names_are_folded_and_none_of_their_letters_is_lost(shown, columns):
    name = "train/" + "".join(chr(ord("a") + n % 26) for n in range(200)) + ".jpg"
    lines = shown(
        Table(("file", "probability"), [(name, "99.9 %")], right=("probability",), indent=2), columns=columns
    )
    assert max(map(cell_len, lines)) <= columns
    assert lines[2].endswith(" 99.9 %")
    assert "".join(line.replace("99.9 %", "").strip() for line in lines[2:]) == name


def test_text_is_broken_between_words_and_goes_on_below_itself(shown):
    lines = shown(
        "  head        " + "word " * 20, "x: " + "a long sentence " * 6, "  file: /" + "p" * 90, columns=60
    )
    assert max(map(len, lines[:2])) <= 60
    assert lines[1].startswith(" " * 14 + "word")
    assert "  file:" in lines
    assert "    /" + "p" * 90 in lines, "a path stays whole"
    assert shown(Whole("cut " * 20), columns=60) == ["cut " * 19 + "cut"]
    facts = shown(Facts([("head", "word " * 20), ("x", "[b]")]), columns=60)
    assert facts[1].startswith(" " * 14 + "word")
    assert facts[-1] == "  x           [b]"


def test_what_a_terminal_would_obey_is_escaped(shown):
    evil = "\x1b[2J\x07"
    parts = [
        Table((evil,), [(evil,)]),
        Facts([(evil, evil)]),
        evil,
        OnTerminal([evil]),
        Curve(evil, [1, 2], "x"),
    ]
    terminal = "\n".join(shown(*parts))
    assert "\x07" not in terminal
    assert terminal.count(r"\x1b[2J") == 7


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)],
)
def test_no_color_and_dumb_terminals_get_plain_text(monkeypatch, environment, expected):
    use_terminals(monkeypatch, **environment)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert draws() == expected
    Console().result({}, [NUMBERS])
    assert ("─" in terminal.getvalue()) == expected
    assert ("\x1b" in terminal.getvalue()) == expected


def test_a_file_and_a_terminal_without_unicode_get_plain_text(monkeypatch):
    use_terminals(monkeypatch)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert not draws()
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(latin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdout", latin)
    assert not draws()


# Curves -----------------------------------------------------------------------------------------------------


def test_a_sparkline_is_highest_where_the_values_are():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == BARS
    assert sparkline([7.0, 0.0, math.nan, 3.4]) == "█▁ ▄"
    assert sparkline([2, 2, 2]) == "▁▁▁"
    assert sparkline([math.nan, math.inf]) == "  "
    assert sparkline([]) == ""
    long = sparkline(range(1000), 20)
    assert (len(long), long[0], long[-1]) == (20, BARS[0], BARS[-1])
    assert list(long) == sorted(long)


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_curve_fits_its_line(shown, columns):
    (line,) = shown(Curve("curve", [n / 300 for n in range(300)], "accuracy", shares=True), columns=columns)
    assert len(line) <= columns
    assert line.startswith("  curve       ▁")
    assert line.endswith("█ accuracy 0.0 % → 99.7 %, 300 epochs")
    (none,) = shown(Curve("loss", [math.nan], "loss"))
    assert none.endswith("loss none → none, 1 epochs")


# Commands ---------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed_up(tmp_path):
    """A cache some of whose test labels are wrong, as every head will find."""
    features, labels = blobs(90)
    labels[60:80] = (labels[60:80] + 1) % 3
    feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 60 + ["test"] * 30).close()
    return tmp_path / "x.h5"


def files(terminal: Terminal) -> list[list[str]]:
    """Return the words of the lines that begin with a file's name."""
    return [line.split() for line in terminal.seen().splitlines() if line.startswith("test/")]


def test_training_and_evaluation_name_the_three_mistakes_that_they_are_surest_of(
    mixed_up, monkeypatch, tmp_path
):
    out, _ = run_on_terminals(
        monkeypatch, "train-head", mixed_up, "-o", tmp_path / "c", "--epochs", "3", "--patience", "3"
    )
    assert "  curve       " in out.seen()
    assert ", 3 epochs" in out.seen()
    assert "(all of them: featcache evaluate" in out.seen()
    mistakes = Classifier.load(tmp_path / "c").evaluate().mistakes()
    surest = sorted(mistakes, key=lambda each: -each.probability)[:3]
    wanted = [[each.file, each.truth, each.guess, *percent(each.probability).split()] for each in surest]
    assert files(out) == wanted
    scored, _ = run_on_terminals(monkeypatch, "evaluate", tmp_path / "c")
    assert files(scored) == wanted
    assert f"{len(mistakes)} of 30 wrong, the 3 it is surest of:" in scored.seen()
    assert "(all of them: --errors FILE.csv)" in scored.seen()
    more, _ = run_on_terminals(monkeypatch, "evaluate", tmp_path / "c", "-v")
    assert [row[0] for row in files(more)] == [each.file for each in mistakes[:10]]


@pytest.mark.parametrize("command", ["train-head", "evaluate"])
def test_no_color_gets_what_a_file_gets(cli, mixed_up, monkeypatch, tmp_path, command):
    train_head(mixed_up, output=tmp_path / "c", head="ridge")
    arguments = (
        [mixed_up, "-o", tmp_path / "d", "--head", "ridge"] if command == "train-head" else [tmp_path / "c"]
    )
    plain_out = cli(command, *arguments).out
    out, _ = run_on_terminals(monkeypatch, command, *arguments, NO_COLOR="1")
    seconds = re.compile(r"[0-9.]+ s$", re.MULTILINE)
    assert seconds.sub("", out.getvalue()) == seconds.sub("", plain_out)


def test_an_empty_result_is_an_empty_line(monkeypatch):
    use_terminals(monkeypatch)
    assert on_terminal([]) == ""
