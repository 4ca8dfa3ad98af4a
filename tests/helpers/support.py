"""What several files of this folder share: the keras oracle, a loaded network, the shared folder."""

import os
from functools import cache
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest

from featcache.backbones import load
from featcache.backbones.loaded import LoadedBackbone

SHARED = Path(__file__).parents[2].parent / "shared"

needs_shared = pytest.mark.skipif(
    not all((SHARED / folder).is_dir() for folder in ("anchors", "data", "weights")),
    reason=f"needs the anchors, photos and weights of {SHARED}, which are not in the repository",
)


@cache
def keras() -> ModuleType:
    """Keras on JAX: an implementation of the same layers that shares no code with ours."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    return keras


@cache
def compiled_quickly() -> dict[str, bool | int]:
    """Options with which XLA compiles a network in a fifth of the time; the numbers are the same but for rounding.

    LLVM optimises nothing, and the older of XLA's two generators writes the code of fused loops.
    """
    slower = {"xla_backend_optimization_level": 0}
    options = slower | {"xla_cpu_use_fusion_emitters": False, "xla_llvm_disable_expensive_passes": True}
    try:
        jax.jit(lambda x: x + 1, compiler_options=options)(0.0)
    except jax.errors.JaxRuntimeError:  # a version of XLA that has only one generator
        return slower
    return options


@cache
def lite0() -> LoadedBackbone:
    """EfficientNet-Lite0 with its weights, loaded and compiled once for all tests."""
    return load("efficientnet_lite0")


def scaled_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference as a fraction of the largest expected value."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / np.abs(expected).max())
