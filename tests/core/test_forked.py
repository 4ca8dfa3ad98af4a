"""A process that was forked after JAX had started is told so; one that was forked before computes."""

import os
import subprocess
import sys

import pytest
from helpers.programs import environment

from featcache.core.forked import require_jax

PROGRAM = """
import os, sys
from featcache.core.forked import require_jax
from featcache.errors import FeatcacheError

mode = sys.argv[1]
if mode == "ours":
    require_jax()
if mode != "nothing":
    import jax
    jax.devices()  # by featcache, or by whoever uses JAX beside it
child = os.fork()
if child == 0:
    try:
        require_jax()
        answer = 0
    except FeatcacheError as error:
        assert "was forked after JAX had started" in str(error), error
        assert 'multiprocessing.get_context("spawn")' in str(error), error
        answer = 3
    os._exit(answer)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked on Unix alone")
@pytest.mark.parametrize(("mode", "code"), [("nothing", 0), ("ours", 3), ("others", 3)])
def test_a_child_is_refused_if_jax_had_started(mode, code):
    if mode == "others" and not os.path.isdir("/proc/self/task"):
        pytest.skip("threads are listed on Linux alone")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, mode], env=environment(), check=False, timeout=120
    )
    assert ran.returncode == code


def test_the_process_that_started_it_goes_on():
    require_jax()
    require_jax()
