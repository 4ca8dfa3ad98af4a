"""A process that reads a hostile file can open nothing and take no more memory than it was given."""

import subprocess
import sys
from pathlib import Path

import featcache

REPOSITORY = str(Path(featcache.__file__).parents[1])


def test_the_child_process_is_limited():
    code = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "from featcache.core.child_process import limit_process; limit_process(5, 2**28)\n"
        "for fault in (lambda: open('/dev/null'), lambda: bytes(2**28)):\n"
        "    try: fault()\n"
        "    except Exception as error: print(type(error).__name__)\n"
        "assert not {'jax', 'numpy'} & {*sys.modules}"
    )
    command = [sys.executable, "-I", "-c", code, REPOSITORY]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert answer.split() == ["OSError", "MemoryError"] or sys.platform == "darwin"
