"""The tests keep what they compile: a run without it takes longer, and nobody would know why."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp


def test_a_compiled_program_is_kept_for_the_other_processes_of_the_run():
    def program(x):
        return jnp.sin(x) + os.getpid()

    program.__name__ = f"kept_{os.getpid()}"
    jax.jit(program)(1.0)
    assert list(Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).glob(f"jit_{program.__name__}-*"))
