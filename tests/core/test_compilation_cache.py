"""Compiled programs are kept for the next process: whose they are, and what damage does to them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from featcache.core import compilation_cache
from featcache.core.compilation_cache import (
    enable_compilation_cache,
    forget_damaged,
    list_programs,
    programs_folder,
    remove_programs,
    why_not,
)

COMPILE = """
import hashlib, json, sys
from featcache.core.compilation_cache import enable_compilation_cache, list_programs
folder = enable_compilation_cache()
assert "jax" not in sys.modules
import jax
import numpy as np
from featcache.core.jit_options import cpu_options

seen = []
jax.monitoring.register_event_listener(lambda name, **_: seen.append(name.rpartition("/")[2]))
x = np.linspace(0, 1, 32 * 32, dtype=np.float32).reshape(32, 32)
options = cpu_options(xla_cpu_use_fusion_emitters=False)
program = jax.jit(lambda x: jax.numpy.tanh(x @ x.T).sum(0), compiler_options=options)
y = jax.jit(lambda x: jax.numpy.sin(x).sum(1), compiler_options=options)(x)  # a second program, whatever JAX adds
digest = hashlib.sha256(np.asarray(program(x)).tobytes() + np.asarray(y).tobytes()).hexdigest()
print(json.dumps([seen.count("cache_hits"), seen.count("cache_misses"), digest]))
"""

JAX_SETTINGS = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_COMPILATION_CACHE_MAX_SIZE",
    "JAX_ENABLE_COMPILATION_CACHE",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "FEATCACHE_COMPILATION_CACHE",
)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """A home of its own, no settings of JAX's cache, and a process that has not imported JAX."""
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    for name in JAX_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    # What is enabled here is not for later tests.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return tmp_path / "home"


def start(script=COMPILE, **settings: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        # Programs as small as these compile faster than those that are worth keeping.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        # XLA's own caches, for GPUs, bring the folder's path into the key, and here folders are copied.
        "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "none",
        **settings,
    }
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, int, str, str]:
    """Return programs read, programs written, digest of the result, and stderr."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return (*json.loads(out), err)


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> tuple[Path, int, str]:
    """A folder of programs, how many they are, and the digest of what they compute."""
    home = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEATCACHE_HOME", str(home))
        for name in JAX_SETTINGS:
            patch.delenv(name, raising=False)
        hits, misses, digest, err = finish(start())
    assert (hits, err) == (0, "")
    assert misses > 0
    return home, misses, digest


@pytest.fixture
def compiled(kept, own_home) -> tuple[int, str]:
    """The programs are here: how many, and the digest of what they compute."""
    home, count, digest = kept
    shutil.copytree(home, own_home)
    assert len(entries()) == count
    return count, digest


def entries() -> list[Path]:
    return sorted(programs_folder().glob("*-cache"))


# Whose they are ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setattr(compilation_cache, "processor", lambda: "another"),
        lambda patch: patch.setattr(compilation_cache, "default_workers", lambda: 4096),
        lambda patch: patch.setattr(compilation_cache, "__version__", "9.9"),
        lambda patch: patch.setattr(compilation_cache, "version", lambda name: "9.9"),
        lambda patch: patch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true"),
    ],
    ids=["processor", "cores", "featcache", "jax", "flags"],
)
def test_another_machine_or_version_has_another_folder(monkeypatch, change):
    before = programs_folder()
    assert programs_folder() == before
    change(monkeypatch)
    assert programs_folder() != before
    assert programs_folder().parent == before.parent


def test_the_folder_is_the_owners_alone_whatever_the_umask():
    before = os.umask(0)
    try:
        folder = enable_compilation_cache()
    finally:
        os.umask(before)
    assert folder is not None
    assert folder == programs_folder()
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(folder)
    assert os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] == "500000000"


@pytest.mark.parametrize("above", [0, 1, 2], ids=["folder", "programs", "home"])
def test_a_folder_that_others_may_write_to_is_not_used(above):
    folder = enable_compilation_cache()
    assert folder is not None
    del os.environ["JAX_COMPILATION_CACHE_DIR"]
    place = (folder, *folder.parents)[above]
    place.chmod(0o777)
    assert enable_compilation_cache() is None
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
    assert why_not() == (
        f"{place} may be written to by others; programs are machine code, and are kept where only you may write"
    )


def test_a_folder_of_another_user_is_not_used(monkeypatch):
    assert enable_compilation_cache() is not None
    del os.environ["JAX_COMPILATION_CACHE_DIR"]
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert enable_compilation_cache() is None
    assert f"{programs_folder()} belongs to another user" in str(why_not())
    assert list_programs() == []


def test_a_home_of_the_users_own_group_will_do(own_home):
    """With umask 002, as on Fedora and Ubuntu: root's group is 0, as root is."""
    own_home.mkdir()
    os.chown(own_home, -1, os.geteuid()) if os.geteuid() == 0 else pytest.skip("needs root")
    own_home.chmod(0o775)
    assert why_not() is None
    os.chown(own_home, -1, 12345)
    assert "may be written to by others" in str(why_not())


def test_without_a_home_nothing_is_kept(own_home):
    own_home.write_text("a file")
    assert enable_compilation_cache() is None
    assert why_not() == f"{own_home} cannot be written"


@pytest.mark.parametrize("word", ["0", "off", "No", "FALSE"])
def test_it_can_be_switched_off(own_home, monkeypatch, word):
    monkeypatch.setitem(os.environ, "FEATCACHE_COMPILATION_CACHE", word)
    assert enable_compilation_cache() is None
    assert why_not() == f"FEATCACHE_COMPILATION_CACHE is {word}"
    assert not own_home.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JAX_COMPILATION_CACHE_DIR", "/mine"),
        ("JAX_COMPILATION_CACHE_DIR", ""),
        ("JAX_ENABLE_COMPILATION_CACHE", "0"),
    ],
)
def test_settings_of_ones_own_stay(own_home, name, value):
    os.environ[name] = value
    before = dict(os.environ)
    assert enable_compilation_cache() is None
    assert dict(os.environ) == before
    assert why_not() == f"{name} is {value or 'empty'}, and decides"
    assert not own_home.exists()


def test_settings_of_ones_own_limits_stay():
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = "7"
    assert enable_compilation_cache() is not None
    assert os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] == "7"


IMPORTED = """
import sys, jax
jax.config.update("jax_compilation_cache_dir", sys.argv[1] if len(sys.argv) > 1 else None)
from featcache.core.compilation_cache import enable_compilation_cache
folder = enable_compilation_cache()
print(folder, jax.config.jax_compilation_cache_dir, jax.config.jax_compilation_cache_max_size, sep="\\n")
"""


@pytest.mark.parametrize("own", [(), ("mine",)], ids=["none", "own"])
def test_where_jax_is_imported_already_its_config_is_what_counts(own):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *own], capture_output=True, text=True, check=True, timeout=120
    )
    folder = str(programs_folder())
    assert done.stdout.split() == (["None", "mine", "-1"] if own else [folder, folder, "500000000"])


# Used again -------------------------------------------------------------------------------------------------


def test_the_next_process_compiles_nothing_and_computes_the_same(compiled):
    count, digest = compiled
    assert finish(start()) == (count, 0, digest, "")
    (kept,) = list_programs()
    assert (kept.folder, kept.count, kept.here) == (programs_folder(), count, True)
    assert kept.nbytes > sum(path.stat().st_size for path in entries())  # the times of use count, too


@pytest.mark.slow
def test_two_processes_at_once_compute_the_same():
    results = [finish(process) for process in (start(), start())]
    assert results[0][2:] == results[1][2:]
    assert finish(start())[1:] == (0, results[0][2], "")


def test_what_is_kept_stays_below_the_limit(compiled):
    sizes = [path.stat().st_size for path in entries()]
    limit = max(sizes) + 500
    assert sum(sizes) > limit
    for path in entries():
        path.unlink()
    _, _, digest, err = finish(start(JAX_COMPILATION_CACHE_MAX_SIZE=str(limit)))
    assert (digest, err) == (compiled[1], "")
    assert 0 < sum(path.stat().st_size for path in entries()) <= limit


# Damage -----------------------------------------------------------------------------------------------------


def flipped(content: bytes) -> bytes:
    return (
        content[: len(content) // 2]
        + bytes([content[len(content) // 2] ^ 1])
        + content[len(content) // 2 + 1 :]
    )


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: bytes(len(content)),
    ],
    ids=["flipped", "half", "empty", "zeros"],
)
def test_damaged_programs_are_compiled_anew(compiled, damage):
    for path in entries():
        path.write_bytes(damage(path.read_bytes()))
    hits, _, digest, err = finish(start())
    assert (hits, digest) == (0, compiled[1])
    assert "Error reading persistent compilation cache entry" in err


def test_all_are_forgotten_when_one_is_damaged(compiled, monkeypatch):
    assert len(entries()) == compiled[0]
    damaged = "Error reading persistent compilation cache entry for 'jit_f': error: Error -5 while decompressing data"
    assert not forget_damaged(damaged), "this process uses no programs of that folder"
    monkeypatch.setitem(os.environ, "JAX_COMPILATION_CACHE_DIR", str(programs_folder()))
    for harmless in (
        "Error reading persistent compilation cache entry for 'jit_f': Timeout: The file lock could not be acquired",
        "Error writing persistent compilation cache entry for 'jit_f': OSError: No space left on device",
    ):
        assert not forget_damaged(harmless)
    assert len(entries()) == compiled[0]
    assert forget_damaged(damaged)
    assert entries() == []


# A program is larger than 1000 bytes: the kernel ends the process, or refuses to write, in the middle of one.
KILLED = """
import resource, signal
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
"""
FULL_DISK = KILLED.replace("SIG_DFL", "SIG_IGN")


def test_what_a_killed_process_wrote_in_part_is_removed_and_written_again(kept):
    _, count, expected = kept
    killed = start(KILLED + COMPILE)
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGXFSZ
    assert [path.stat().st_size for path in entries()] == [1000]

    assert finish(start()) == (0, count, expected, "")
    assert len(entries()) == count


def test_a_full_disk_keeps_no_program_and_computes_the_same(kept):
    _, count, expected = kept
    _, _, digest, err = finish(start(FULL_DISK + COMPILE))
    assert digest == expected
    assert "Error writing persistent compilation cache entry" in err
    assert finish(start()) == (0, count, expected, "")


def test_what_is_being_written_is_left_alone():
    folder = enable_compilation_cache()
    assert folder is not None
    del os.environ["JAX_COMPILATION_CACHE_DIR"]
    (folder / "jit_f-1-cache").write_bytes(b"half")
    with FileLock(folder / ".lockfile"):
        enable_compilation_cache()
        assert len(entries()) == 1
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    enable_compilation_cache()
    assert entries() == []


# Old ones ---------------------------------------------------------------------------------------------------


def test_programs_of_others_are_old_after_a_month_and_ones_own_never():
    mine = enable_compilation_cache()
    assert mine is not None
    folders = {"mine": mine, "old": mine.with_name("jax0-a"), "fresh": mine.with_name("jax0-b")}
    month_ago = time.time() - 31 * 86_400
    for name, folder in folders.items():
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "jit_f-1-cache").write_bytes(b"12345")
        if name != "fresh":
            os.utime(folder / "jit_f-1-cache", (month_ago, month_ago))
            os.utime(folder, (month_ago, month_ago))
    (mine.parent / "something-else").mkdir()
    found = {each.folder: each for each in list_programs()}
    assert {folder: each.outdated for folder, each in found.items()} == {
        folders["mine"]: False,
        folders["old"]: True,
        folders["fresh"]: False,
    }
    assert {(each.count, each.nbytes) for each in found.values()} == {(1, 5)}

    remove_programs(folders["old"])
    assert sorted(path.name for path in mine.parent.iterdir()) == sorted(
        [mine.name, "jax0-b", "something-else"]
    )
