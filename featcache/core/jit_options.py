"""XLA compiler options that make programs faster on CPUs, where the installed JAX supports them."""

from functools import cache
from typing import Any

from featcache.core.devices.choice import on_cpu


@cache
def _known(name: str, value: Any) -> bool:
    import jax

    try:
        jax.jit(lambda x: x, compiler_options={name: value}).lower(0).compile()
    except Exception:  # JAX has no class for "no such option"
        return False
    return True


def cpu_options(**wanted: Any) -> dict[str, Any]:
    """Return the options for ``jax.jit(compiler_options=…)``; none if this process does not compute on the CPU.

    Options depend on the version of JAX; those that the installed one does not know are left out.
    """
    if not on_cpu():
        return {}
    return {name: value for name, value in wanted.items() if _known(name, value)}
