"""A disk that other programs fill and free all the time, while caches are created, filled and published on it."""

import json
import os
from collections import Counter

import pytest
from helpers.programs import run_on_small_disk

ATTEMPTS = int(os.environ.get("FEATCACHE_TEST_FULL_MOMENTS", "600"))

# What runs inside a mount namespace of its own, in a folder that is a tmpfs of 600 KB. Each attempt is a child of its
# own: a crash in it is counted, not suffered.
PROGRAM = """
import json, os, sys
from pathlib import Path
import numpy as np
from helpers.programs import in_a_child, start_filler
from helpers.small_caches import small
from featcache.cache import FeatureCache, create, partial_path
from featcache.core.disk import storage
from featcache.errors import StorageError

target, attempts = Path(sys.argv[1]) / "a.h5", int(sys.argv[2])
contents = [small(40, seed=seed, shapes={"pool": (800,), "mixed7": (3, 5)}) for seed in (0, 1)]
storage.free_bytes = lambda folder: None  # what is free now says nothing
small(8, quarantined={}).publish(target.with_name("warm.h5")).close()
target.with_name("warm.h5").unlink()

def unsupported(*args):
    raise OSError(95, "Operation not supported")

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

def attempted(attempt, latest):
    if attempt % 2:
        os.posix_fallocate = unsupported
    return published(contents[1 - latest], contents[latest])

filler = start_filler(target.with_name("filler"))
answers, latest = [], 0
for attempt in range(attempts):
    answers.append(in_a_child(lambda: attempted(attempt, latest)))
    latest ^= answers[-1] == "right"
os.kill(filler, 9)
print(json.dumps(answers))
"""


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_caches_published_while_the_disk_is_full_for_moments(tmp_path):
    run = run_on_small_disk(PROGRAM, tmp_path, str(ATTEMPTS))
    found = Counter(json.loads(run.stdout))
    print(dict(found))
    assert found.keys() == {"right", "refused"}, found
    assert found.total() == ATTEMPTS
