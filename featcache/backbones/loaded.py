"""A backbone with its weights, ready to run: from uint8 images to the features of named layers."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from featcache.backbones.chain import Backbone, variables
from featcache.backbones.family import Family, Pretrained
from featcache.backbones.layer import Layer, make_layer, split_layer
from featcache.backbones.packed_state import PackedProgram
from featcache.backbones.shape_inference import tapped_shapes
from featcache.core.identity import Recipe, sha256_tensors
from featcache.core.jit_options import cpu_options
from featcache.errors import UnknownNameError, UsageError, WeightsError, did_you_mean
from featcache.images.colour_statistics import LAYER as STATISTICS
from featcache.images.transforms import Transforms, normalisation

COMPUTE_DTYPES = ("float32", "bfloat16")

Features = Callable[[Any, jax.Array | np.ndarray], dict[str, jax.Array]]


@dataclass(frozen=True, repr=False)
class LoadedBackbone:
    """An architecture with loaded weights.

    Parameters
    ----------
    family, pretrained
        Records of its architecture and weights; `pretrained` also gives the transforms.
    tag
        The weights' tag, ``"custom"`` for a user's own file, ``"random"`` for none.
    graphdef, state
        The network, split once (``nnx.split``).
    tensors
        Our names to parameters and statistics.
    weights_path
        The file they were read from, if any; ``FILE#PART`` where a part of it was chosen.
    remarks
        What a user is told of a file that was not taken as it is: a prefix of its names, what was left out.
    ends_because
        Why the network ends before the stages that its architecture has, where the file is the reason.
    """

    family: Family
    pretrained: Pretrained
    tag: str
    graphdef: Any
    state: Any
    tensors: Mapping[str, np.ndarray]
    weights_path: str | None
    remarks: tuple[str, ...] = field(default=(), compare=False)
    ends_because: str = field(default="", compare=False)
    _compiled: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _shapes: dict[Any, dict[str, tuple[int, ...]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    _digests: dict[frozenset[str], str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __repr__(self) -> str:
        count = sum(value.size for value in self.tensors.values())
        size = "×".join(map(str, self.transforms.input_size))
        return f"LoadedBackbone({self.name}, {count / 1e6:.1f} million parameters, {size} pixels)"

    def __getstate__(self) -> dict[str, Any]:
        # Compiled programs belong to one process, as what is known of shapes could: both are made anew.
        return {**vars(self), "_compiled": {}, "_shapes": {}}

    @property
    def name(self) -> str:
        """``arch.tag``."""
        return f"{self.pretrained.arch}.{self.tag}"

    @property
    def transforms(self) -> Transforms:
        """The transforms that belong to the weights."""
        return self.pretrained.transforms

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of the loaded tensors (not of the file)."""
        return sha256_tensors(self.tensors.items())

    def weights_sha256_to(self, layer: str) -> str:
        """Hash of the tensors of the stages as far as a layer, such as ``"block_13_expand_relu:avg"``.

        That of no tensors for the statistics of images, which no weights decide.

        Raises
        ------
        UnknownNameError
            If there is no such stage.
        """
        if layer == STATISTICS:
            return sha256_tensors(())
        chain = self.network
        last = chain.order.index(chain.stage_of(chain.resolve(split_layer(layer)[0])))
        kept = chain.order[: last + 1]
        names = frozenset(name for name, (path, _) in variables(self.state).items() if str(path[1]) in kept)
        if len(names) == len(self.tensors):
            return self.weights_sha256
        if names not in self._digests:
            self._digests[names] = sha256_tensors((name, self.tensors[name]) for name in names)
        return self._digests[names]

    @cached_property
    def network(self) -> Backbone:
        """The chain without its numbers: names, points and aliases."""
        return nnx.merge(self.graphdef, nnx.eval_shape(lambda: self.state))

    def layers(self, texts: Sequence[str], transforms: Transforms | None = None) -> list[Layer]:
        """Parse layers such as ``"block_13_expand_relu:avg"``.

        Raises
        ------
        UnknownNameError
            With the nearest stage names.
        WeightsError
            If the weights file has nothing for a stage, or a classifier of its own in its place.
        UsageError
            If a pooling does not fit, or two texts mean the same layer.
        """
        parts = [(self._resolve(stage), pooling) for stage, pooling in map(split_layer, texts)]
        shapes = self.shapes([point for point, _ in parts], transforms)
        prefix = self.network.prefix_tokens
        layers = [make_layer(point, pooling, shapes[point], prefix) for point, pooling in parts]
        if len(set(layers)) < len(layers):
            raise UsageError(f"layers {', '.join(texts)} name the same one twice; give each once")
        return layers

    def _resolve(self, stage: str) -> str:
        try:
            return self.network.resolve(stage)
        except UnknownNameError:
            if not self.ends_because:
                raise
            whole = self.family.abstract(self.pretrained.config)
            whole.resolve(stage)
            last = self.network.order[-1]
            raise WeightsError(
                f"no stage {stage!r}: {self.ends_because}; ask for {last!r} or a stage before it"
            ) from None

    def shapes(
        self, points: Sequence[str], transforms: Transforms | None = None
    ) -> dict[str, tuple[int, ...]]:
        """Shape of each tapped value for one image, without the batch axis.

        Raises
        ------
        UsageError
            If the input is too small for the network; names the first stage that leaves nothing of it.
        """
        size = (transforms or self.transforms).input_size
        key = (frozenset(points), size)
        if key not in self._shapes:
            self._shapes[key] = tapped_shapes(self.graphdef, self.state, points, size, name=self.name)
        return self._shapes[key]

    def feature_shapes(
        self, layers: Sequence[Layer], transforms: Transforms | None = None
    ) -> dict[str, tuple[int, ...]]:
        """Shape of each layer's features of one image."""
        shapes = self.shapes([layer.stage for layer in layers], transforms)
        pooled = {
            str(layer): jax.eval_shape(
                layer.apply, jax.ShapeDtypeStruct((1, *shapes[layer.stage]), jnp.float32)
            )
            for layer in layers
        }
        return {name: tuple(value.shape[1:]) for name, value in pooled.items()}

    def recipe(
        self,
        *,
        transforms: Transforms | None = None,
        compute_dtype: str = "float32",
        stored_dtype: str = "float32",
    ) -> Recipe:
        """Return the recipe of features made by this backbone."""
        return Recipe(
            arch=self.pretrained.arch,
            revision=self.family.revision,
            config=asdict(self.pretrained.config),
            weights_sha256=self.weights_sha256,
            transforms=(transforms or self.transforms).to_json(),
            compute_dtype=compute_dtype,
            matmul_precision="highest" if compute_dtype == "float32" else "default",
            stored_dtype=stored_dtype,
        )

    def function(
        self,
        layers: Sequence[Layer],
        *,
        transforms: Transforms | None = None,
        compute_dtype: str = "float32",
    ) -> Features:
        """Return the compiled ``(state, images) -> {layer: features}``.

        Images are uint8 ``[B, H, W, 3]`` RGB as `featcache.images.resizing.prepare` gives them: they travel to the
        device as bytes and are normalised there. Features are float32 ``[B, …]``. The same function is
        returned for the same arguments, so nothing is compiled twice.
        """
        if compute_dtype not in COMPUTE_DTYPES:
            raise UsageError(
                f"no compute dtype {compute_dtype!r}; {did_you_mean(compute_dtype, COMPUTE_DTYPES)}"
            )
        transforms = transforms or self.transforms
        key = (tuple(layers), transforms, compute_dtype)
        return self.remembered(
            key, lambda: _compile(self.uncompiled(layers, transforms=transforms, compute_dtype=compute_dtype))
        )

    def uncompiled(
        self,
        layers: Sequence[Layer],
        *,
        transforms: Transforms | None = None,
        compute_dtype: str = "float32",
    ) -> Features:
        """Return what `function` compiles, for other compilers: to normalise, run and pool is said here alone."""
        return _features(self.graphdef, layers, transforms or self.transforms, jnp.dtype(compute_dtype))

    def remembered(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return the program of this network that `key` names; `make` compiles it when it is first asked for."""
        if key not in self._compiled:
            self._compiled[key] = make()
        return self._compiled[key]

    def remembers(self, key: Hashable) -> bool:
        """Return whether `remembered` has the program that `key` names, so that asking for it costs nothing."""
        return key in self._compiled


def network_input(images: jax.Array, transforms: Transforms) -> jax.Array:
    """Return the network's normalised input, float32 ``[B, H, W, 3]``, of pictures uint8 ``[B, H, W, 3]`` in RGB."""
    scale, offset = normalisation(transforms)
    pixels = images[..., ::-1] if transforms.channel_order == "bgr" else images
    return pixels.astype(jnp.float32) * scale + offset


def _features(graphdef: Any, layers: Sequence[Layer], transforms: Transforms, dtype: Any) -> Features:
    # "highest" keeps float32 products float32 on GPUs and TPUs, whose default is TF32 or bfloat16.
    precision = "highest" if dtype == jnp.float32 else "default"

    def features(state: Any, images: jax.Array | np.ndarray) -> dict[str, jax.Array]:
        with jax.default_matmul_precision(precision):
            x = network_input(jnp.asarray(images), transforms).astype(dtype)
            values = nnx.merge(graphdef, state)(x, taps=tuple({layer.stage for layer in layers}))
            return {str(layer): layer.apply(values[layer.stage]).astype(jnp.float32) for layer in layers}

    return features


def _compile(features: Features) -> Features:
    # Vectors as wide as the machine has (XLA prefers 256 bits), and one thread per call, because the schedule
    # runs one call per core: 0.80 of onnxruntime's speed instead of 0.62 on EfficientNet-Lite0 and two cores.
    options = cpu_options(xla_cpu_prefer_vector_width=512, xla_cpu_multi_thread_eigen=False)
    return PackedProgram(features, options)
