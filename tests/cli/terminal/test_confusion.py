"""The confusion matrix: shaded on a terminal, plain elsewhere, and with many classes only the largest confusions."""

import io
import re

import numpy as np
import pytest
from rich.cells import cell_len
from rich.color import Color, ColorSystem
from rich.console import Console

from featcache.cli.terminal.confusion import MOST, Confusion, shade

CELL = re.compile(r"\x1b\[([0-9;]+)m( +\d+ )\x1b\[0m")
BACKGROUND = re.compile(r"48;2;(\d+);(\d+);(\d+)")


def drawn(confusion: Confusion, columns: int) -> list[str]:
    """Return the lines on a terminal, with its colours."""
    terminal = Console(
        file=io.StringIO(),
        width=columns,
        force_terminal=True,
        color_system="truecolor",
        no_color=False,
        _environ={},
    )
    with terminal.capture() as captured:
        terminal.print(confusion.drawn(columns))
    return captured.get().rstrip("\n").split("\n")


def seen(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip()


def matrix(count: int) -> Confusion:
    counts = np.random.default_rng(count).integers(0, 20, (count, count))
    return Confusion([f"kind {n} [b]" for n in range(count)], counts)


def test_right_is_blue_wrong_is_red_and_the_fuller_the_larger():
    counts = np.array([[90, 9, 1], [0, 5, 45], [30, 0, 70]])
    _, *rows, legend = drawn(Confusion(["cat", "dog", "owl"], counts), 80)
    cells = [CELL.findall(line) for line in rows]
    assert [[int(text) for _, text in row] for row in cells] == counts.tolist()
    colours = [[BACKGROUND.search(style) for style, _ in row] for row in cells]
    for i, row in enumerate(colours):
        for j, found in enumerate(row):
            if counts[i, j] == 0:
                assert found is None
                continue
            red, _, blue = (int(part) for part in found.groups())
            assert (blue > red) == (i == j), (i, j)

    def fullness(i: int, j: int) -> int:
        parts = [int(part) for part in colours[i][j].groups()]
        return max(parts) - min(parts)

    assert fullness(0, 0) > fullness(1, 1), "90 % and 10 % of their class"
    assert fullness(1, 2) > fullness(2, 0) > fullness(0, 2), "90 %, 30 % and 1 %"
    assert "blue: right, red: wrong" in seen(legend)


@pytest.mark.parametrize("right", [True, False])
def test_no_colour_is_grey_on_a_terminal_of_256_colours(right):
    names = [shade(share, right=right).rpartition(" ")[2] for share in (0.6, 0.3, 0.1, 0.01)]
    numbers = [Color.parse(name).downgrade(ColorSystem.EIGHT_BIT).number for name in names]
    assert len(set(numbers)) == 4
    assert not set(numbers) & {*range(232, 256), 59, 102, 145}, "the greys"
    assert shade(0, right=right) == "dim"


@pytest.mark.parametrize("count", [2, 7, 12, MOST])
@pytest.mark.parametrize("columns", [40, 80, 120])
def test_it_fits_with_numbers_for_names_or_as_a_list(count, columns):
    confusion = matrix(count)
    lines = [seen(line) for line in drawn(confusion, columns)]
    assert max(map(cell_len, lines)) <= columns
    digits = [line.split()[-1] for line in lines]
    if lines[0].startswith("true \\"):
        rows = lines[1 : 1 + count]
        assert [
            [int(word) for word in row.split("[b]")[1].split()] for row in rows
        ] == confusion.counts.tolist()
        if "kind" not in lines[0]:
            assert lines[0].split()[-count:] == [str(n) for n in range(1, count + 1)]
            assert all(row.startswith(f"{n} kind") for n, row in enumerate(rows, 1))
    else:
        assert lines[0] == "largest confusions:"
        wrong = confusion.counts - np.diag(np.diag(confusion.counts))
        assert [int(word) for word in digits[3:]] == sorted(wrong.ravel().tolist(), reverse=True)[:MOST]


def test_many_classes_are_a_list_of_confusions_in_a_file_too():
    confusion = matrix(MOST + 1)
    title, head, first, *others = confusion.lines()
    assert (title, head.split()) == ("largest confusions:", ["true", "predicted", "images"])
    assert len(others) == MOST - 1
    count, true, guess = max(
        (int(confusion.counts[i, j]), confusion.names[i], confusion.names[j])
        for i in range(MOST + 1)
        for j in range(MOST + 1)
        if i != j
    )
    assert first.split() == [*true.split(), *guess.split(), str(count)]
    assert seen(drawn(confusion, 200)[0]) == title


def test_a_file_gets_every_count():
    head, *rows = matrix(3).lines()
    assert head.split("  ")[0] == "true \\ predicted"
    assert [[int(word) for word in row.split()[-3:]] for row in rows] == matrix(3).counts.tolist()
