"""A disk that other programs fill and free all the time, while caches are created, filled and published on it."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ATTEMPTS = int(os.environ.get("FEATCACHE_TEST_FULL_MOMENTS", "600"))

# What runs inside a mount namespace of its own, in a folder that is a tmpfs of 600 KB. Each attempt is a child of its
# own: a crash in it is counted, not suffered.
PROGRAM = """
import json, os, random, sys
from contextlib import suppress
from pathlib import Path
import numpy as np
from helpers.small_caches import small
from featcache.cache import FeatureCache, create, partial_path
from featcache.core.disk import storage
from featcache.errors import StorageError

target, attempts = Path(sys.argv[1]) / "a.h5", int(sys.argv[2])
contents = [small(40, seed=seed, shapes={"pool": (800,), "mixed7": (3, 5)}) for seed in (0, 1)]
storage.free_bytes = lambda folder: None  # what is free now says nothing
small(8, quarantined={}).publish(target.with_name("warm.h5")).close()
target.with_name("warm.h5").unlink()
this = os.getpid()

def unsupported(*args):
    raise OSError(95, "Operation not supported")

def fill_and_free():
    descriptor = os.open(target.with_name("filler"), os.O_WRONLY | os.O_CREAT)
    tries = random.Random(0)
    while os.getppid() == this:
        for _ in range(tries.randrange(100)):
            with suppress(OSError):
                os.write(descriptor, bytes(65536))
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, 0)
        for _ in range(tries.randrange(3000)):
            os.getppid()

def published(want, other):
    partial_path(target).unlink(missing_ok=True)
    refusal = None
    try:
        want.publish(target).close()
    except StorageError as error:
        refusal = str(error)
        if "No space left on device [errno 28, ENOSPC]; free some space" not in refusal:
            return f"told as {refusal}"
    if target.exists():
        with FeatureCache(target) as cache:
            if wrong := (other if refusal else want).wrong(cache):
                return f"wrong: {wrong}"
    if refusal and partial_path(target).exists():
        with FeatureCache(partial_path(target)) as cache:
            done = np.flatnonzero(cache.intact() & (cache.status == 0))
            for name, values in want.features.items():
                if not np.array_equal(cache.features(done, name), values[done]):
                    return f"wrong rows of {name}"
    return "refused" if refusal else "right"

filler = os.fork()
if not filler:
    try:
        fill_and_free()
    finally:
        os._exit(0)
answers, latest = [], 0
for attempt in range(attempts):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        if attempt % 2:
            os.posix_fallocate = unsupported
        try:
            answer = published(contents[1 - latest], contents[latest])
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        answer = stream.read().decode()
    status = os.waitpid(child, 0)[1]
    answers.append(answer if not status else f"signal {status}")
    latest ^= answers[-1] == "right"
os.kill(filler, 9)
print(json.dumps(answers))
"""


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_caches_published_while_the_disk_is_full_for_moments(tmp_path):
    unshare = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    mount = f'mount -t tmpfs -o size=600k tmpfs "{tmp_path}" && exec "$@"'
    if shutil.which("unshare") is None:
        pytest.skip("mounting a small disk needs unshare")
    mounted = [*unshare, "sh", "-c", mount, "sh"]
    probe = subprocess.run([*mounted, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"mounting a small disk is not allowed here: {probe.stderr.strip()}")
    places = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [*mounted, sys.executable, "-c", PROGRAM, str(tmp_path), str(ATTEMPTS)],
        env={**os.environ, "PYTHONPATH": places},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = Counter(json.loads(run.stdout))
    print(dict(found))
    assert found.keys() == {"right", "refused"}, found
    assert found.total() == ATTEMPTS
