"""What a newcomer installs: a wheel, built from the tracked files without a network, holds all that featcache reads."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import pytest

from featcache.errors import MissingFileError
from featcache.images import demo_photos

ROOT = Path(__file__).resolve().parents[2]
# The first that understands `license = "Apache-2.0"` beside `license-files`.
SETUPTOOLS = (77, 0)
BUILD = "from setuptools import build_meta; build_meta.build_sdist('dist'); build_meta.build_wheel('dist')"


def _require_setuptools() -> None:
    try:
        found = version("setuptools")
    except PackageNotFoundError:
        found = "0.0"
    if tuple(map(int, found.split(".")[:2])) < SETUPTOOLS:
        pytest.skip(
            f"a wheel is built with setuptools 77 or later, here is {found}: pip install -U setuptools"
        )


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("which files belong to featcache is known in its git checkout only")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The tracked files, the names in a wheel and an sdist of a copy of them, and where the wheel is unpacked."""
    _require_setuptools()
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    tracked = _tracked()
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    done = subprocess.run(
        [sys.executable, "-c", BUILD], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = source.glob("dist/*.whl"), source.glob("dist/*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        in_wheel = {name for name in archive.namelist() if not name.endswith("/")}
    with tarfile.open(sdist) as archive:
        in_sdist = {member.name.partition("/")[2] for member in archive if member.isfile()}
    return SimpleNamespace(tracked=tracked, wheel=in_wheel, sdist=in_sdist, site=site)


def test_the_wheel_holds_every_file_of_the_package(built):
    package = {name for name in built.tracked if name.startswith("featcache/")}
    assert any(not name.endswith(".py") for name in package)
    assert package - built.wheel == set()


def test_the_wheel_holds_the_photos_of_the_demo_and_their_licences(built):
    photos = {name for name in built.tracked if name.startswith("data/textures/")}
    assert len(photos) == 360
    assert {f"featcache/{name}" for name in (*photos, "data/README.md")} - built.wheel == set()
    assert (built.site / "featcache/data/README.md").read_bytes() == (ROOT / "data/README.md").read_bytes()


def test_the_wheel_holds_nothing_else(built):
    from_package = {name for name in built.tracked if name.startswith("featcache/")}
    from_data = {f"featcache/{name}" for name in built.tracked if name.startswith("data/")}
    others = built.wheel - from_package - (from_data - {"featcache/data/make_textures.py"})
    (about,) = built.site.glob("featcache-*.dist-info")
    assert {name.partition("/")[0] for name in others} == {about.name}


def test_a_wheel_can_be_built_from_the_sdist(built):
    needed = {name for name in built.tracked if name.startswith(("featcache/", "data/textures/"))}
    needed |= {"data/README.md", "setup.py", "pyproject.toml", "README.md", "LICENSE"}
    assert needed - built.sdist == set()


def test_what_is_installed_finds_its_files_without_a_checkout(built, tmp_path):
    program = (
        "import featcache, featcache.images.demo_photos as demo, featcache.backbones.imagenet_classes as imagenet\n"
        "print(featcache.__file__, demo.demo_dataset(), len(imagenet.class_names()), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(built.site), "HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    package = built.site / "featcache"
    assert (done.returncode, done.stdout.split()) == (
        0,
        [str(package / "__init__.py"), str(package / "data" / "textures"), "1000"],
    ), done.stderr


def test_a_demo_without_its_photos_says_where_they_were_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(
        demo_photos, "__file__", str(tmp_path / "site" / "featcache" / "images" / "demo_photos.py")
    )
    text = (
        rf"neither at {tmp_path}/site/featcache/data/textures nor at {tmp_path}/site/data/textures, .*"
        "install featcache again, or run featcache extract on photos of your own"
    )
    with pytest.raises(MissingFileError, match=text):
        demo_photos.demo_dataset()
