"""One system call fails while a cache is made: an error and no cache, or the right one; never a wrong one."""

import errno
import json
from collections import Counter

import pytest
from helpers.recording import preloaded

# Each attempt is a child of its own: a crash in it is counted, not suffered.
PREAMBLE = """
import ctypes, json, os, resource, shutil, sys
from pathlib import Path
from helpers.programs import in_a_child
from helpers.small_caches import small
from featcache.cache import FeatureCache, verify
from featcache.errors import StorageError

folder, number = Path(sys.argv[1]), int(sys.argv[2])
want = small(26, shapes={"pool": (64,), "mixed7": (3, 5)})

def verdict(begin_to_fail, stop):
    shutil.rmtree(folder, ignore_errors=True)
    target = folder / "a.h5"
    refusal = None
    begin_to_fail()
    try:
        want.publish(target).close()
    except StorageError as error:
        refusal = str(error)
    if stop():
        return "no such call"
    if refusal:
        if not os.strerror(number) in refusal:
            return f"told as {refusal}"
        if target.exists():
            return f"published although {refusal}"
        want.resume(target).close()  # the same command again, with a disk that works
    with FeatureCache(target) as cache:
        wrong = want.wrong(cache)
    if wrong:
        return f"wrong {', '.join(wrong)}, verified as {verify(target).ok}"
    return "refused" if refusal else "right"
"""

SINGLE_CALLS = """
shim, error, once = ctypes.CDLL(None), 1, False

def stop():
    shim.stop_failing()
    return not shim.calls_failed()

answers = []
while not answers or answers[-1] != "no such call":
    answers.append(in_a_child(lambda: verdict(lambda: shim.fail_calls(len(answers) + 1, once, error, number), stop)))
print(json.dumps(answers[:-1]))
"""

LIMITS = """
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def unsupported(*args):
    raise OSError(95, "Operation not supported")

if sys.argv[3] == "unreserved":
    os.posix_fallocate = unsupported
sizes = range(0, 40000, 4000)
print(json.dumps([in_a_child(lambda: verdict(lambda: limit(size), lambda: limit(-1))) for size in sizes]))
"""


@pytest.mark.one_by_default
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_any_single_call_that_fails_while_a_cache_is_made(number, tmp_path):
    arguments = [str(tmp_path / "folder"), str(number)]
    output = preloaded(
        PREAMBLE + SINGLE_CALLS,
        arguments,
        under=tmp_path / "folder",
        scratch=tmp_path,
        shim="failing_calls",
    )
    verdicts = Counter(json.loads(output))
    # Twice the folder is synced, which not every file system can: of the file's own calls none is forgiven.
    assert verdicts == {"refused": verdicts["refused"], "right": 2}
    assert verdicts["refused"] > 35


@pytest.mark.parametrize("disk", ["reserved", "unreserved"])
def test_a_limit_on_the_size_of_files(disk, tmp_path):
    """As of ``ulimit -f``, whose default answer is a signal that ends the process."""
    arguments = [str(tmp_path / "folder"), str(errno.EFBIG), disk]
    output = preloaded(PREAMBLE + LIMITS, arguments, under=tmp_path / "folder", scratch=tmp_path)
    verdicts = json.loads(output)
    enough = verdicts.index("right")
    assert enough > 3
    assert set(verdicts[:enough]) == {"refused"}
    assert set(verdicts[enough:]) == {"right"}
