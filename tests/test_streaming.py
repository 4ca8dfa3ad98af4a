"""Training on features that are read in blocks gives what training in memory gives."""

import numpy as np
import pytest

from featcache.heads import Form
from featcache.learning import Program, Rows
from featcache.optimization import hyperparameters
from featcache.streaming import Source, fit_streamed
from featcache.tables import ArrayTable, StreamedTable, blocks
from featcache.training import fit

N, M, D, C, K = 150, 60, 16, 3, 3


def problem(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % C
    centres = np.random.default_rng(99).normal(size=(C, D))
    return (centres[labels] + 1.5 * random.normal(size=(count, D)) + 3).astype(np.float32), labels


X, Y = problem(N, 0)
VX, VY = problem(M, 1)
FOLDS = (np.arange(N)[None] % K != np.arange(K)[:, None]).astype(np.float32)
HYPER = hyperparameters(
    learning_rate=[0.01, 0.05, 0.02], dropout=[0.0, 0.2, 0.4], patience=[3, 50, 6], seed=[1, 2, 3]
)


@pytest.mark.parametrize(
    "form",
    [Form("linear", C), Form("mlp", C, (8, 4)), Form("mlp", C, (8,), batch_norm=True)],
    ids=["linear", "mlp", "batch norm"],
)
def test_streamed_heads_are_those_of_training_in_memory(form):
    program = Program(form, "adamw", 16, 8, schedule="cosine")
    weight = np.ones((K, M), np.float32)
    want = fit(program, HYPER, Rows(X, Y, FOLDS), Rows(VX, VY, weight))
    reads: list[int] = []

    def read(rows: np.ndarray) -> np.ndarray:
        reads.append(len(rows))
        return X[rows]

    train = Source(StreamedTable(read, N, D), Y, FOLDS)
    memory = X.nbytes // 4
    got = fit_streamed(program, HYPER, train, Source(ArrayTable(VX), VY, weight), memory=memory)
    # Four times larger than what may be held: never more than half of that at once, because two blocks are held.
    assert max(reads) * D * 4 <= memory // 2
    # Sums in another order: float32's last digits, grown over 60 steps.
    np.testing.assert_allclose(got.history.val_loss, want.history.val_loss, rtol=1e-4)
    np.testing.assert_array_equal(got.best_epoch, want.best_epoch)
    for name, value in want.parameters.items():
        np.testing.assert_allclose(got.parameters[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_blocks_cover_all_rows_and_hold_one_at_least():
    assert blocks(10, 4, 48) == [slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 10)]
    assert blocks(2, 100, 1) == [slice(0, 1), slice(1, 2)]
    assert blocks(0, 4, 48) == []


def test_a_streamed_table_reads_each_row_once_and_forwards():
    asked = []
    table = StreamedTable(lambda rows: (asked.append(rows.tolist()), X[rows])[1], N, D)
    np.testing.assert_array_equal(table.take(np.array([5, 2, 5, 0])), X[[5, 2, 5, 0]])
    assert asked == [[0, 2, 5]]
