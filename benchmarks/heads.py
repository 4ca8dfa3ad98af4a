"""Many heads beside scikit-learn's one, and beside the matrix products that they cannot do without, as ratios.

256 AdamW heads (16 learning rates, 16 decays), 20 epochs, batches of 128, on the features of `solvers.py` (2,569
rows of 1,280 made-up features in 5 classes, or ``--features FILE.npz``):

- per head against one L-BFGS fit of scikit-learn (C = 0.01); the two take turns;
- in all against the products of the same shapes alone: forwards and backwards, for every step; in one program and
  as one program for each core, whichever is faster;
- 64, 128, 256, 512 heads: what doubling costs;
- the same heads from a table that is read in blocks, four times larger than ``memory``: how far the parameters
  differ, and by how much the process grows;
- the whole ``featcache sweep`` process, from start to table, with validation rows (``--no-process`` leaves it out).

The figures that solved heads must reach are those of `solvers.py`; ``--solvers`` runs it afterwards.

Command: ``env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/heads.py [--solvers]``
"""

import argparse
import hashlib
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import solvers
from jax import lax
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from featcache.core.jit_options import cpu_options
from featcache.heads.feature_table import ArrayTable, FeatureRows, FeatureTable, StreamedTable
from featcache.heads.settings import Settings
from featcache.solvers.fit import Fit, fit_heads

HEADS, EPOCHS, BATCH = 256, 20, 128
ROUNDS = 5


def grid(heads: int) -> list[Settings]:
    """AdamW heads: learning rates by decays."""
    decays = np.logspace(-6, -1, 16)
    rates = np.logspace(-4, -1, heads // len(decays))
    return [
        Settings(
            optimizer="adamw", learning_rate=float(a), weight_decay=float(b), epochs=EPOCHS, patience=EPOCHS
        )
        for a in rates
        for b in decays
    ]


def fitting(data: solvers.Data, heads: int, table: FeatureTable | None = None, **options: Any) -> list[Fit]:
    """Fit without validation rows: what training alone takes."""
    train = FeatureRows(table or ArrayTable(data.x), data.y, np.ones((heads, len(data.y)), np.float32))
    nothing = FeatureRows(ArrayTable(data.x[:0]), data.y[:0], np.ones((heads, 0), np.float32))
    return fit_heads(grid(heads), train, nothing, classes=int(data.y.max()) + 1, **options)


def products(data: solvers.Data, heads: int) -> list[Callable[[], Any]]:
    """The products of these heads' steps and nothing else: in one program, and in one for each core."""
    width, outputs = data.x.shape[1], int(data.y.max()) + 1
    steps = EPOCHS * -(-len(data.x) // BATCH)
    x = jnp.asarray(data.x)

    def run(x: jax.Array, kernel: jax.Array) -> jax.Array:
        def one(kernel: jax.Array, step: jax.Array) -> tuple[jax.Array, None]:
            batch = lax.dynamic_slice_in_dim(x, (step * 7) % (len(x) - BATCH), BATCH)
            return kernel - 1e-9 * (batch.T @ (batch @ kernel)), None

        return lax.scan(one, kernel, jnp.arange(steps))[0]

    def kernel(count: int) -> jax.Array:
        return jnp.asarray(np.random.default_rng(0).normal(size=(width, count * outputs)), jnp.float32)

    whole, part = kernel(heads), kernel(64)
    together = jax.jit(run)
    apart = jax.jit(run, compiler_options=cpu_options(xla_cpu_multi_thread_eigen=False))

    def cores() -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda _: jax.block_until_ready(apart(x, part)), range(heads // 64)))

    return [lambda: together(x, whole), cores]


def turns(works: Sequence[Callable[[], Any]], rounds: int = ROUNDS) -> list[float]:
    """Let the contenders take turns; the median wall seconds of each."""
    for work in works:
        jax.block_until_ready(work())
    times = [[solvers.timed(work)[0] for work in works] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def against_one_fit(data: solvers.Data) -> None:
    def theirs() -> Any:
        return LogisticRegression(C=0.01, max_iter=1000).fit(data.x, data.y)

    threads = solvers.faster_threads(theirs)

    def limited() -> Any:
        with threadpool_limits(threads):
            return theirs()

    ours, one, together, cores = turns([lambda: fitting(data, HEADS), limited, *products(data, HEADS)])
    bound = min(together, cores)
    print(
        f"{HEADS} AdamW heads, {EPOCHS} epochs: {ours:.2f} s, {1e3 * ours / HEADS:.1f} ms a head; one L-BFGS fit of "
        f"scikit-learn {1e3 * one:.0f} ms ({threads} BLAS threads)\n"
        f"  ratio {one / (ours / HEADS):.1f} a head; the products alone {bound:.2f} s (one program {together:.2f}, "
        f"one a core {cores:.2f}): {bound / ours:.0%} of that bound",
        flush=True,
    )


def doubling(data: solvers.Data) -> None:
    counts = (64, 128, 256, 512)
    times = turns([lambda heads=heads: fitting(data, heads) for heads in counts], rounds=3)
    told = ", ".join(f"{heads}: {seconds:.2f} s" for heads, seconds in zip(counts, times, strict=True))
    ratios = ", ".join(f"{b / a:.2f}" for a, b in itertools.pairwise(times))
    print(f"heads: {told}; each doubling costs {ratios}", flush=True)


def streaming() -> None:
    """Sixteen heads on features of 205 MB with memory for 51 MB, in a process of their own, and in memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        values = solvers.made_up(rows=40_000, val_rows=0)
        np.save(path, values.x)
        np.save(Path(folder) / "y.npy", values.y)
        told = {}
        for memory in (values.x.nbytes // 4, 1 << 31):
            command = [sys.executable, __file__, "--streamed", folder, "--memory", str(memory)]
            told[memory] = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        (seconds, grown, *_), (whole_seconds, whole_grown, *_) = told.values()
        kernels = [np.load(Path(folder) / f"kernels-{memory}.npy") for memory in told]
    off = np.abs(kernels[0] - kernels[1]).max() / np.abs(kernels[1]).max()
    print(
        f"streamed: {values.x.nbytes / 1e6:.0f} MB of features with --memory {min(told) / 1e6:.0f} MB: {seconds} s, "
        f"{grown} MB more than before; in memory {whole_seconds} s, {whole_grown} MB more; parameters differ by "
        f"{off:.1e} of the largest",
        flush=True,
    )


def streamed(folder: Path, memory: int) -> None:
    """The other side of `streaming`: fit, save the kernels, print seconds and the growth of the process in MB."""
    stored, labels = np.load(folder / "x.npy", mmap_mode="r"), np.load(folder / "y.npy")
    data = solvers.Data(stored[:256], labels[:256], stored[:0], labels[:0])
    fitting(data, 16)  # what JAX itself takes
    before = peak()
    started = time.perf_counter()
    # Read through the file, whose mapped pages would count as ours.
    table = StreamedTable(lambda rows: read_rows(folder / "x.npy", rows, stored), *stored.shape)
    fits = fitting(solvers.Data(stored, labels, stored[:0], labels[:0]), 16, table, memory=memory)
    grown = peak() - before
    np.save(folder / f"kernels-{memory}.npy", np.stack([fit.parameters["kernel"] for fit in fits]))
    print(f"{time.perf_counter() - started:.1f} {grown / 1e3:.0f}")


def peak() -> int:
    """The most memory that this process has held, in KiB; a child's ru_maxrss starts at its parent's."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def read_rows(path: Path, rows: np.ndarray, stored: np.memmap) -> np.ndarray:
    """Read rows of an .npy file without mapping it."""
    width = stored.shape[1] * 4
    found = np.empty((len(rows), stored.shape[1]), np.float32)
    with path.open("rb", buffering=0) as file:
        for place, row in enumerate(rows):
            file.seek(stored.offset + int(row) * width)
            file.readinto(found[place].data)
    return found


def stored(data: solvers.Data, path: Path) -> Path:
    """Write features into a cache as an extraction would; returns its path."""
    from featcache.cache import CacheWriter, LayerSpec, RowTable
    from featcache.cache.layout import build_identity
    from featcache.core.identity import Recipe

    x, y = np.concatenate([data.x, data.val_x]), np.concatenate([data.y, data.val_y])
    digests = [list(hashlib.sha256(b"%d" % row).digest()) for row in range(len(x))]
    nothing = np.zeros(len(x), np.int64)
    rows = RowTable(
        ids=tuple(f"{row}.jpg" for row in range(len(x))),
        sha256=np.array(digests, np.uint8),
        labels=y.astype(np.int32),
        splits=np.repeat([0, 1], [len(data.x), len(data.val_x)]).astype(np.int16),
        sizes=nothing,
        mtimes_ns=nothing,
    )
    recipe = Recipe("mobilenet_v2", 1, {}, "00" * 32, {"input_size": [224, 224]})
    identity = build_identity(
        recipe=recipe.to_json(),
        layers={"pool": LayerSpec(x.shape[1:], "float32", recipe.fingerprint("pool"))},
        dataset={
            "spec": "made up",
            "classes": [f"class {c}" for c in range(int(y.max()) + 1)],
            "splits": ["train", "val"],
            "rule": None,
        },
        rows=rows,
        provenance={"backbone": "mobilenet_v2.tv_in1k", "weights": None},
    )
    with CacheWriter.create(path, identity=identity, rows=rows) as writer:
        writer.write(np.arange(len(x)), {"pool": x})
        writer.publish()
    return path


def process(data: solvers.Data) -> None:
    """The command, as a person waits for it."""
    with tempfile.TemporaryDirectory() as folder:
        path = stored(data, Path(folder) / "features.h5")
        command = [sys.executable, "-m", "featcache", "sweep", str(path), "--head", "linear"]
        command += ["--optimizer", "adamw", "--lr", "1e-4:1e-1:log16", "--weight-decay", "1e-6:1e-1:log16"]
        command += ["--epochs", str(EPOCHS), "--patience", str(EPOCHS)]
        times = []
        for number in range(3):
            run = [*command, "-o", f"{folder}/{number}"]
            times.append(
                solvers.timed(lambda run=run: subprocess.run(run, check=True, capture_output=True))[0]
            )
    print(
        f"featcache sweep, the whole process: {', '.join(f'{seconds:.1f}' for seconds in times)} s",
        flush=True,
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--features", type=Path, help=".npz with x, y, val_x, val_y")
    arguments.add_argument("--solvers", action="store_true", help="also run what solvers.py runs")
    arguments.add_argument("--no-process", action="store_true", help="leave the command out")
    arguments.add_argument("--streamed", type=Path, help=argparse.SUPPRESS)
    arguments.add_argument("--memory", type=int, default=0, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.streamed:
        return streamed(given.streamed, given.memory)
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    data = (
        solvers.made_up()
        if given.features is None
        else solvers.Data(*(np.load(given.features)[name] for name in solvers.Data._fields))
    )
    print(
        f"{data.x.shape} features, {len(data.val_y)} validation rows, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    against_one_fit(data)
    doubling(data)
    streaming()
    if not given.no_process:
        process(data)
    if given.solvers:
        solvers.logistic(data)
        solvers.ridge(data)
    print(f"load {os.getloadavg()[0]:.1f} after")
    return None


if __name__ == "__main__":
    main()
