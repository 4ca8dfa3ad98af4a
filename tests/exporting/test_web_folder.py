"""What is written for a browser, where onnxruntime-web comes from, and what is refused."""

import hashlib
import io
import json
import re
import shutil
import stat
import tarfile
from pathlib import Path

import pytest
from helpers.web_demo import CLASSES, described, fake_runtime, transforms

from featcache.errors import FeatcacheError, IntegrityError, MissingExtraError, MissingFileError, UsageError
from featcache.exporting import web_runtime as runtime_module
from featcache.exporting.web import write_web_folder
from featcache.exporting.web_runtime import kept_runtime, web_runtime

SCRIPT, PROGRAM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"


@pytest.fixture
def runtime(tmp_path):
    return fake_runtime(tmp_path / "npm")


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """No test sees what this machine keeps, or goes to the network."""
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEATCACHE_OFFLINE", "1")


def _tarball(path, version="1.2.3", names=(SCRIPT, PROGRAM)):
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            content = f"/* ONNX Runtime Web v{version} */ {name}".encode()
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def _addresses(folder):
    """Every file that the page and its scripts name."""
    page = (folder / "index.html").read_text("utf-8")
    named = set(re.findall(r'(?:href|src|data-model|data-runtime)="([^"#:]+)"', page))
    for script in folder.glob("*.js"):
        if script.name != "onnxruntime-web.js":
            named |= set(
                re.findall(r'(?:from |register\(|fetched\()"(?:\./)?([^"]+)"', script.read_text("utf-8"))
            )
    return {name.partition("?")[0] for name in named}


def test_the_folder_holds_all_that_the_page_names(tmp_path, runtime):
    files = write_web_folder(tmp_path / "web", b"the model", described(transforms()), runtime=runtime)
    names = [path.name for path in files]
    assert names == sorted(names)
    assert names == sorted(path.name for path in (tmp_path / "web").iterdir())
    named = _addresses(tmp_path / "web")
    assert named <= set(names)
    assert set(names) - named == {"index.html", "labels.txt"}  # the latter is for people
    assert not [path for path in files if "{{" in path.read_bytes().decode("utf-8", "replace")]


def test_model_labels_and_description_are_as_they_were_given(tmp_path, runtime):
    description = described(transforms(), classes=("Kätzchen", "</script><b>", "lone \udcff"), below=0.5)
    model = tmp_path / "other.onnx"
    model.write_bytes(b"the model")
    folder = tmp_path / "web"
    write_web_folder(folder, model, description, runtime=runtime)
    assert (folder / "model.onnx").read_bytes() == b"the model"
    assert (folder / "labels.txt").read_text("utf-8") == "Kätzchen\n</script><b>\nlone \\udcff\n"
    assert json.loads((folder / "preprocessing.json").read_text("utf-8")) == description
    dist = runtime / "node_modules" / "onnxruntime-web" / "dist"
    assert (folder / PROGRAM).read_bytes() == (dist / PROGRAM).read_bytes()
    assert (folder / "onnxruntime-web.js").read_bytes() == (dist / SCRIPT).read_bytes()


def test_the_service_worker_keeps_every_file_by_the_address_that_the_page_asks_for(tmp_path, runtime):
    folder = tmp_path / "web"
    names = {path.name for path in write_web_folder(folder, b"m", described(transforms()), runtime=runtime)}
    worker = (folder / "service-worker.js").read_text("utf-8")
    kept = json.loads(re.search(r"const FILES = (\[.*?\]);", worker, re.DOTALL)[1])
    assert {name.partition("?")[0] for name in kept} == names - {"service-worker.js"} | {"./"}
    page = (folder / "index.html").read_text("utf-8")
    for name in kept:
        file, _, digest = name.partition("?sha256=")
        if digest:
            assert hashlib.sha256((folder / file).read_bytes()).hexdigest().startswith(digest)
            assert f'"{name}"' in page


def test_another_model_is_another_version(tmp_path, runtime):
    texts = []
    for model in (b"one", b"one", b"two"):
        write_web_folder(tmp_path / "web", model, described(transforms()), runtime=runtime)  # in place
        texts.append((tmp_path / "web" / "service-worker.js").read_text("utf-8"))
    assert texts[0] == texts[1] != texts[2]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_page_asks_nobody_else(tmp_path, runtime):
    write_web_folder(tmp_path / "web", b"m", described(transforms()), runtime=runtime)
    for path in (tmp_path / "web").iterdir():
        if path.suffix in {".html", ".css", ".js"}:
            found = re.findall(r"https?://[^\s\"'<)]+", path.read_text("utf-8"))
            assert set(found) <= {"http://localhost:8000/"}, path.name
    assert "default-src 'none'" in (tmp_path / "web" / "index.html").read_text("utf-8")


def test_a_folder_of_something_else_is_left_alone(tmp_path, runtime):
    folder = tmp_path / "web"
    folder.mkdir()
    write_web_folder(folder, b"m", described(transforms()), runtime=runtime)  # an empty one is taken
    (folder / "index.html").write_text("my own page")
    with pytest.raises(
        UsageError, match="exists and is no page that featcache has written; name another folder, or empty it"
    ):
        write_web_folder(folder, b"m", described(transforms()), runtime=runtime)
    assert (folder / "index.html").read_text() == "my own page"
    (tmp_path / "model").write_bytes(b"")
    with pytest.raises(UsageError, match=r"output .*model is a file, expected a folder or nothing"):
        write_web_folder(tmp_path / "model", b"m", described(transforms()), runtime=runtime)


def test_what_lies_beside_the_page_is_not_lost(tmp_path, runtime):
    folder = tmp_path / "web"
    write_web_folder(folder, b"one", described(transforms()), runtime=runtime)
    (folder / "CNAME").write_text("photos.example")
    with pytest.raises(UsageError, match=r"web holds 'CNAME' beside the page, which would be lost"):
        write_web_folder(folder, b"two", described(transforms()), runtime=runtime)
    assert (folder / "CNAME").read_text() == "photos.example"
    assert (folder / "model.onnx").read_bytes() == b"one"
    (folder / "CNAME").unlink()
    write_web_folder(folder, b"two", described(transforms()), runtime=runtime)
    assert (folder / "model.onnx").read_bytes() == b"two"


@pytest.mark.parametrize("changed", [{"task": None}, {"classes": []}, {"classes": None}])
def test_features_alone_are_refused(tmp_path, runtime, changed):
    with pytest.raises(
        UsageError, match=r"this model gives features only: export a classifier, or .* \(--layer logits\)"
    ):
        write_web_folder(tmp_path / "web", b"m", described(transforms()) | changed, runtime=runtime)
    assert not (tmp_path / "web").exists()


def test_another_description_and_a_missing_model_are_refused(tmp_path, runtime):
    with pytest.raises(UsageError, match=r"not what stands beside an exported model in preprocessing\.json"):
        write_web_folder(tmp_path / "web", b"m", {"classes": CLASSES}, runtime=runtime)
    with pytest.raises(MissingFileError, match=r"no\.onnx"):
        write_web_folder(tmp_path / "web", tmp_path / "no.onnx", described(transforms()), runtime=runtime)


# ---- onnxruntime-web


@pytest.mark.parametrize(
    "place", [".", "node_modules/onnxruntime-web", "node_modules/onnxruntime-web/dist", "node_modules"]
)
def test_the_runtime_is_found_around_the_folder_that_is_named(runtime, place):
    found = web_runtime(runtime / place)
    assert found.version == "1.2.3"
    assert found.program == b"\0asm\1\0\0\0"


def test_a_tarball_of_any_version_is_read(tmp_path):
    found = web_runtime(_tarball(tmp_path / "package.tgz", "9.8.7-dev.1"))
    assert found.version == "9.8.7-dev.1"
    assert found.program.endswith(PROGRAM.encode())


def test_places_without_the_files_are_named(tmp_path, runtime):
    with pytest.raises(MissingFileError, match=r"holds no ort\.wasm\.bundle\.min\.mjs and .*\.wasm, neither"):
        web_runtime(tmp_path)
    (runtime / "node_modules" / "onnxruntime-web" / "dist" / PROGRAM).unlink()
    with pytest.raises(MissingFileError, match=r"npm install onnxruntime-web \(1\.19 or newer\)"):
        web_runtime(runtime)
    with pytest.raises(
        MissingFileError, match=r"no folder or tarball \S+ with onnxruntime-web; get it with npm install"
    ):
        web_runtime(tmp_path / "nothing")
    with pytest.raises(MissingFileError, match=r"holds no dist/ort\.wasm\.bundle\.min\.mjs and"):
        web_runtime(_tarball(tmp_path / "half.tgz", names=(SCRIPT,)))


@pytest.mark.parametrize("kept", [0, 1, 20, 150])
def test_damaged_tarballs_are_refused(tmp_path, kept):
    whole = _tarball(tmp_path / "package.tgz").read_bytes()
    (tmp_path / "package.tgz").write_bytes(whole[:kept])
    with pytest.raises(
        IntegrityError, match=r"no whole tarball of onnxruntime-web: Where npm is, run npm pack"
    ):
        web_runtime(tmp_path / "package.tgz")


def test_members_that_are_no_files_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        for name in (SCRIPT, PROGRAM):
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
            archive.addfile(member)
    with pytest.raises(MissingFileError, match="holds no dist/"):
        web_runtime(tmp_path / "package.tgz")


def _npm(monkeypatch, folder, script):
    """Put a program `npm` in front, which is this shell script."""
    folder.mkdir()
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("FEATCACHE_OFFLINE")


def _pin(monkeypatch, tarball: Path):
    monkeypatch.setattr(runtime_module, "SHA256", hashlib.sha256(tarball.read_bytes()).hexdigest())


def test_npm_fetches_it_once_and_it_is_kept(tmp_path, monkeypatch):
    tarball = _tarball(tmp_path / "published.tgz")
    _pin(monkeypatch, tarball)
    name = kept_runtime().name
    _npm(monkeypatch, tmp_path / "bin", f'echo "$@" >> {tmp_path}/asked\ncp {tarball} {name}')
    assert web_runtime().version == "1.2.3"
    assert kept_runtime().read_bytes() == tarball.read_bytes()
    assert web_runtime().version == "1.2.3"
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [f"pack --silent --ignore-scripts onnxruntime-web@{runtime_module.VERSION}"]
    monkeypatch.setenv("FEATCACHE_OFFLINE", "1")
    assert web_runtime().version == "1.2.3"


def test_what_npm_brings_must_be_the_published_one(tmp_path, monkeypatch):
    tarball = _tarball(tmp_path / "other.tgz")
    _npm(monkeypatch, tmp_path / "bin", f"cp {tarball} {kept_runtime().name}")
    with pytest.raises(
        IntegrityError, match=r"what npm fetched is not the published onnxruntime-web .*nothing was kept"
    ):
        web_runtime()
    assert not kept_runtime().exists()


@pytest.mark.parametrize(
    ("script", "why"), [("echo no such host >&2; exit 1", "no such host"), ("exit 0", "it said nothing")]
)
def test_what_npm_says_is_passed_on(tmp_path, monkeypatch, script, why):
    _npm(monkeypatch, tmp_path / "bin", script)
    with pytest.raises(
        FeatcacheError, match=rf"npm could not fetch onnxruntime-web .*: {why}\. Where npm is"
    ):
        web_runtime()


def test_what_is_kept_is_verified(tmp_path, monkeypatch):
    kept = kept_runtime()
    kept.parent.mkdir(parents=True)
    _tarball(kept)
    with pytest.raises(IntegrityError, match=r"is damaged or not onnxruntime-web .* Delete it and run again"):
        web_runtime()
    _pin(monkeypatch, kept)
    assert web_runtime().version == "1.2.3"


def test_without_a_network_or_npm_it_is_said_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(
        MissingExtraError, match=r"FEATCACHE_OFFLINE is set\. Where npm is, run npm pack .*--runtime"
    ):
        web_runtime()
    monkeypatch.delenv("FEATCACHE_OFFLINE")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=r"neither onnxruntime-web nor npm, which fetches it, is on this"
    ):
        web_runtime()
    assert not (tmp_path / "home").exists()
