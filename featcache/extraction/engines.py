"""What runs a network: JAX, or onnxruntime with the same function as a graph, which is faster on CPUs.

Both compute the same features to rounding, so the engine is no part of a recipe: caches of both serve each other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.core.argument_types import spelled
from featcache.core.devices.sharding import DeviceMesh
from featcache.core.warning import warn
from featcache.errors import (
    ExportError,
    FeatcacheError,
    MissingExtraError,
    UsageError,
    did_you_mean,
    first_line,
)
from featcache.extraction.batching import CPU_MICRO_BATCH, platform_schedule

if TYPE_CHECKING:
    from featcache.backbones.layer import Layer
    from featcache.backbones.loaded import LoadedBackbone
    from featcache.images.transforms import Transforms

AUTO, JAX, ONNXRUNTIME = ENGINES = ("auto", "jax", "onnxruntime")

FEW = 256
"""From as many images on, opening onnxruntime pays: writing the graph and comparing it takes half a second."""

SAME = 1e-4
"""How far the engines' features of the probe images may lie apart, relative to the largest of a layer."""

Run = Callable[[np.ndarray], dict[str, Any]]
"""uint8 ``[B, H, W, 3]`` to layer features ``[B, …]``."""


@dataclass(frozen=True)
class Asked:
    """What an engine is to run: some layers of a network.

    Parameters
    ----------
    network, layers
        The backbone, and the layers to compute.
    transforms
        The preprocessing, normalisation included, that the network's own may differ from.
    compute_dtype
        ``"float32"`` or ``"bfloat16"``.
    """

    network: "LoadedBackbone"
    layers: "tuple[Layer, ...]"
    transforms: "Transforms"
    compute_dtype: str


@dataclass(frozen=True)
class Engine:
    """A network that is ready to run.

    Parameters
    ----------
    name, version
        ``"jax"`` or ``"onnxruntime"``, and which.
    run
        Images to features.
    batch_size
        Images per call that are fastest; ``None`` for the platform's.
    any_size
        Whether calls may differ in their number of images at no cost.
    """

    name: str
    version: str
    run: Run
    batch_size: int | None = None
    any_size: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def require_known(engine: str) -> None:
    """Raise `UsageError` for an engine that does not exist."""
    if engine not in ENGINES:
        raise UsageError(f"no engine {engine!r}; {did_you_mean(engine, ENGINES)}")


def refuse_for_cache(engine: str, path: Any) -> None:
    """Raise `UsageError` for an engine where a cache is read, so that there is nothing for it to run."""
    require_known(engine)
    if engine != AUTO:
        raise UsageError(
            f"{spelled('engine')} {engine}: {path} holds features, and no network runs; leave it out, or give photos"
        )


def why_not_onnxruntime(compute_dtype: str) -> FeatcacheError | None:
    """Return why onnxruntime cannot run networks here; ``None`` if it can, but for what a network itself is made of."""
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        return MissingExtraError(
            f"the engine onnxruntime needs {' and '.join(missing)}; run: pip install 'featcache[onnx]'; or use the "
            "engine jax"
        )
    if platform_schedule().large_batches:
        return UsageError(
            "the engine onnxruntime computes on the CPU, and JAX has an accelerator here, which is faster; use the "
            "engine jax (or auto), or compute on the CPU (--device cpu, "
            "featcache.use_device)"
        )
    if compute_dtype != "float32":
        return UsageError(
            f"the engine onnxruntime computes in float32, and {compute_dtype} was asked for; use the engine jax (or "
            "auto), or leave compute_dtype out"
        )
    return None


def require_possible(engine: str, compute_dtype: str) -> None:
    """Raise where an engine that was asked for by name cannot run here; before images are read."""
    if engine == ONNXRUNTIME and (reason := why_not_onnxruntime(compute_dtype)) is not None:
        raise reason


def chosen_engine(engine: str, asked: Asked, images: int | None) -> Engine:
    """Return the engine that computes.

    Parameters
    ----------
    engine
        One of `ENGINES`. ``"auto"`` takes onnxruntime where it can run the network and saves more time than it takes
        to be opened.
    asked
        What is to be computed.
    images
        How many images it will compute; ``None`` if unknown.

    Raises
    ------
    MissingExtraError, UsageError, ExportError
        If onnxruntime was asked for by name and is not there, does not suit, or cannot run the network.
    FeatcacheError
        If it was asked for by name and gives other features than JAX.
    """
    require_possible(engine, asked.compute_dtype)
    if engine == JAX or not asked.layers:
        return jax_engine(asked)
    if engine == AUTO and (why_not_onnxruntime(asked.compute_dtype) or not _pays(asked, images)):
        return jax_engine(asked)
    try:
        found = onnxruntime_engine(asked)
        require_agreement(found, asked)
    except FeatcacheError as error:
        if engine == ONNXRUNTIME:
            raise
        if not isinstance(
            error, ExportError | MissingExtraError
        ):  # those are as expected, others worth a word
            warn(f"JAX computes instead: {error}")
        return jax_engine(asked)
    return found


def jax_engine(asked: Asked) -> Engine:
    """Return the network as JAX compiles it, on all devices of an accelerator."""
    import jax

    network, state = asked.network, asked.network.state
    if not asked.layers:
        return Engine(JAX, jax.__version__, lambda images: {}, any_size=True)
    function = network.function(asked.layers, transforms=asked.transforms, compute_dtype=asked.compute_dtype)
    if not platform_schedule().large_batches:
        return Engine(JAX, jax.__version__, lambda images: function(state, images))
    devices = DeviceMesh()
    # Once for these devices: an engine is made for each call of a classifier.
    state = network.remembered(("state", devices.mesh), lambda: devices.replicate(network.state))
    return Engine(JAX, jax.__version__, lambda images: function(state, devices.shard(images)))


def onnxruntime_engine(asked: Asked) -> Engine:
    """Return the network as a graph in onnxruntime; the same one for the same question.

    One session serves all threads: with one thread of its own for each call it is as fast as a session for each.

    Raises
    ------
    ExportError
        If the network has no exact form as a graph.
    MissingExtraError
        If the packages are missing.
    """
    return asked.network.remembered(_key(asked), lambda: _opened(asked))


def _key(asked: Asked) -> tuple[Any, ...]:
    return (ONNXRUNTIME, asked.layers, asked.transforms)


def _opened(asked: Asked) -> Engine:
    from featcache.graphs.convert import onnx_model
    from featcache.graphs.sessions import open_session

    network = asked.network
    function = network.uncompiled(asked.layers, transforms=asked.transforms)
    model = onnx_model(
        lambda images: function(network.state, images),
        {"images": ((*asked.transforms.input_size, 3), np.uint8)},
    ).SerializeToString()  # the message itself is let go before the session copies the numbers again
    session: Any = _understood(network, "open", lambda: open_session(model))
    names = [output.name for output in session.get_outputs()]

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        values = _understood(network, "run", lambda: session.run(names, {"images": images}))
        return dict(zip(names, values, strict=True))

    return Engine(ONNXRUNTIME, version("onnxruntime"), run, batch_size=1, any_size=True)


def _understood(network: "LoadedBackbone", what: str, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except FeatcacheError:
        raise
    except Exception as error:  # onnxruntime's own errors have no common class
        raise FeatcacheError(
            f"onnxruntime cannot {what} {network.name}: {first_line(error)}; use the engine jax"
        ) from error


def require_agreement(engine: Engine, asked: Asked) -> None:
    """Raise where an engine's features of the probe images are not JAX's; they are compared once in a process.

    Raises
    ------
    FeatcacheError
        Naming the layer, and how far they lie apart.
    """
    found: tuple[str, float] | None = asked.network.remembered(
        ("differs", *_key(asked)), lambda: _difference(engine, asked)
    )
    if found is not None:
        layer, gap = found
        raise FeatcacheError(
            f"{engine} gives other features of the probe images than JAX: layer {layer} of {asked.network.name} "
            f"differs by {gap:.1e} of its largest value, at most {SAME:.0e} is rounding; use the engine jax"
        )


def _difference(engine: Engine, asked: Asked) -> tuple[str, float] | None:
    images = probe_images(*asked.transforms.input_size)[:CPU_MICRO_BATCH]
    theirs = engine.run(images)
    gaps = {
        layer: greatest_gap(np.asarray(theirs[layer]), np.asarray(want))
        for layer, want in jax_engine(asked).run(images).items()
    }
    return next(((layer, gap) for layer, gap in gaps.items() if not gap <= SAME), None)


def greatest_gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest absolute difference relative to the largest value; infinite if shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    largest = float(np.max(np.abs(theirs), initial=0.0))
    return float(np.max(np.abs(np.float64(ours) - theirs), initial=0.0)) / max(largest, 1e-30)


def probe_images(height: int, width: int) -> np.ndarray:
    """Return two fixed images uint8 ``[2, height, width, 3]``: coloured blocks, and smooth gradients."""
    draw = np.random.Generator(np.random.PCG64(20_261_121))
    blocks = draw.integers(0, 256, (-(-height // 16), -(-width // 16), 3), np.uint8)
    blocks = blocks.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    down, across = np.mgrid[0:height, 0:width]
    channels = (down * 255 // height, across * 255 // width, (down + across) % 256)
    return np.stack([blocks, np.stack(channels, axis=-1).astype(np.uint8)])


def _pays(asked: Asked, images: int | None) -> bool:
    """Whether onnxruntime saves more time than it takes to be opened."""
    return images is None or images >= FEW or asked.network.remembers(_key(asked))
