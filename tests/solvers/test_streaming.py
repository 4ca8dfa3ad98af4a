"""Training on features that are read in blocks gives what training in memory gives."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest

from featcache.heads.feature_table import ArrayTable, StreamedTable, blocks
from featcache.heads.model import HeadArchitecture
from featcache.heads.scaling import divisors
from featcache.solvers.epoch_progress import EpochProgress, OnEpoch
from featcache.solvers.optimizers import hyperparameters
from featcache.solvers.streaming import StreamedRows, _scaling, fit_streamed
from featcache.solvers.train_loop import TrainedHeads, fit, init_carry
from featcache.solvers.train_step import HeadsProgram, TrainRows

N, M, D, C, K = 150, 54, 16, 3, 3


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
JUDGED = np.ones((K, M), np.float32)
# Two blocks at a time, of which each holds 18 rows: a batch of 16, and a third of the validation rows.
MEMORY = X.nbytes // 4
LINEAR = HeadsProgram(HeadArchitecture("linear", C), "adamw", 16, 8, schedule="cosine")
NORMED = HeadsProgram(HeadArchitecture("mlp", C, (8,), batch_norm=True), "adamw", 16, 8, schedule="cosine")


@cache
def in_memory(program: HeadsProgram) -> TrainedHeads:
    return fit(program, HYPER, TrainRows(X, Y, FOLDS), TrainRows(VX, VY, JUDGED))


def streamed(
    program: HeadsProgram, x: np.ndarray = X, weight: np.ndarray = FOLDS, on_epoch: OnEpoch | None = None
) -> tuple[TrainedHeads, list[int]]:
    """Heads, and how many rows were read at a time."""
    reads: list[int] = []

    def read(rows: np.ndarray) -> np.ndarray:
        reads.append(len(rows))
        return x[rows]

    train, val = StreamedRows(StreamedTable(read, N, D), Y, weight), StreamedRows(ArrayTable(VX), VY, JUDGED)
    return fit_streamed(program, HYPER, train, val, memory=MEMORY, on_epoch=on_epoch), reads


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "program",
    [LINEAR, pytest.param(NORMED, marks=pytest.mark.slow)],
    ids=["linear", "mlp with batch norm and dropout"],
)
def test_streamed_heads_are_those_of_training_in_memory(program):
    want = in_memory(program)
    got, reads = streamed(program)
    # Four times larger than what may be held: never more than half of that at once, because two blocks are held.
    assert max(reads) * D * 4 <= MEMORY // 2
    # Sums in another order: float32's last digits, grown over 60 steps.
    np.testing.assert_allclose(got.history.val_loss, want.history.val_loss, rtol=1e-4)
    np.testing.assert_array_equal(got.best_epoch, want.best_epoch)
    for name, value in want.parameters.items():
        np.testing.assert_allclose(got.parameters[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_the_first_epoch_has_the_types_of_all_others():
    # A number without a type of its own (jnp.nan) becomes another one after an epoch, and all is compiled again.
    first = jax.eval_shape(lambda: init_carry(LINEAR, HYPER, D))
    assert not [leaf for leaf in jax.tree.leaves(first) if leaf.weak_type]


def test_rows_that_are_no_numbers_and_do_not_count_reach_no_head():
    weight = FOLDS.copy()
    weight[:, [7, 20]] = 0
    other = X.copy()
    other[7], other[20, 3] = np.nan, -np.inf
    want, got = streamed(LINEAR, weight=weight)[0], streamed(LINEAR, other, weight)[0]
    # They take part in the centre that moments are computed around, which changes roundings.
    np.testing.assert_allclose(got.history.val_loss, want.history.val_loss, rtol=1e-4)
    np.testing.assert_array_equal(got.best_epoch, want.best_epoch)


def test_every_epoch_that_is_run_is_told_to_its_end():
    told: list[EpochProgress] = []
    got, _ = streamed(LINEAR, on_epoch=told.append)
    ends = [own.epoch for own in told if own.share == 1]
    assert ends == list(range(1, int(got.epochs_run) + 1))
    assert {(own.heads, own.rows, own.most) for own in told} == {(K, N, 8)}
    assert told[0].least == 8, "a patience of 50 epochs outlasts them"
    assert told[0].seconds is None
    assert all(own.seconds > 0 for own in told[1:])


@pytest.mark.parametrize("scaling", ["standard", "unit"])
def test_rows_in_an_odd_order_are_scaled_as_numpy_scales_them(scaling):
    # Sorted, so that the first block is far from the mean of all; a large offset, and a constant feature.
    x = np.sort(X, axis=0) + 300
    x[:, 3] = 7.7
    table, ones = StreamedTable(lambda rows: x[rows], N, D), np.ones((1, N), np.float32)
    program = replace(LINEAR, scaling=scaling, shared=True)
    found = _scaling(program, StreamedRows(table, Y, ones), MEMORY // 4)
    exact = x.astype(np.float64)
    want = divisors(scaling, exact.var(axis=0), exact.mean(axis=0), np.float64(N))
    np.testing.assert_allclose(found.mean, exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.deviation, want, rtol=2e-5)


def test_weights_of_any_size_standardise_alike():
    want, got = in_memory(LINEAR), streamed(LINEAR, weight=FOLDS / 1000)[0]
    np.testing.assert_allclose(got.history.val_loss, want.history.val_loss, rtol=1e-4)


def test_blocks_cover_all_rows_and_hold_one_at_least():
    assert blocks(10, 4, 48) == [slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 10)]
    assert blocks(2, 100, 1) == [slice(0, 1), slice(1, 2)]
    assert blocks(0, 4, 48) == []


def test_a_streamed_table_reads_each_row_once_and_forwards():
    asked = []
    table = StreamedTable(lambda rows: (asked.append(rows.tolist()), X[rows])[1], N, D)
    np.testing.assert_array_equal(table.take(np.array([5, 2, 5, 0])), X[[5, 2, 5, 0]])
    assert asked == [[0, 2, 5]]


GROWTH = """
import sys
import numpy as np
from featcache.heads.feature_table import FeatureRows, StreamedTable
from featcache.heads.settings import Settings
from featcache.solvers.fit import fit_heads

memory, width = int(sys.argv[1]), 1280
base = np.random.default_rng(0).normal(size=(997, width)).astype(np.float32)
settings = [Settings(learning_rate=1e-3 * k, epochs=2, batch_size=256) for k in range(1, 17)]

def fit_some(count, memory):
    table = StreamedTable(lambda numbers: base[numbers % 997], count, width)
    part = FeatureRows(table, np.arange(count) % 10, np.ones((16, count), np.float32))
    fit_heads(settings, part, part, classes=10, memory=memory)

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) << 10

fit_some(2000, 4 << 20)
open("/proc/self/clear_refs", "w").write("5")
before = peak()
fit_some(memory // width, memory)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a process's peak is read from /proc")
def test_a_process_grows_by_its_memory_and_what_compiling_takes():
    """Sixteen heads on a table four times as large as ``memory``, after a small fit that loads what is needed."""
    memory = int(os.environ.get("FEATCACHE_STREAMED_MIB", "128")) << 20
    run = subprocess.run(
        [sys.executable, "-c", GROWTH, str(memory)], capture_output=True, text=True, check=True
    )
    # 150 MiB are XLA's, for programs of other shapes: they do not depend on the memory. It grew by 650 MiB once.
    assert int(run.stdout) < 1.2 * memory + (150 << 20)
