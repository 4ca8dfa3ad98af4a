"""Solved heads beside scikit-learn's, in one run, as ratios.

45 logistic regressions (C from 1e-6 to 1e5) in one program, and 100 ridge regressions from one decomposition,
against a loop over scikit-learn, and how far the solutions agree. Ours run before and between
scikit-learn's, so that drift of the machine cancels. Each gets the number of BLAS threads, one or all, that is
faster for it on this machine now (OpenBLAS' threads spin: beside other processes one is ten times faster than two).

Command: ``python benchmarks/solvers.py [--features FILE.npz]``, a file with ``x [N, D]``, ``y [N]``, ``val_x``,
``val_y``; without one, 2,569 rows of 1,280 made-up features in 5 classes. Where OPENBLAS_CORETYPE or
OPENBLAS_L2_SIZE is set, start it with ``env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE``: they slow scikit-learn.
"""

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits

from featcache.solvers.logistic import fit_logistic
from featcache.solvers.ridge import class_targets, fit_ridge

STRENGTHS = np.logspace(-6, 5, 45)
PENALTIES = np.logspace(-4, 6, 100)
TOLERANCE = 1e-6


class Data(NamedTuple):
    """Features float32 and labels of training and validation rows."""

    x: np.ndarray
    y: np.ndarray
    val_x: np.ndarray
    val_y: np.ndarray


def made_up(rows: int = 2569, val_rows: int = 550, features: int = 1280, classes: int = 5) -> Data:
    """Features like a network's pooled ones: correlated, mostly small, never below 0, of overlapping classes."""
    random = np.random.default_rng(0)
    y = random.integers(0, classes, rows + val_rows)
    spread = np.arange(1, 301) ** -0.4
    shared = random.normal(size=(len(y), 300)) * spread
    shared += 0.2 * random.normal(size=(classes, 300))[y] * spread
    x = shared @ random.normal(size=(300, features)) / 8 + 0.15 * random.normal(size=(len(y), features)) - 0.2
    x = np.maximum(x, 0).astype(np.float32)
    return Data(x[:rows], y[:rows], x[rows:], y[rows:])


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall seconds, CPU seconds and result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = jax.block_until_ready(work())
    return time.perf_counter() - wall, time.process_time() - cpu, result


def faster_threads(work: Callable[[], Any]) -> int:
    """Number of BLAS threads, 1 or all, with which `work` takes less time."""
    times = {}
    for threads in sorted({1, os.cpu_count() or 1}):
        with threadpool_limits(threads):
            work()
            times[threads] = timed(work)[0]
    return min(times, key=lambda threads: times[threads])


def race(
    ours: Callable[[], Any], theirs: Callable[[float], Any], values: np.ndarray
) -> tuple[Any, list[Any]]:
    """Let ours run three times around a loop of theirs; print the times and return the results."""
    first, _, _ = timed(ours)
    threads = faster_threads(ours), faster_threads(lambda: theirs(float(np.median(values))))
    runs, models, wall, cpu = [], [], 0.0, 0.0
    for part in np.array_split(values, 3):
        with threadpool_limits(threads[0]):
            runs.append(timed(ours))
        with threadpool_limits(threads[1]):
            loop = timed(lambda part=part: [theirs(value) for value in part])
        wall, cpu, models = wall + loop[0], cpu + loop[1], models + loop[2]
    our_wall, our_cpu = (statistics.median(run[index] for run in runs) for index in (0, 1))
    print(
        f"  featcache {our_wall:.2f} s ({our_cpu:.2f} s of CPU; first run, with compiling, {first:.2f} s), "
        f"scikit-learn {wall:.2f} s ({cpu:.2f} s of CPU); BLAS threads {threads[0]} and {threads[1]}\n"
        f"  ratio {wall / our_wall:.1f} (CPU {cpu / our_cpu:.1f}; first run {wall / first:.1f})",
        flush=True,
    )
    return runs[-1][2], models


def objective(kernel: np.ndarray, bias: np.ndarray, data: Data, c: float) -> float:
    """scikit-learn's objective in float64."""
    logits = data.x.astype(np.float64) @ kernel.astype(np.float64) + bias
    losses = -log_softmax(logits, axis=1)[np.arange(len(data.y)), data.y]
    return c * losses.sum() + np.sum(kernel.astype(np.float64) ** 2) / 2


def logistic(data: Data) -> None:
    classes = int(data.y.max()) + 1
    weight = np.ones((len(STRENGTHS), len(data.y)))

    def ours() -> Any:
        return fit_logistic(
            data.x, data.y, weight, STRENGTHS, classes=classes, tolerance=TOLERANCE, scaling="none"
        )

    def theirs(c: float, x: np.ndarray = data.x, tolerance: float = TOLERANCE) -> LogisticRegression:
        return LogisticRegression(C=c, tol=tolerance, max_iter=10_000).fit(x, data.y)

    print(f"logistic: {len(STRENGTHS)} values of C, tolerance {TOLERANCE}")
    solution, models = race(ours, theirs, STRENGTHS)
    kernels, biases = (np.asarray(solution.parameters[name]) for name in ("kernel", "bias"))
    iterations = sum(int(model.n_iter_[0]) for model in models)
    print(
        f"  iterations {int(solution.iterations.sum())}, scikit-learn's {iterations}; "
        f"converged {int(solution.converged.sum())} of {len(STRENGTHS)}"
    )
    worst, early, same, right = -np.inf, [], [], []
    for c, kernel, bias, model in zip(STRENGTHS, kernels, biases, models, strict=True):
        reached = objective(kernel, bias, data, c)
        theirs_reached = objective(model.coef_.T, model.intercept_, data, c)
        worst = max(worst, reached / theirs_reached - 1)
        if theirs_reached > reached * (1 + 1e-4):
            early.append(c)
            # Not timed: scikit-learn again, to where it gets with 1,000 times the accuracy and centred features.
            mean = data.x.mean(0, dtype=np.float64)
            with threadpool_limits(1):
                model = theirs(c, data.x - mean, TOLERANCE / 1e5)
            model.intercept_ = model.intercept_ - model.coef_ @ mean
            worst = max(worst, reached / objective(model.coef_.T, model.intercept_, data, c) - 1)
        predicted = [
            np.argmax(data.val_x @ k + b, 1) for k, b in ((kernel, bias), (model.coef_.T, model.intercept_))
        ]
        same.append(np.mean(predicted[0] == predicted[1]))
        right.append([np.mean(choice == data.val_y) for choice in predicted])
    best = STRENGTHS[np.argmax(right, axis=0)]
    print(
        f"  objective at most {worst:+.1e} above scikit-learn's; its own is more than 1e-4 above ours for "
        f"{len(early)} values of C{f' from {min(early):.2g}' if early else ''}, where it was run to a tolerance of "
        f"{TOLERANCE / 1e5:.0e}\n"
        f"  same validation predictions {min(same):.2%} or more (mean {np.mean(same):.2%}); "
        f"best C {best[0]:.3g} and {best[1]:.3g}, accuracy {np.max(right, axis=0)[0]:.4f} and "
        f"{np.max(right, axis=0)[1]:.4f}"
    )


def ridge(data: Data) -> None:
    targets = class_targets(data.y, int(data.y.max()) + 1)
    weight = np.ones((1, len(data.y)))

    def ours() -> Any:
        return fit_ridge(data.x, targets, weight, PENALTIES, scaling="none")

    for dtype in (np.float32, np.float64):
        x, y = data.x.astype(dtype), targets.astype(dtype)

        def theirs(l2: float, x: np.ndarray = x, y: np.ndarray = y) -> Ridge:
            return Ridge(alpha=l2).fit(x, y)

        print(f"ridge: {len(PENALTIES)} values of l2, scikit-learn on {np.dtype(dtype).name} features")
        solution, models = race(ours, theirs, PENALTIES)
        off = [
            np.linalg.norm(kernel.T - model.coef_) / np.linalg.norm(model.coef_)
            for kernel, model in zip(solution["kernel"][0], models, strict=True)
        ]
        print(f"  kernels differ by {max(off):.1e} of their norm at most")


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--features", type=Path, help=".npz with x, y, val_x, val_y")
    path = arguments.parse_args().features
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    data = made_up() if path is None else Data(*(np.load(path)[name] for name in Data._fields))
    print(
        f"{data.x.shape} features, {len(data.val_y)} validation rows, load {os.getloadavg()[0]:.1f} before",
        flush=True,
    )
    logistic(data)
    ridge(data)
    print(f"load {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
