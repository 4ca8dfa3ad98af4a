"""Progress reports of extractions and of training."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Progress:
    """The state of an extraction or a training; passed to `on_progress` after every file, chunk or epoch.

    Parameters
    ----------
    stage
        ``"load"`` (the network), ``"hash"``, ``"compile"``, ``"compute"`` (rows copied from other caches count
        too) or ``"verify"``.
    done, total
        Images.
    decode_s, device_s, write_s
        Seconds spent so far, summed over threads.
    note
        Further text, such as the training loss.
    expected_s
        About how many seconds all will take, said once beforehand where that is known and long; 0 otherwise.
    """

    stage: str
    done: int = 0
    total: int = 0
    decode_s: float = 0.0
    device_s: float = 0.0
    write_s: float = 0.0
    note: str = ""
    expected_s: float = 0.0


OnProgress = Callable[[Progress], None]


def shares(progress: Progress) -> str:
    """Return the share of time of each step, such as ``"decode 21 %, network 74 %, write 5 %"``."""
    parts = {"decode": progress.decode_s, "network": progress.device_s, "write": progress.write_s}
    total = sum(parts.values())
    return ", ".join(f"{name} {100 * s / total:.0f} %" for name, s in parts.items()) if total else ""
