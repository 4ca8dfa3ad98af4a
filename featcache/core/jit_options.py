"""Compiler options that make programs for a CPU faster, where this JAX knows them."""

from functools import cache
from typing import Any


@cache
def _known(name: str, value: Any) -> bool:
    import jax

    try:
        jax.jit(lambda x: x, compiler_options={name: value}).lower(0).compile()
    except Exception:  # JAX has no class for "no such option"
        return False
    return True


def cpu_options(**wanted: Any) -> dict[str, Any]:
    """Return the options of ``jax.jit(compiler_options=…)`` to use here: none where the device is no CPU.

    Options come and go with JAX's versions; one that this version does not know is left out.
    """
    import jax

    if jax.default_backend() != "cpu":
        return {}
    return {name: value for name, value in wanted.items() if _known(name, value)}
