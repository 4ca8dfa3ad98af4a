"""Pairs of rows that are nearer than is usual around them."""

import numpy as np
import pytest

from featcache.auditing.copies import cells, near_rows
from featcache.auditing.copies.near_rows import NEIGHBOUR, RATIO, near_pairs


def made(count: int, width: int, copies: int, *, seed: int = 0) -> np.ndarray:
    """Return rows float32 ``[count + copies, width]`` of which the last are altered copies of the first."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((count, 12)) @ random.standard_normal((12, width)) + 3
    x += 0.5 * random.standard_normal(x.shape)
    return np.concatenate([x, x[:copies] + 0.3 * random.standard_normal((copies, width))]).astype(np.float32)


def by_definition(x: np.ndarray) -> dict[tuple[int, int], float]:
    """Return the ratio of every near pair, from the definition in float64."""
    unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    distance = np.linalg.norm(unit[:, None] - unit[None], axis=2)
    usual = np.sort(distance, axis=1)[:, NEIGHBOUR]
    usual = np.maximum(usual, np.median(usual) / 2)
    ratio = distance / np.sqrt(usual[:, None] * usual[None])
    first, second = np.nonzero(np.triu(ratio <= RATIO, 1))
    return dict(zip(zip(first.tolist(), second.tolist(), strict=True), ratio[first, second], strict=True))


def found_in(x: np.ndarray) -> dict[tuple[int, int], float]:
    """Return the ratios that are found, by numbers of rows, the smaller first."""
    pairs = near_pairs(lambda places: x[places], np.arange(len(x)))
    assert (np.diff(pairs.ratio) >= 0).all()
    assert (pairs.first < pairs.second).all()
    return dict(zip(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True), pairs.ratio, strict=True))


def test_few_rows_are_compared_exactly() -> None:
    x = made(300, 40, 25)
    known, found = by_definition(x), found_in(x)
    assert {(row, 300 + row) for row in range(25)} <= set(known)
    assert set(found) == set(known)
    np.testing.assert_allclose([found[pair] for pair in known], list(known.values()), atol=1e-3)


def test_many_rows_are_compared_in_fewer_dimensions_without_losing_copies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(near_rows, "SMALL", 256)
    monkeypatch.setattr(near_rows, "_ROWS", 200)
    monkeypatch.setattr(near_rows, "_COLUMNS", 300)
    x = made(900, 160, 50)
    found = found_in(x)
    planted = {(row, 900 + row) for row in range(50)}
    assert planted <= set(found)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    pairs = near_pairs(lambda places: x[places], np.arange(len(x)))
    # Whatever was estimated on the way: what is said of a pair is of its features as they are.
    exact = np.einsum("nd,nd->n", unit[pairs.first], unit[pairs.second])
    np.testing.assert_allclose(pairs.similarity, exact, atol=1e-6)
    assert sum(ratio <= 0.7 for ratio in found.values()) < 300


def test_a_long_burst_does_not_make_itself_usual() -> None:
    x = made(200, 40, 0)
    random = np.random.default_rng(1)
    burst = x[:1] + 0.1 * random.standard_normal((25, 40)).astype(np.float32)
    found = found_in(np.concatenate([x, burst]))
    together = {pair for pair in found if min(pair) >= 200}
    assert len(together) == 25 * 24 // 2


def test_of_rows_that_are_all_alike_some_pairs_of_each_are_kept() -> None:
    found = found_in(np.ones((300, 8), np.float32))
    assert {row for pair in found for row in pair} == set(range(300))
    assert len(found) <= 300 * near_rows._MOST


@pytest.mark.parametrize("count", [0, 1, 3])
def test_of_a_few_rows_nothing_is_usual(count: int) -> None:
    assert found_in(np.ones((count, 8), np.float32)) == {}


def test_it_tells_how_far_it_is() -> None:
    told = []
    x = made(100, 8, 0)
    near_pairs(lambda places: x[places], np.arange(100), on_rows=told.append)
    assert told == [100]


def test_very_many_rows_are_compared_in_their_cells_with_what_is_usual_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = made(1200, 40, 60)
    known = by_definition(x)
    monkeypatch.setattr(near_rows, "MANY", 500)
    monkeypatch.setattr(near_rows, "_ROWS", 130)
    monkeypatch.setattr(near_rows, "_COLUMNS", 190)
    monkeypatch.setattr(cells, "OF_ONE", 100)
    told: list[int] = []
    pairs = near_pairs(lambda places: x[places], np.arange(len(x)), on_rows=told.append)
    found = dict(zip(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True), pairs.ratio, strict=True))
    assert len(found) == len(pairs.first)  # each pair once, though it may be in three cells
    assert {(row, 1200 + row) for row in range(60)} <= set(found)
    # The 10th of the rows of a cell is at the usual distance or, at its border, farther: pairs are found, and nearer.
    clear = {pair for pair, ratio in known.items() if ratio <= 0.7}
    assert clear <= set(found)
    assert told[-1] == len(x)
    assert told == sorted(told)


def test_each_row_is_in_three_cells_and_in_the_nearest_first() -> None:
    x = made(500, 8, 0)
    found = cells.cells_of(x, seed=0)
    assert found.cells.shape == (500, cells.CENTRES)
    assert all(len(set(own)) == cells.CENTRES for own in found.cells.tolist())
    by_row = [[] for _ in x]
    for number, (members, nearest) in enumerate(found.members()):
        assert (np.diff(members) > 0).all()
        for row, first in zip(members.tolist(), nearest.tolist(), strict=True):
            by_row[row].append(number)
            assert first == (found.cells[row, 0] == number)
    assert [sorted(own) for own in found.cells.tolist()] == by_row


def test_what_is_usual_in_a_large_cell_takes_no_more_memory(monkeypatch):
    x = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    own = np.arange(300)
    at_once = near_rows.usual_distances(x, x, own=own, of=300)
    sizes = []
    partition = np.partition

    def noted(a, *given, **named):
        sizes.append(a.size)
        return partition(a, *given, **named)

    monkeypatch.setattr(np, "partition", noted)
    monkeypatch.setattr(near_rows, "_ROWS", 50)
    monkeypatch.setattr(near_rows, "_COLUMNS", 60)
    # Ten rows at a time add their products in another order than 300 do.
    np.testing.assert_allclose(near_rows.usual_distances(x, x, own=own, of=300), at_once, rtol=1e-5)
    assert max(sizes) == 50 * 60
    apart = np.sort(np.linalg.norm(x[:, None] - x[None], axis=2), axis=1)[
        :, 10
    ]  # the row itself is the first
    np.testing.assert_allclose(at_once, apart, rtol=1e-4)


def test_a_cell_of_very_many_rows_is_divided_again_and_loses_no_copies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = made(2000, 40, 60)
    dense = np.concatenate(
        [x[:200], x[200:] * 0.02 + x[0]]
    )  # most rows around one place, where one camera stands
    dense[-60:] = dense[:60] + 0.001 * (dense[-60:] - dense[:60])
    monkeypatch.setattr(cells, "OF_ONE", 40)
    monkeypatch.setattr(cells, "LARGEST", 6)
    assert max(len(rows) for rows, _ in cells.cells_of(dense, 0).members()) > 6 * 40
    found = cells.small_cells(dense, 0)
    assert max(len(rows) for rows, _ in found) <= 6 * 40
    np.testing.assert_array_equal(
        np.sort(np.concatenate([rows[own] for rows, own in found])), np.arange(2060)
    )
    together = {pair for rows, _ in found for pair in [tuple(row) for row in _pairs_within(rows, 60, 2000)]}
    assert len(together) >= 58


def _pairs_within(rows: np.ndarray, copies: int, first: int) -> list[tuple[int, int]]:
    held = set(rows.tolist())
    return [(row, first + row) for row in range(copies) if {row, first + row} <= held]


def test_rows_that_are_the_same_are_divided_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "OF_ONE", 20)
    x = made(500, 8, 0)
    x[50:] = x[0]
    found = cells.small_cells(x, 0)
    assert max(len(rows) for rows, _ in found) <= 16 * 20
    np.testing.assert_array_equal(np.sort(np.concatenate([rows[own] for rows, own in found])), np.arange(500))
    assert all((np.diff(rows) > 0).all() for rows, _ in found)
