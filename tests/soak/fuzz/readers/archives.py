"""Archives: shards of samples, and the package of npm that a page's runtime is taken from."""

import gzip
import io
import json
import random
import tarfile
import zlib
from pathlib import Path

from featcache import open_dataset
from featcache.errors import FeatcacheError
from featcache.exporting.web_runtime import PROGRAM, web_runtime

from ..mutators import changed_bytes, changed_json
from ..reader import Reader, Subject
from .tables import walk

_BLOCK = tarfile.BLOCKSIZE
_FIELDS = (
    (0, 100),
    (100, 8),
    (108, 8),
    (124, 12),
    (136, 12),
    (156, 1),
    (157, 100),
    (257, 8),
    (265, 32),
    (329, 8),
    (345, 155),
)
"""Places of a header's fields: name, mode, owner, size, time, type, link, magic, user, device, prefix."""
_VALUES = (
    b"",
    b"0",
    b"-1",
    b"77777777777",
    b"\x80" + bytes(10) + b"\x10",
    b"\xff" * 12,
    b"00000000010\0",
    b"../x.jpg",
    b"/x.jpg",
    b"x",
    b"L",
    b"g",
    b"S",
    b"K",
    b"5",
    b"1",
    b"\0",
    b"a.json",
)


def _shard(form: int, **members: bytes | str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    body = stream.getvalue().rstrip(b"\0")  # tarfile writes 20 blocks
    return body + bytes(-len(body) % _BLOCK + 2 * _BLOCK)


def _seeds() -> list[bytes]:
    pets = {
        "a/0.jpg": b"first",
        "a/0.cls": "0",
        "a/1.jpg": b"second",
        "a/1.json": json.dumps({"label": 1, "split": "test"}),
    }
    long = {f"{'d' * 90}/{'e' * 90}/{n}.{kind}": str(n) for n in range(2) for kind in ("jpg", "cls")}
    named = {"ü 0.png": b"x", "ü 0.json": '{"label": "cat"}', "1.png": b"y", "1.json": '{"label": "dog"}'}
    forms = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    return [_shard(form, **members) for form in forms for members in (pets, long, named)]


def _changed_shard(data: bytes, chance: random.Random) -> bytes:
    """Change a field of a header, and make its checksum right again; or a member's content."""
    content = bytearray(data)
    places = [
        at for at in range(0, len(content) - _BLOCK + 1, _BLOCK) if content[at + 257 : at + 262] == b"ustar"
    ]
    for _ in range(chance.randint(1, 3) if places else 0):
        at = chance.choice(places)
        if chance.random() < 0.3:  # the block behind it: a label, or what a pax or a long name's header says
            body = bytes(content[at + _BLOCK : at + 2 * _BLOCK])
            text = (
                changed_json(body.rstrip(b"\0"), chance)
                if b"{" in body
                else changed_bytes(body, chance, [], _VALUES)
            )
            content[at + _BLOCK : at + 2 * _BLOCK] = text[:_BLOCK].ljust(_BLOCK, b"\0")
            continue
        start, size = chance.choice(_FIELDS)
        value = chance.choice(_VALUES) if chance.random() < 0.7 else chance.randbytes(size)
        content[at + start : at + start + size] = value[:size].ljust(size, b"\0")
        content[at + 148 : at + 156] = b" " * 8
        content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + _BLOCK])
    return bytes(content)


def _tar(folder: Path) -> Subject:
    place = folder / "shard.tar"

    def use(data: bytes) -> None:
        place.write_bytes(data)
        failed = None
        for unlabelled in (True, False):
            try:
                walk(open_dataset(f"tar:{place}", unlabelled=unlabelled))
            except FeatcacheError as error:
                failed = error
        if failed:
            raise failed

    return Subject(_seeds(), use, _changed_shard, words=(b"ustar\x0000", b"ustar  \0", bytes(_BLOCK)))


def _package() -> bytes:
    members = {
        "package/package.json": "{}",
        "package/dist/ort.wasm.bundle.min.mjs": "// ONNX Runtime Web v1.30.0",
        f"package/dist/{PROGRAM}": b"\0asm",
    }
    return _shard(tarfile.USTAR_FORMAT, **members)


def _npm(folder: Path) -> Subject:
    """The tarball of a package: what is fuzzed is what is in it, and one bit in ten of the packed bytes."""
    place = folder / "runtime.tgz"

    def use(data: bytes) -> None:
        place.write_bytes(data)
        found = web_runtime(place)
        assert isinstance(found.script, bytes)

    def mutate(data: bytes, chance: random.Random) -> bytes:
        try:
            inside = gzip.decompress(data)
        except (OSError, EOFError, ValueError, ArithmeticError, zlib.error):
            return data
        return gzip.compress(_changed_shard(inside, chance), 1, mtime=0)

    return Subject([gzip.compress(_package(), mtime=0)], use, mutate)


READERS = (Reader("tar", _tar), Reader("npm", _npm))
