"""Names distorted in known ways: what is found is always the file that was meant, or nothing."""

import os
import random
import unicodedata
from urllib.parse import quote

import pytest

from featcache.datasets.paths.finding import Finder
from featcache.datasets.paths.near import almost_fit
from featcache.datasets.paths.options import PathOptions
from featcache.errors import DataError

COUNT = int(os.environ.get("FEATCACHE_DISTORTED", "300"))
WORDS = ("a", "b1", "IMG_2", "caf\u00e9", "x y", "%41", "d.e", "Z")
SPELL = (
    lambda name: name,
    lambda name: name.replace("/", "\\"),
    str.upper,
    lambda name: f" {name} ",
    lambda name: unicodedata.normalize("NFD", name),
    quote,
    lambda name: f"./{name}",
)
PREFIXES = ("", "/content/drive/x/", "C:\\Users\\me\\", "gs://bucket/", "data/")


def distorted(rng: random.Random) -> tuple[list[str], list[str]]:
    """Return files that exist, and the names that a table has for them."""
    folders = ["/".join(rng.choices(WORDS, k=rng.randint(0, 2))) for _ in range(rng.randint(1, 3))]
    files = sorted(
        {os.path.join(rng.choice(folders), f"{rng.choice(WORDS)}{n}.jpg") for n in range(rng.randint(1, 6))}
    )
    prefix, cut, spell = rng.choice(PREFIXES), rng.randint(0, 2), rng.choice(SPELL)
    whole = rng.random() < 0.5
    names = []
    for file in files:
        name = "/".join(file.split("/")[cut:]) or file.rpartition("/")[2]
        names.append(prefix + spell(name if whole else name.removesuffix(".jpg")))
    return files, names


def test_what_is_found_is_what_was_meant(tmp_path):
    rng = random.Random(0)
    right = missing = 0
    for number in range(COUNT):
        root = tmp_path / str(number)
        files, names = distorted(rng)
        for file in files:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).touch()
        near = almost_fit(names, files)
        told = {} if near is None else dict(near.options)
        roots = [str(root / each) for each in told.pop("root", ".").split(",")]
        finder = Finder(roots, str(root), PathOptions.read(told.get("suffix"), told.get("map")))
        for file, name in zip(files, names, strict=True):
            try:
                found = finder.find(name, "t.csv, line 2")
            except DataError:
                found = None
            alike = [each for each in files if each.rpartition("/")[2] == file.rpartition("/")[2]]
            if found is None:
                missing += 1
            elif len(alike) == 1:
                right += 1
                assert os.path.relpath(found.path, root) == file, (files, name, told)
    assert right > 4 * missing, (right, missing)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/", "\\", "a\0b", "x" * 5000, "%", "%zz", "file://", "file:///", ":"]
)
def test_no_name_is_too_odd_to_be_missing(tmp_path, name):
    (tmp_path / "a.jpg").touch()
    assert Finder([str(tmp_path)], str(tmp_path)).find(name, "t.csv, line 2") is None
    assert almost_fit([name], ["a.jpg"]) is None
