"""What an actor does: it opens the dataset and the network by the driver's arguments, and computes blocks of rows."""

import hashlib
import os
import socket
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.core.compilation_cache import enable_compilation_cache
from featcache.core.identity import sha256_json
from featcache.datasets import Dataset
from featcache.errors import FeatcacheError, FeatcacheWarning, ImageError, first_line
from featcache.extraction.batching import Chunk
from featcache.extraction.planning.content_hashes import digests_of

if TYPE_CHECKING:
    from featcache.extraction.arguments import ExtractionArguments
    from featcache.extraction.resolved import ResolvedExtraction

SAMPLE = 8
"""Images that driver and actor read both: a table lists images on a disk that a node may not have."""

PASSED_ON = (
    "FEATCACHE_HOME",
    "FEATCACHE_OFFLINE",
    "FEATCACHE_COMPILATION_CACHE",
    "FEATCACHE_FETCHED_GB",
    "FEATCACHE_FETCH_TIMEOUT",
    "XLA_FLAGS",
)


@dataclass(frozen=True)
class Order:
    """What an actor is told when it starts.

    Parameters
    ----------
    arguments, source
        The driver's arguments, and the dataset as they name it.
    folder, environment
        The driver's working directory, and the variables that are set there.
    version
        Of featcache.
    """

    arguments: "ExtractionArguments"
    source: Any
    folder: str
    environment: Mapping[str, str]
    version: str


@dataclass(frozen=True)
class Sight:
    """What a process sees of a dataset.

    Parameters
    ----------
    images, digest
        Their number, and a hash of their ids and sizes.
    sample
        Hashes of some of the files' bytes; ``None`` of those that cannot be read.
    """

    images: int
    digest: str
    sample: tuple[bytes | None, ...]

    @classmethod
    def of(cls, data: Dataset) -> "Sight":
        """Return what this process sees."""
        # Fixed widths: with the number of images, the bytes tell names and sizes apart.
        names = hashlib.sha256(data.columns.ids.encoded.tobytes())
        names.update(data.columns.sizes.tobytes())
        places = np.linspace(0, len(data.records) - 1, min(SAMPLE, len(data.records))).astype(int)
        found = digests_of([data.records[place] for place in places])
        sample = tuple(None if isinstance(each, ImageError) else each for each in found)
        return cls(len(data.records), names.hexdigest(), sample)

    def why_other(self, driver: "Sight") -> str | None:
        """Return why an actor that sees this cannot compute what the driver sees; ``None`` if it can."""
        if self.images != driver.images:
            return f"finds {self.images} images in the dataset, and this machine {driver.images}"
        if self.digest != driver.digest:
            return f"finds images of other names or sizes than this machine, {self.images} as well"
        for mine, yours in zip(self.sample, driver.sample, strict=True):
            if yours is not None and mine != yours:
                return f"{'cannot read' if mine is None else 'reads other bytes from'} files that this machine reads"
        return None


@dataclass(frozen=True)
class Ready:
    """What an actor says once its network runs.

    Parameters
    ----------
    recipe
        A digest of the recipe and the layers' fingerprints.
    probes
        Features of the probe images.
    engine, version, device
        What computes, and on what.
    batch, large_batches
        Images of a batch, and whether an accelerator takes them.
    warnings
        What would have been said to a user.
    """

    recipe: str
    probes: dict[str, Any]
    engine: str
    version: str
    device: str
    batch: int
    large_batches: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """What is to be computed, as the driver has decided it.

    Parameters
    ----------
    layers, image_statistics
        Layers, those that the cache holds already included.
    expected
        How many images all actors together will compute: decides the engine, as it does in one process.
    """

    layers: tuple[str, ...]
    image_statistics: bool
    expected: int


Reply = tuple[Any, FeatcacheError | None]
"""The value of a call, or what it raised: an error is sent as it is, without another process's traceback."""


def replies(method: Callable[..., Any]) -> Callable[..., Reply]:
    """Return the method with its error beside its value."""

    @wraps(method)
    def call(self: Any, argument: Any) -> Reply:
        try:
            return method(self, argument), None
        except FeatcacheError as error:
            return None, error.with_traceback(None)
        except Exception as error:
            return None, FeatcacheError(first_line(error))

    return call


class ExtractionWorker:
    """One actor.

    Parameters
    ----------
    threads
        Threads that decode and compute one block.
    gpus
        GPUs, or the share of one, that it has been given.
    """

    def __init__(self, threads: int, gpus: float) -> None:
        self.threads = threads
        self.gpus = gpus

    def where(self) -> str:
        """Return the name of the machine."""
        return socket.gethostname()

    @replies
    def start(self, order: Order) -> tuple[str, Sight]:
        """Open the dataset and load the network; returns the machine's name and what is seen of the dataset."""
        from featcache.core.version import __version__

        self._prepare_environment(order)
        if __version__ != order.version:
            raise FeatcacheError(
                f"featcache {__version__} is installed there, and {order.version} here: install the same"
            )
        self.arguments = order.arguments
        self.data, _ = order.arguments.open(order.source)
        _ = self._base
        return socket.gethostname(), Sight.of(self.data)

    def _prepare_environment(self, order: Order) -> None:
        """Say which device JAX takes, before it is imported.

        Ray sets ``CUDA_VISIBLE_DEVICES`` to the GPUs of an actor, and on some versions leaves it as it was for actors
        that have none (ray#8776): those must not take one that another actor was given.
        """
        os.environ.update(order.environment)
        if os.path.isdir(order.folder):  # relative paths of datasets and weights
            os.chdir(order.folder)
        if not self.gpus:
            os.environ["JAX_PLATFORMS"] = "cpu"
        else:
            os.environ.pop("JAX_PLATFORMS", None)
        if 0 < self.gpus < 1:  # JAX takes three quarters of the memory at once, unless told not to
            os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        enable_compilation_cache()

    @cached_property
    def _base(self) -> "ResolvedExtraction":
        from featcache.extraction.resolved import resolve

        self._require_devices()
        return resolve(self.arguments.spec)

    def _require_devices(self) -> None:
        if not self.gpus:
            return
        import jax

        found, wanted = jax.local_device_count(), max(1, int(self.gpus))
        if jax.default_backend() == "cpu":
            raise FeatcacheError(
                "Ray gave it a GPU and JAX there finds none: install JAX for that GPU on the node, or use "
                "gpus_per_actor 0"
            )
        if found != wanted:
            raise FeatcacheError(
                f"Ray gave it {wanted} GPUs and JAX there finds {found}: CUDA_VISIBLE_DEVICES was changed after Ray "
                "had set it; leave it alone in runtime environments"
            )

    @replies
    def digests(self, rows: Sequence[int]) -> list[bytes | tuple[str, str]]:
        """Return the sha256 of each row's bytes, or reason and detail of why they cannot be read."""
        found = digests_of([self.data.records[row] for row in rows])
        return [(each.reason, each.detail) if isinstance(each, ImageError) else each for each in found]

    @replies
    def probe(self, wanted: Wanted) -> Ready:
        """Open the engine, run the probe images, and keep what computes."""
        import jax

        from featcache.extraction.resolved import resolve
        from featcache.extraction.runner import FeatureRunner

        base = self._base
        asked = replace(
            base.spec,
            backbone=base.network,
            layers=wanted.layers,
            image_statistics=wanted.image_statistics,
        )
        resolved = resolve(asked)
        self.runner: FeatureRunner = FeatureRunner(
            extraction=resolved,
            images=len(self.data.records),
            batch_size=self.arguments.batch_size,
            workers=self.threads,
            engine=self.arguments.engine,
            expected=wanted.expected,
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", FeatcacheWarning)
            probes = self.runner.probe()
        return Ready(
            recipe=recipe_digest(resolved),
            probes=probes,
            engine=self.runner.running.name,
            version=self.runner.running.version,
            device=str(jax.devices()[0].device_kind),
            batch=self.runner.rows,
            large_batches=self.runner.schedule.large_batches,
            warnings=tuple(str(each.message) for each in caught if each.category is FeatcacheWarning),
        )

    @replies
    def compute(self, block: tuple[Sequence[int], bytes]) -> tuple[Chunk, list[tuple[int, str, str]]]:
        """Return the features of rows, given with their hashes one after another, and the failures."""
        from featcache.extraction.runner import RecordImages

        rows, joined = block
        hashes: Any = {row: joined[32 * place : 32 * place + 32] for place, row in enumerate(rows)}
        extraction = self.runner.extraction
        images = RecordImages(self.data, hashes, extraction.transforms, extraction.views)
        whole = join([*self.runner.chunks_of(rows, images)])
        # ImageErrors are sent as text, which keeps the block a handful of arrays.
        failures = [(row, error.reason, error.detail) for row, error in whole.failures]
        return replace(whole, failures=[]), failures


def join(chunks: Sequence[Chunk]) -> Chunk:
    """Return chunks as one."""
    full = [chunk for chunk in chunks if len(chunk.rows)]
    names = full[0].features if full else ()
    return Chunk(
        np.concatenate([np.empty(0, np.int64), *(chunk.rows for chunk in full)]),
        {name: np.concatenate([chunk.features[name] for chunk in full]) for name in names},
        [failure for chunk in chunks for failure in chunk.failures],
        sum(chunk.decode_s for chunk in chunks),
        sum(chunk.device_s for chunk in chunks),
    )


def recipe_digest(resolved: "ResolvedExtraction") -> str:
    """Return a hash of what decides the features: the recipe, and each layer's fingerprint."""
    layers = {name: [spec.fingerprint, spec.weights_sha256] for name, spec in resolved.specs.items()}
    return sha256_json({"recipe": dict(resolved.recipe), "layers": layers})
