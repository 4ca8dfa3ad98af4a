"""What the command line warns of reaches Python in the same words; each says it once."""

import warnings

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder

import featcache
from featcache.cli import main
from featcache.errors import FeatcacheWarning


def said_in_python(function, *arguments, **options) -> list[str]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        function(*arguments, **options)
    ours = [each for each in told if issubclass(each.category, FeatcacheWarning)]
    assert all(each.filename == __file__ for each in ours), "they point at the caller's line"
    return [str(each.message) for each in ours]


def said_by_command(capsys, *arguments) -> tuple[str, list[str]]:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    out, err = capsys.readouterr()
    text = err.split("next: ")[0]
    return out, [each.strip() for each in text.split("warning: ")[1:]]


@pytest.fixture
def leaking(tmp_path):
    """A cache whose test images are training images, and one class of which is not trained on."""
    features, labels = blobs(120)
    keep = np.flatnonzero(~((labels == 2) & (np.arange(120) < 80)))
    splits = np.array(["train"] * 80 + ["val"] * 20 + ["test"] * 20)[keep]
    images = np.arange(120)
    images[100:116] = images[:16]
    path = tmp_path / "leaking.h5"
    return feature_cache(
        path, features[keep], labels[keep], splits.tolist(), images=images[keep].tolist()
    ).path


def test_of_a_head(leaking, tmp_path, capsys):
    told = said_in_python(featcache.train_head, leaking, output=tmp_path / "python", head="ridge")
    assert len(told) == len(set(told)) >= 2
    assert any("cat" in text and "train" in text for text in told), told
    _, printed = said_by_command(capsys, "train-head", leaking, "-o", tmp_path / "shell", "--head", "ridge")
    assert [text.split("\n")[0] for text in printed] == told
    assert (
        said_by_command(capsys, "train-head", leaking, "-o", tmp_path / "q", "--head", "ridge", "-q")[1] == []
    )


def test_of_a_sweep(leaking, tmp_path, capsys):
    broken = tmp_path / "broken.h5"
    broken.write_bytes(b"no cache")
    given = {"head": "ridge", "l2": "1"}
    told = said_in_python(featcache.sweep, [leaking, broken], output=tmp_path / "python", **given)
    assert told[0].startswith(f"left out: {broken}")
    assert len(told) == len(set(told)) >= 3
    arguments = ("sweep", leaking, broken, "-o", tmp_path / "shell", "--head", "ridge", "--l2", "1")
    assert said_by_command(capsys, *arguments)[1] == told


def test_of_an_extraction(small_backbone, tmp_path, capsys):
    photos = photo_folder(tmp_path / "photos", {"cat": 3, "dog": 3})
    (photos / "cat" / "bad.jpg").write_text("no photo")
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    expected = ["unreadable 1 (they have no features):\n  cat/bad.jpg: not an image"]
    for _ in range(2):  # also where nothing is left to do
        assert said_in_python(featcache.extract, photos, layers="stem", output=one) == expected
    out, printed = said_by_command(capsys, "extract", photos, "--layer", "stem", "-o", two)
    assert out.count("bad.jpg") == 1, "the command's result says it"
    assert printed == [], "and not once more"
    out, printed = said_by_command(capsys, "extract", photos, "--layer", "stem", "-o", two, "--json")
    assert printed == expected, "beside one JSON object it is a warning"


def test_warnings_come_after_the_result_and_before_an_error(capsys, monkeypatch):
    from featcache.cli.console import Console

    console = Console("extract")
    console.warning("look\n  here")
    console.warning("look\n  here")
    console.warning("what the result says")
    assert capsys.readouterr().err == ""
    console.result({}, ["a result", "  what the result says"])
    assert capsys.readouterr() == ("a result\n  what the result says\n", "warning: look\n  here\n")
    console.warning("one more")
    console.fail("DataError", "it failed")
    assert capsys.readouterr().err == "warning: one more\nerror: it failed\n"
