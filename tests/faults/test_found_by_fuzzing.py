"""Files that fuzzing, or reading for it, found (``python -m tests.soak.fuzz``), and the error that they end in."""

import gzip
import hashlib
import io
import json
import re
import shutil
import socket
import struct
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.photo_folders import save_photo
from helpers.weights_server import kept_files, use_own_home
from safetensors.numpy import save

from featcache import open_dataset
from featcache.backbones.family import Download
from featcache.backbones.finetuned import read_metadata
from featcache.backbones.registry import resolve
from featcache.backbones.weights import download
from featcache.backbones.weights.readers import MAX_HEADER, read_tensors
from featcache.cache import CacheWriter, FeatureCache, list_caches, verify
from featcache.cache.layout import partial_path
from featcache.cli.commands.sweep import _from_file
from featcache.core.classifier_folder import DOCUMENT, TENSORS, read_folder
from featcache.core.identity import sha256_json
from featcache.errors import DataError, IntegrityError, MissingFileError, UsageError, WeightsError
from featcache.exporting.web_runtime import PROGRAM, web_runtime

ARCHIVE = Path(__file__).parents[1] / "data" / "archives" / "before_packages"

# Weights -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0x280, 0x380, 0x480, 0x580])
def test_a_header_as_long_as_a_pickle_begins_is_one_of_safetensors(size, tmp_path):
    """Its length is the file's first bytes: 80 02, as of a pickle of protocol 2."""
    values = {"fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    short = int.from_bytes(save(values, {"a": ""})[:8], "little")
    for filling in range(size - short - 8, size - short + 9):
        data = save(values, {"a": "x" * filling})
        if int.from_bytes(data[:8], "little") == size:
            break
    assert data[:2] == bytes([0x80, size >> 8])
    (tmp_path / "w").write_bytes(data)
    np.testing.assert_array_equal(read_tensors(tmp_path / "w")["fc.weight"], values["fc.weight"])


def test_a_header_that_the_parser_takes_a_minute_for_is_not_parsed(tmp_path, monkeypatch):
    path, size = tmp_path / "w", MAX_HEADER + 8
    path.write_bytes(struct.pack("<Q", size) + b"{" + b" " * size)

    def parse(*given: object, **more: object) -> None:
        raise AssertionError("the header was parsed")

    monkeypatch.setattr("safetensors.safe_open", parse)
    assert read_metadata(path) is None
    with pytest.raises(WeightsError, match=r"its header has 8,388,616 bytes, and at most 8,388,608 are read"):
        read_tensors(path)


def test_a_head_whose_header_the_parser_takes_a_minute_for_is_not_parsed(tmp_path, monkeypatch):
    """A classifier's checksums are only as trustworthy as who wrote it."""
    folder, size = tmp_path / "classifier", 2**20 + 8
    shutil.copytree(ARCHIVE / "classifiers" / "linear", folder)
    data = (folder / TENSORS).read_bytes()
    short = int.from_bytes(data[:8], "little")
    data = struct.pack("<Q", size) + data[8 : 8 + short].ljust(size) + data[8 + short :]
    (folder / TENSORS).write_bytes(data)
    document = json.loads((folder / DOCUMENT).read_text()) | {"head_sha256": hashlib.sha256(data).hexdigest()}
    del document["document_sha256"]
    (folder / DOCUMENT).write_text(json.dumps(document | {"document_sha256": sha256_json(document)}))
    monkeypatch.setattr("safetensors.numpy.load", lambda data: pytest.fail("the header was parsed"))
    with pytest.raises(
        IntegrityError, match=r"head\.safetensors is damaged: its header has 1,048,584 bytes, expected at"
    ):
        read_folder(folder)


# Caches ------------------------------------------------------------------------------------------------------


def test_a_version_of_thousands_of_digits_is_damage(tmp_path):
    """Python makes no number of it; the file was listed, verified and resumed with a traceback."""
    content = (ARCHIVE / "caches" / "plain.h5").read_bytes()
    place = tmp_path / "a.h5"
    for path in (place, partial_path(place)):
        path.write_bytes(content.replace(b"featcache 1\n", b"featcache %b\n" % (b"1" * 5000), 1))
    with pytest.raises(IntegrityError, match=r"a\.h5: the header is damaged"):
        FeatureCache(place)
    assert not verify(place).ok
    assert [own.state for own in list_caches(tmp_path)].count("unreadable") >= 1
    assert CacheWriter.resume(place) is None


# Answers of servers ------------------------------------------------------------------------------------------


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that gives bytes as they are; `http.server` writes no header that makes no sense."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/w.pth"
        thread.join()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", "ValueError: invalid literal for int"),
        (b"HTTP/1.1 302 Found\r\nLocation: \xf2x\r\n\r\n", "UnicodeDecodeError: 'utf-8' codec can't decode"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n", "Invalid IPv6 URL|InvalidURL"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", "Content-Length|content-length|int"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"z" * 9000 + b"\r\n",
            "ChunkedEncodingError: .{300}…",
        ),
    ],
)
def test_answers_whose_headers_make_no_sense(answer, why, tmp_path, monkeypatch):
    use_own_home(tmp_path / "home", monkeypatch)
    with answering(answer) as url:
        wanted = replace(resolve("mobilenet_v2"), file=Download(url, "ab" * 32))
        told = rf"cannot download the weights of \S+ from {re.escape(url)}: .*({why}).*\. To get them otherwise: "
        with pytest.raises(WeightsError, match=told) as caught:
            download.obtain(wanted, read_tensors)
    assert len(str(caught.value)) < 2000
    assert kept_files() == []


# Tables and lists --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        (
            "a.jsonl",
            {"path": "0.png", "label": ["x" * 50_000, 1.5]},
            r"column label: 1\.5 in a list is no name",
        ),
        (
            "a.jsonl",
            {"path": "0.png", "label": [[1] * 50_000]},
            r"column label: \[1, 1, .{60,90}… in a list is no",
        ),
        (
            "a.csv",
            "path,label,split\n0.png,cat," + "s" * 9000,
            r"column split: 's{80}…' is no split; known: train, ",
        ),
        (
            "a.csv",
            f"path,{'y' * 6000},z\n0.png,0,1\n",
            r"no column 'label' for the label; known: path, y{80}…, z; name another one with",
        ),
        (
            "a.csv",
            ",".join("c" * 9000 + str(n) for n in range(9)),
            r"no column 'path' for the path; known: c{80}…, ",
        ),
    ],
)
def test_long_values_are_shown_by_their_beginning(name, content, text, tmp_path):
    """Terminals and logs were given all of it, hundreds of thousands of characters."""
    save_photo(tmp_path / "0.png")
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=text) as caught:
        open_dataset(f"csv:{tmp_path / name}")
    assert len(str(caught.value)) < 3000


def test_long_paths_in_a_list_are_shown_by_their_beginning(tmp_path):
    (tmp_path / "list.txt").write_text("x" * 50_000 + ".png\n")
    with pytest.raises(
        MissingFileError, match=r"list\.txt, line 1 names 'x{80}…', looked for as /.{70,79}…; "
    ) as caught:
        open_dataset(f"lists:{tmp_path / 'list.txt'}", unlabelled=True)
    assert len(str(caught.value)) < 3000


# The options of a sweep --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("epochs = " + "[" * 5000, "it is nested too deeply"),
        ("epochs" + ".a" * 4000 + " = 1", "it is nested too deeply"),
        ("epochs = " + "9" * 5000, r"Exceeds the limit \(4300 digits\)"),
        ("epochs = \ud800", "'utf-8' codec can't decode"),
    ],
)
def test_options_that_toml_does_not_refuse_itself(text, why, tmp_path):
    place = tmp_path / "sweep.toml"
    place.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(
        UsageError, match=rf"sweep\.toml is not valid TOML: {why}.*; correct it, or name another file"
    ):
        _from_file(place, {"epochs": None}, context())


def test_options_of_many_dots_are_not_parsed(tmp_path):
    (tmp_path / "sweep.toml").write_text("epochs" + ".a" * 30_000 + " = 1")
    with pytest.raises(UsageError, match=r"sweep\.toml is larger than 16,384 bytes; expected a TOML file"):
        _from_file(tmp_path / "sweep.toml", {"epochs": None}, context())


def context() -> Any:
    return SimpleNamespace(get_parameter_source=lambda name: "DEFAULT")


# The package of a page's runtime -----------------------------------------------------------------------------


def header(name: str, *, kind: bytes = b"0", size: bytes = b"00000000000") -> bytes:
    """A header of tar, its checksum right."""
    block = name.encode().ljust(100, b"\0") + b"0000644\0" * 3 + size.ljust(12, b"\0") + b"00000000000\0"
    block += b" " * 8 + kind + bytes(100) + b"ustar\x0000"
    block = block.ljust(512, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


@pytest.mark.parametrize(
    "content",
    [
        header("a", kind=b"L", size=b"\x80" + bytes(6) + b"\x40" + bytes(4)),
        header("a", kind=b"x", size=b"\x80" + bytes(6) + b"\x40" + bytes(4)),
        header("a", size=b"\x80" + bytes(3) + b"\x40" + bytes(7)),
        header("a", size=b"\xff" * 10 + b"\xfe\x00") + bytes(1024),
        header("a", kind=b"x", size=b"00000000004") + b"9 a\n".ljust(512, b"\0") + header("a"),
        header("a", kind=b"L") * 3000,
    ],
    ids=["a name of a gigabyte", "pax of a gigabyte", "2^60 bytes", "negative", "pax", "names of names"],
)
def test_headers_of_a_package_that_make_no_sense(content, tmp_path):
    (tmp_path / "a.tgz").write_bytes(gzip.compress(content))
    with pytest.raises(
        (IntegrityError, MissingFileError), match=r"a\.tgz (is no whole tarball|holds no dist)"
    ):
        web_runtime(tmp_path / "a.tgz")


def test_what_is_packed_smaller_than_a_thousandth_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("featcache.exporting.web_runtime._MOST_UNPACKED", 2**20)
    content = header("a", size=b"%011o" % 2**21) + bytes(2**21) + header("b")
    (tmp_path / "a.tgz").write_bytes(gzip.compress(content))
    with pytest.raises(IntegrityError, match=r"a\.tgz is no whole tarball of onnxruntime-web"):
        web_runtime(tmp_path / "a.tgz")


@pytest.mark.parametrize("size", [511, 512, 1024])
def test_members_that_end_with_a_block_are_read_whole(size, tmp_path):
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        for name in ("ort.wasm.bundle.min.mjs", "between", PROGRAM):
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = size
            archive.addfile(member, io.BytesIO(name[:1].encode() * size))
    found = web_runtime(tmp_path / "a.tgz")
    assert (found.script, found.program) == (b"o" * size, PROGRAM[:1].encode() * size)


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\3\4", gzip.compress(b"x" * 2000, mtime=0)[:-9], gzip.compress(b"", mtime=0) + b"more"],
)
def test_what_is_no_tarball(content, tmp_path):
    (tmp_path / "a.tgz").write_bytes(content)
    with pytest.raises(
        (IntegrityError, MissingFileError), match=r"a\.tgz (is no whole tarball|holds no dist)"
    ):
        web_runtime(tmp_path / "a.tgz")
