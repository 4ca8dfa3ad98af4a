"""onnxruntime-web, which runs a model in a browser: found on this machine, or fetched by npm and kept, verified.

Two files of its package are enough: the script for WebAssembly on the CPU (73 kB), with the loader inside, and the
program itself (14.2 MB, of which a server that compresses sends 3.7). It runs on one thread, so that a plain server is
enough: several need the headers COOP and COEP.
"""

import gzip
import re
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from featcache.core.disk.files import make_folder, replace_file
from featcache.core.disk.names import read_file, require_there
from featcache.core.disk.storage import OTHER_HOME, storage_errors
from featcache.core.environment import home, offline
from featcache.core.identity import sha256_file
from featcache.errors import FeatcacheError, IntegrityError, MissingExtraError, MissingFileError

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
"""Of the package's tarball, as ``npm pack onnxruntime-web@1.30.0`` writes it (33.1 MB)."""

_SCRIPT = "ort.wasm.bundle.min.mjs"
PROGRAM = "ort-wasm-simd-threaded.wasm"
"""The WebAssembly, under the name that onnxruntime's script knows."""
_MOST_BYTES = 2**27
"""Bytes of either file at most: a tarball may say anything."""
_MOST_UNPACKED = 2**30
_MOST_MEMBERS = 10_000
_HOSTILE = (
    *(tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError),
    *(
        ValueError,
        ArithmeticError,
        LookupError,
        RecursionError,
    ),  # which tarfile raises on headers that make no sense
)
_NPM_SECONDS = 600
_ARCHIVE = f"{PACKAGE}-{VERSION}.tgz"
_HEAD = re.compile(rb"ONNX Runtime Web v([0-9][0-9A-Za-z.+-]{0,40})")


@dataclass(frozen=True)
class WebRuntime:
    """The files of onnxruntime-web that a page needs.

    Parameters
    ----------
    version
        Its version, by the head of its script; ``"unknown"`` where that says none.
    script
        An ECMAScript module.
    program
        WebAssembly, under the name `program_name` that the script knows.
    """

    version: str
    script: bytes
    program: bytes
    program_name: str = PROGRAM


def web_runtime(given: Path | None = None) -> WebRuntime:
    """Return onnxruntime-web from a given place, from what was kept, or by npm.

    Parameters
    ----------
    given
        A folder that ``npm install onnxruntime-web`` wrote into, the package's folder or its ``dist``; or the package
        as a tarball. Of any version that has the files. ``None`` for the pinned version, kept in ``FEATCACHE_HOME``;
        where it is not there yet, npm fetches it.

    Raises
    ------
    MissingFileError
        If there is nothing in the given place, or not the files that are needed.
    MissingExtraError
        If no place is given, none was kept, and npm is not installed, or is not to use the network.
    IntegrityError
        If a tarball is damaged, or is not the pinned one where that is expected.
    StorageError
        If something cannot be read or kept.
    """
    if given is None:
        return _of_tarball(_pinned())
    require_there(
        given,
        f"the folder or tarball of npm's package {PACKAGE}",
        missing=f"no folder or tarball {given} with {PACKAGE}; get it with npm install {PACKAGE}, and name the folder "
        "where that was run",
    )
    return _of_folder(given) if given.is_dir() else _of_tarball(given)


def kept_runtime() -> Path:
    """Return where the pinned version is kept; it need not be there."""
    return home() / PACKAGE / _ARCHIVE


# ---- read


def _of_folder(given: Path) -> WebRuntime:
    for place in (".", "dist", f"node_modules/{PACKAGE}/dist", f"{PACKAGE}/dist"):
        folder = given / place
        if (folder / _SCRIPT).is_file() and (folder / PROGRAM).is_file():
            with storage_errors(folder, "read"):
                return _runtime(read_file(folder / _SCRIPT), read_file(folder / PROGRAM))
    raise MissingFileError(
        f"{given} holds no {_SCRIPT} and {PROGRAM}, neither itself nor in dist/ or node_modules/{PACKAGE}/dist/; get "
        f"them with npm install {PACKAGE} (1.19 or newer), and name the folder where that was run"
    )


def _of_tarball(path: Path) -> WebRuntime:
    wanted = {f"package/dist/{name}": name for name in (_SCRIPT, PROGRAM)}
    with storage_errors(path, "read"):
        try:
            found = _members(path, wanted)
        except _HOSTILE as error:
            raise IntegrityError(f"{path} is no whole tarball of {PACKAGE}: {_how_to_get()}") from error
    if len(found) < len(wanted):
        raise MissingFileError(f"{path} holds no dist/{_SCRIPT} and dist/{PROGRAM}: {_how_to_get()}")
    return _runtime(found[_SCRIPT], found[PROGRAM])


def _members(path: Path, wanted: Mapping[str, str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with (
        path.open("rb") as stream,
        gzip.GzipFile(fileobj=stream) as unpacked,
        tarfile.open(fileobj=_Unpacked(unpacked), mode="r:") as archive,  # type: ignore[arg-type]
    ):
        for number, member in enumerate(archive):
            name = wanted.get(member.name)
            if name and member.isfile() and member.size <= _MOST_BYTES:
                content = archive.extractfile(member)
                found[name] = content.read() if content else b""
            if len(found) == len(wanted) or number > _MOST_MEMBERS:
                break
    return found


class _Unpacked:
    """What is in a tarball as a stream for tarfile: forwards only, and no further than a package reaches.

    33 MB of it may become as many gigabytes, a header may say that its name is one, and a member of negative size sends
    tarfile back, and round for ever (CVE-2025-8194).
    """

    name = None

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._stream.read(size)

    def seek(self, position: int) -> int:
        # tarfile looks at the last byte of a member again, to see that it is there.
        if not self._stream.tell() - 1 <= position <= _MOST_UNPACKED:
            raise tarfile.ReadError(f"a member that ends at byte {position}")
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()


def _runtime(script: bytes, program: bytes) -> WebRuntime:
    match = _HEAD.search(script[:1000])
    return WebRuntime(match[1].decode() if match else "unknown", script, program)


# ---- kept, or fetched


def _pinned() -> Path:
    """Return the tarball of the pinned version, which npm fetches where that is allowed and needed."""
    path = kept_runtime()
    if not path.is_file():
        _fetch(path)
    elif (digest := _digest(path)) != SHA256:
        raise IntegrityError(
            f"{path} is damaged or not {PACKAGE} {VERSION}: its sha256 is {digest[:12]}…, expected {SHA256[:12]}…. "
            "Delete it and run again"
        )
    return path


def _digest(path: Path) -> str:
    with storage_errors(path, "read"):
        return sha256_file(path)


def _fetch(path: Path) -> None:
    if offline():
        raise MissingExtraError(
            f"{PACKAGE} is not on this machine and FEATCACHE_OFFLINE is set. {_how_to_get()}"
        )
    npm = shutil.which("npm")
    if npm is None:
        raise MissingExtraError(
            f"neither {PACKAGE} nor npm, which fetches it, is on this machine. {_how_to_get()}"
        )
    with tempfile.TemporaryDirectory(prefix="featcache-npm-") as folder:
        # `pack` writes the package's own tarball, from whichever registry and proxy npm is set up for.
        command = [npm, "pack", "--silent", "--ignore-scripts", f"{PACKAGE}@{VERSION}"]
        try:
            ended = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_NPM_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FeatcacheError(
                f"npm could not fetch {PACKAGE} {VERSION} ({error}). {_how_to_get()}"
            ) from error
        fetched = Path(folder, _ARCHIVE)
        if ended.returncode or not fetched.is_file():
            said = ended.stderr.decode("utf-8", "replace").strip().splitlines()
            why = next((line for line in said if line.strip()), "it said nothing")
            raise FeatcacheError(f"npm could not fetch {PACKAGE} {VERSION}: {why}. {_how_to_get()}")
        if (digest := _digest(fetched)) != SHA256:
            raise IntegrityError(
                f"what npm fetched is not the published {PACKAGE} {VERSION}: its sha256 is {digest[:12]}…, expected "
                f"{SHA256[:12]}… (nothing was kept). {_how_to_get()}"
            )
        with storage_errors(path, elsewhere=OTHER_HOME):
            make_folder(path.parent, elsewhere=OTHER_HOME)
            with fetched.open("rb") as source:
                replace_file(path, lambda stream: shutil.copyfileobj(source, stream))


def _how_to_get() -> str:
    return (
        f"Where npm is, run npm pack {PACKAGE}@{VERSION}, and put {_ARCHIVE} at {kept_runtime()}, or name it, or "
        f"the folder of npm install {PACKAGE}, as the runtime (--runtime)"
    )
