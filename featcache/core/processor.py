"""What the processor of this machine is, as far as programs compiled for it are concerned."""

import os
import platform
from contextlib import suppress

_TELLING = (
    *("vendor_id", "cpu family", "model", "model name", "stepping", "flags"),  # x86
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features"),  # Arm
)


def processor(cpuinfo: str | os.PathLike[str] = "/proc/cpuinfo") -> str:
    """Return the model of the processor with all it can do; where that is not told, also the name of the machine."""
    told = {}
    with suppress(OSError), open(cpuinfo, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            name, colon, value = line.partition(":")
            if not colon and told:  # the end of the first core
                break
            told[name.strip()] = value.strip()
    lines = [f"{name}={told[name]}" for name in _TELLING if name in told]
    basics = [platform.machine(), platform.processor()]
    return "\n".join([*basics, *(lines or [platform.node(), platform.version()])])
