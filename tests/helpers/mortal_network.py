"""A network whose process ends now and then, and one that takes its time: what actors of Ray run in tests."""

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np

from helpers.fake_network import FakeNetwork, features_of


class MortalNetwork(FakeNetwork):
    """Ends the process that runs it, at most once for each of the first `deaths` hundreds of images.

    Parameters
    ----------
    notes
        A folder in which each death is noted, so that no hundred has two.
    deaths
        How many there are.
    """

    def __init__(self, notes: Path, deaths: int):
        self.notes, self.deaths = notes, deaths

    def function(self, layers, *, transforms=None, compute_dtype="float32"):
        lock, seen = threading.Lock(), [0]

        def run(state, images):
            with lock:
                seen[0] += len(images)
                if seen[0] > 60:
                    self._die()
            return {layer: features_of(np.asarray(images)) for layer in layers}

        return run

    def _die(self):
        for number in range(self.deaths):
            with suppress(FileExistsError):
                (self.notes / str(number)).touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)


class HeldNetwork(FakeNetwork):
    """Computes a few images in each process, and then waits until its process is ended."""

    def function(self, layers, *, transforms=None, compute_dtype="float32"):
        lock, seen = threading.Lock(), [0]

        def run(state, images):
            with lock:
                seen[0] += len(images)
            if seen[0] > 60:
                threading.Event().wait()
            return {layer: features_of(np.asarray(images)) for layer in layers}

        return run
