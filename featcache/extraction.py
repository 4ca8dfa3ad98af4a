"""Extraction: plan, reuse, compute, publish. A frozen backbone sees each image once."""

import hashlib
import os
import platform
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache import plan as planning
from featcache.backbones import DEFAULT
from featcache.cache import CacheWriter, FeatureCache, LayerSpec, RowTable, WriteLock, partial_path
from featcache.cache.layout import STORED_DTYPES, build_identity
from featcache.decoding import QUARANTINE_REASONS
from featcache.errors import DataError, ImageError, IntegrityError, UsageError, did_you_mean
from featcache.schedule import (
    ACCELERATOR_BATCH,
    CPU_MICRO_BATCH,
    Chunk,
    default_workers,
    micro_batches,
    ordered_map,
    pipelined,
)
from featcache.sources import Dataset, open_dataset
from featcache.transforms import Transforms, prepare

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone
    from featcache.backbones.taps import Layer

OnProgress = Callable[["Progress"], None]


@dataclass
class Progress:
    """How far an extraction is; given to `on_progress` after every chunk.

    Parameters
    ----------
    stage
        ``"hash"``, ``"reuse"``, ``"compute"`` or ``"verify"``.
    done, total
        Images.
    decode_s, device_s, write_s
        Seconds spent so far, summed over threads.
    """

    stage: str
    done: int = 0
    total: int = 0
    decode_s: float = 0.0
    device_s: float = 0.0
    write_s: float = 0.0


@dataclass(frozen=True)
class Extraction:
    """A finished extraction; may be used wherever a cache's path is expected.

    Parameters
    ----------
    path
        The cache file.
    images
        Rows in the cache.
    computed, reused, duplicates, resumed
        Where their features came from: the network, another cache, another row of the same bytes, an earlier
        run of this extraction that was interrupted.
    quarantined
        Id and reason of each image that could not be read.
    skipped
        Files left out by the source: why, and how many.
    seconds
        Wall time of the whole extraction.
    progress
        Where the time went.
    """

    path: Path
    images: int
    computed: int
    reused: int
    duplicates: int
    resumed: int
    quarantined: Mapping[str, str]
    skipped: Mapping[str, int]
    seconds: float
    progress: Progress = field(repr=False)

    @property
    def cache(self) -> FeatureCache:
        """The cache, opened."""
        return FeatureCache(self.path)

    def __fspath__(self) -> str:
        return str(self.path)


def extract(
    dataset: str | Path | Dataset,
    *,
    backbone: "str | LoadedBackbone" = DEFAULT,
    layers: Sequence[str] = ("pool",),
    output: str | os.PathLike[str] | None = None,
    weights: str | Path | None = None,
    transforms: Transforms | None = None,
    dtype: str = "float32",
    compute_dtype: str = "float32",
    test_fraction: float = 0.2,
    seed: int = 0,
    strict: bool = False,
    overwrite: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Extraction:
    """Run a frozen backbone once over a dataset and keep its features in a cache.

    Interrupted at any moment, the same call goes on where it stopped. Called again after images were added,
    removed, renamed or relabelled, it computes only images that it has not seen.

    Parameters
    ----------
    dataset
        A spec (``"photos/"``, ``"folder:photos"``) or an opened dataset.
    backbone
        ``arch`` or ``arch.tag``, or a loaded backbone.
    layers
        Which values of the network to keep, such as ``"pool"`` or ``"block_13_expand_relu:avg"``.
    output
        The cache file; ``NAME-BACKBONE.h5`` in the working directory by default.
    weights
        A weights file to use instead of the published one.
    transforms
        Preprocessing to use instead of the one that belongs to the weights.
    dtype
        Stored dtype: ``"float32"`` or ``"float16"``.
    compute_dtype
        ``"float32"`` or ``"bfloat16"``.
    test_fraction, seed
        How a dataset without splits is divided into train and test.
    strict
        Fail on the first unreadable image instead of leaving it out.
    overwrite
        Replace a cache of another recipe at `output`.
    batch_size, workers
        Images per call and decoding threads; chosen for the platform by default. They do not change what is
        stored.
    on_progress
        Called with a `Progress` as the work proceeds.

    Returns
    -------
    Extraction
        Path of the cache and what was done.

    Raises
    ------
    DataError
        If the dataset is missing, empty, or nothing in it can be read.
    WeightsError
        If the backbone's weights cannot be had.
    IdentityError
        If `output` holds features of another recipe; lists the differences.
    LockedError
        If another process is writing the same cache.
    """
    started = time.monotonic()
    if dtype not in STORED_DTYPES:
        raise UsageError(f"no stored dtype {dtype!r}; {did_you_mean(dtype, STORED_DTYPES)}")
    if not 0 <= test_fraction < 1:
        raise UsageError(f"test fraction {test_fraction} is not in 0..1")
    data = dataset if isinstance(dataset, Dataset) else open_dataset(str(dataset))
    network = _loaded(backbone, weights)
    target = output_path(data, network, output)
    chosen = network.layers(layers, transforms)
    recipe = network.recipe(transforms=transforms, compute_dtype=compute_dtype, stored_dtype=dtype)
    shapes = network.feature_shapes(chosen, transforms)
    specs = {name: LayerSpec(shapes[name], dtype, recipe.fingerprint(name)) for name in map(str, chosen)}
    report = on_progress or (lambda progress: None)
    with WriteLock(_writable_target(target)):
        caches = _existing(target, recipe.to_json(), specs, overwrite=overwrite)
        hashes = hash_records(data, caches, workers=workers or default_workers(), report=report)
        rows, splits, rule = planning.build_rows(data, hashes, planning.SplitRule(test_fraction, seed))
        identity = build_identity(
            recipe=recipe.to_json(),
            layers=specs,
            dataset={
                "spec": data.spec,
                "classes": list(data.classes),
                "splits": list(splits),
                "rule": rule,
            },
            rows=rows,
            provenance=_provenance(network),
        )
        job = _Job(network, chosen, transforms or network.transforms, compute_dtype, data, hashes, strict)
        return job.run(target, identity, rows, caches, batch_size, workers, report, started)


def output_path(data: Dataset, network: "LoadedBackbone", output: str | os.PathLike[str] | None) -> Path:
    """Return where a cache goes: `output`, or ``NAME-BACKBONE.h5`` in the working directory."""
    if output is not None:
        return Path(output).expanduser()
    arch, default = network.pretrained.arch, network.tag == network.pretrained.tag
    return Path(f"{data.name}-{arch if default else network.name}.h5")


def hash_records(
    data: Dataset, caches: Sequence[FeatureCache], *, workers: int, report: OnProgress
) -> list[bytes]:
    """Return the sha256 of every record's bytes; files whose name, size and time are as cached are not read."""
    known = {
        (name, int(size), int(mtime)): digest.tobytes()
        for cache in reversed(caches)
        for name, size, mtime, digest in zip(
            cache.ids, cache.sizes, cache.mtimes_ns, cache.sha256, strict=True
        )
    }

    def digest(record: Any) -> bytes:
        hint = known.get((record.id, record.size, record.mtime_ns)) if record.mtime_ns else None
        if hint is not None and hint != planning.UNREADABLE:
            return hint
        try:
            return hashlib.sha256(record.read()).digest()
        except OSError:
            return planning.UNREADABLE

    progress = Progress("hash", total=len(data.records))
    hashes = []
    for value in ordered_map(digest, data.records, workers=workers, ahead=256):
        hashes.append(value)
        progress.done += 1
        report(progress)
    return hashes


@dataclass(frozen=True)
class _Job:
    """One extraction, once everything about it is known."""

    network: "LoadedBackbone"
    layers: Sequence["Layer"]
    transforms: Transforms
    compute_dtype: str
    data: Dataset
    hashes: Sequence[bytes]
    strict: bool

    def run(
        self,
        target: Path,
        identity: Mapping[str, Any],
        rows: RowTable,
        caches: Sequence[FeatureCache],
        batch_size: int | None,
        workers: int | None,
        report: OnProgress,
        started: float,
    ) -> Extraction:
        current = next((c for c in caches if c.path == target and _same(c.identity, identity)), None)
        if current is not None:
            count = len(current)
            return self._extraction(target, current, Progress("verify", count, count), started, reused=count)
        progress = Progress("compute", total=len(rows))
        with self._writer(target, identity, rows) as writer:
            done = writer.done()
            sources = [planning.Source(cache.sha256, cache.usable()) for cache in caches]
            plan = planning.build_plan(self.hashes, done, sources)
            progress.done = resumed = int(done.sum())
            _copy_rows(plan, caches, writer, progress, report)
            self._compute(plan, writer, batch_size, workers, progress, report)
            progress.stage = "verify"
            report(progress)
            cache = writer.publish()
        _previous(target).unlink(missing_ok=True)
        return self._extraction(
            target,
            cache,
            progress,
            started,
            reused=len(plan.reuse),
            resumed=resumed,
            computed=len(plan.compute),
            duplicates=plan.duplicates,
        )

    def _writer(self, target: Path, identity: Mapping[str, Any], rows: RowTable) -> CacheWriter:
        writer = CacheWriter.resume(target)
        if writer is not None and _same(writer.identity, identity):
            return writer
        if writer is not None:
            writer.close()
            # Images changed since: its rows were handed to the plan as a cache to copy from, and stay on disk
            # until this run has published.
            os.replace(writer.path, _previous(target))
        return CacheWriter.create(target, identity=identity, rows=rows)

    def _compute(
        self,
        plan: planning.Plan,
        writer: CacheWriter,
        batch_size: int | None,
        workers: int | None,
        progress: Progress,
        report: OnProgress,
    ) -> None:
        if not plan.compute:
            return
        for chunk in self._chunks(plan.compute, batch_size, workers):
            began = time.perf_counter()
            _write_chunk(chunk, plan, writer)
            self._set_aside(chunk, plan, writer)
            progress.write_s += time.perf_counter() - began
            progress.decode_s += chunk.decode_s
            progress.device_s += chunk.device_s
            finished = [*chunk.rows.tolist(), *(row for row, _ in chunk.failures)]
            progress.done += sum(1 + len(plan.copies.get(row, ())) for row in finished)
            report(progress)

    def _chunks(self, rows: Sequence[int], batch_size: int | None, workers: int | None):
        import jax

        function = self.network.function(
            self.layers, transforms=self.transforms, compute_dtype=self.compute_dtype
        )
        threads = workers or default_workers()
        if jax.default_backend() == "cpu":
            state = self.network.state
            size = min(batch_size or CPU_MICRO_BATCH, len(rows))
            return micro_batches(
                rows, self._prepare, lambda x: function(state, x), batch_size=size, workers=threads
            )
        state, put = _on_all_devices(self.network.state)
        devices = len(jax.local_devices())
        size = -(-min(batch_size or ACCELERATOR_BATCH, len(rows)) // devices) * devices
        return pipelined(
            rows, self._prepare, lambda x: function(state, put(x)), batch_size=size, workers=threads
        )

    def _prepare(self, row: int) -> np.ndarray:
        record = self.data.records[row]
        try:
            data = record.read()
        except OSError as error:
            raise ImageError("unreadable file", error.strerror or str(error)) from error
        if hashlib.sha256(data).digest() != self.hashes[row]:
            raise ImageError("changed during extraction", "its bytes are not those that were hashed before")
        return prepare(data, self.transforms)

    def _set_aside(self, chunk: Chunk, plan: planning.Plan, writer: CacheWriter) -> None:
        for row, error in chunk.failures:
            if self.strict:
                raise DataError(
                    f"{self.data.records[row].id}: {error}; without --strict it would be left out"
                )
            for copy in (row, *plan.copies.get(row, ())):
                writer.quarantine(copy, 1 + QUARANTINE_REASONS.index(error.reason))

    def _extraction(
        self,
        target: Path,
        cache: FeatureCache,
        progress: Progress,
        started: float,
        *,
        reused: int,
        resumed: int = 0,
        computed: int = 0,
        duplicates: int = 0,
    ) -> Extraction:
        quarantined = quarantined_rows(cache)
        return Extraction(
            path=target,
            images=len(cache),
            computed=computed,
            reused=reused,
            duplicates=duplicates,
            resumed=resumed,
            quarantined=quarantined,
            skipped=self.data.skipped,
            seconds=time.monotonic() - started,
            progress=progress,
        )


def quarantined_rows(cache: FeatureCache) -> dict[str, str]:
    """Return id and reason of the images that could not be read."""
    return {cache.ids[row]: QUARANTINE_REASONS[int(cache.status[row]) - 1] for row in cache.quarantined()}


def _loaded(backbone: "str | LoadedBackbone", weights: str | Path | None) -> "LoadedBackbone":
    if not isinstance(backbone, str):
        return backbone
    from featcache.backbones import load

    return load(backbone, weights=weights)


def _writable_target(target: Path) -> Path:
    if target.suffix != ".h5":
        raise UsageError(f"output {target} must end in .h5")
    if target.is_dir():
        raise UsageError(f"output {target} is a folder; give a file name that ends in .h5")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create the folder of output {target}: {error.strerror}") from error
    if not os.access(target.parent, os.W_OK):
        raise UsageError(f"cannot write in {target.parent.resolve()}; choose another place with --output")
    return target


def _previous(target: Path) -> Path:
    return target.with_name(f"{target.name.removesuffix('.h5')}.previous.h5")


def _existing(
    target: Path, recipe: Mapping[str, Any], layers: Mapping[str, LayerSpec], *, overwrite: bool
) -> list[FeatureCache]:
    """Open what is there of this target to copy rows from; refuse what is of another recipe."""
    caches = []
    for path in (target, partial_path(target), _previous(target)):
        if not path.exists():
            continue
        try:
            cache = FeatureCache(path)
        except IntegrityError:
            # A file killed while being created, or a damaged leftover: only a final name must be answered for.
            if path == target and not overwrite:
                raise
            continue
        if not planning.serves(cache.identity, recipe, layers):
            if overwrite:
                continue
            planning.refuse_difference(path, cache.identity, recipe, layers)
        caches.append(cache)
    return caches


def _same(have: Mapping[str, Any], want: Mapping[str, Any]) -> bool:
    """Whether two identities are of the same features of the same rows (provenance aside)."""
    same_data = {k: v for k, v in have["dataset"].items() if k != "spec"} == {
        k: v for k, v in want["dataset"].items() if k != "spec"
    }
    return same_data and have["rows"] == want["rows"] and have["recipe"] == want["recipe"]


def _copy_rows(
    plan: planning.Plan,
    caches: Sequence[FeatureCache],
    writer: CacheWriter,
    progress: Progress,
    report: OnProgress,
    block: int = 256,
) -> None:
    rows = sorted(plan.reuse)
    for first in range(0, len(rows), block):
        part = rows[first : first + block]
        for position, cache in enumerate(caches):
            mine = [row for row in part if plan.reuse[row][0] == position]
            if mine:
                theirs = [plan.reuse[row][1] for row in mine]
                writer.write(np.array(mine), {n: cache.features(theirs, n) for n in writer.layers})
        progress.done += len(part)
        report(progress)


def _write_chunk(chunk: Chunk, plan: planning.Plan, writer: CacheWriter) -> None:
    if not len(chunk.rows):
        return
    writer.write(chunk.rows, chunk.features)
    for position, row in enumerate(chunk.rows.tolist()):
        for copy in plan.copies.get(row, ()):
            one = {layer: values[position : position + 1] for layer, values in chunk.features.items()}
            writer.write(np.array([copy]), one)


def _on_all_devices(state: Any) -> tuple[Any, Callable[[np.ndarray], Any]]:
    """Replicate the weights and shard the batch axis over all local devices."""
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(np.array(jax.local_devices()), ("batch",))
    shard = NamedSharding(mesh, PartitionSpec("batch"))
    return jax.device_put(state, NamedSharding(mesh, PartitionSpec())), lambda x: jax.device_put(x, shard)


def _provenance(network: "LoadedBackbone") -> dict[str, Any]:
    import flax
    import h5py
    import jax
    import PIL

    from featcache import __version__

    return {
        "backbone": network.name,
        "weights": network.weights_path,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": socket.gethostname(),
        "device": str(jax.devices()[0].device_kind),
        "versions": {
            "featcache": __version__,
            "python": platform.python_version(),
            "jax": jax.__version__,
            "flax": flax.__version__,
            "h5py": h5py.__version__,
            "pillow": PIL.__version__,
        },
    }
