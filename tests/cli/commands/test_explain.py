"""``featcache explain``: files of three kinds, what is said, and what is refused."""

import json
from dataclasses import replace
from importlib.util import find_spec

import pytest
from helpers.tiny_finetuning import registered, tiny_network, tiny_photos

from featcache import extract, train_head

pytestmark = pytest.mark.skipif(find_spec("jinja2") is None, reason="the extra report is not installed")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with registered():
        root = tmp_path_factory.mktemp("made")
        network = tiny_network()
        photos = tiny_photos(root / "photos", train=4)
        cache = extract(
            photos, backbone=network, layers=("pool",), image_statistics=False, output=root / "f.h5"
        )
        replace(train_head(cache, head="ridge", output=None), network=network).save(root / "c")
        (root / "bad.jpg").write_bytes(b"nothing")
        yield root


@pytest.fixture
def photo(made):
    return sorted(made.glob("photos/test/*/*"))[0]


def test_a_page_a_picture_or_both(cli, made, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = cli("explain", made / "c", photo, made / "bad.jpg")
    assert ran.code == 0, ran.err
    first, good, *remarks, bad, last = ran.out.splitlines()
    assert all(line.startswith("  ") for line in remarks)
    assert first.startswith("Exact class-activation map at block_3")
    # Without the folder that both photos are in.
    assert good.startswith(f"{photo.relative_to(made)}  ")
    assert bad == "bad.jpg  cannot be explained: not an image: text; copy or download it again"
    assert last == "explain.html: written"
    assert ran.err.splitlines()[-1] == "next: open explain.html in a browser"
    ran = cli("explain", made / "c", photo, "-o", "both", "--json")
    document = json.loads(ran.out)["result"]
    assert document["written"] == ["both/explain.html", "both/explain.png", "both/explain.json"]
    kept = json.loads((tmp_path / "both" / "explain.json").read_text())
    assert len(kept["photos"][0]["heats"][0]["map"]) == 8
    assert "map" not in document["photos"][0]["heats"][0]


def test_channels_and_filters(cli, made, photo, tmp_path):
    ran = cli("explain", made / "c", photo, "--activations", "block_2", "-o", tmp_path / "a.png")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("The channels of block_2 that answer most to a photo")
    ran = cli("explain", made / "c", "--filters", "-o", tmp_path / "f.html")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("The 3×3 filters of block_1.conv.kernel, 6 of 6")
    assert (tmp_path / "f.html").read_text().count("<img") == 6


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", "no classifier and no photos given"),
        ("{c}", r"no images given: featcache explain \S+/c PHOTO…"),
        ("{photo}", "is a photo, and the classifier comes first: featcache explain CLASSIFIER"),
        ("{photo} {c}", "is a classifier, which comes first"),
        ("efficientnet_lite0 {photo}", "for its own classes: featcache explain --backbone efficientnet_lite0"),
        ("{c} {photo} -o x.txt", r"expected a page \(\.html\), a picture \(\.png\), or a folder's name"),
        ("{c} {photo} --filters", "takes no photos; leave them out"),
        ("{c} {photo} --activations block_2 --filters", "two pictures; ask for one of them"),
        ("{c} {photo} --activations block_2 --stage block_1", "--stage is about heat, and --activations shows none"),
        ("{c} {photo} --activations pool", r"stage 'pool' is no map but \(10,\); maps are block_3, block_2, block_1"),
        ("{c} {photo} --stage pool", r"stage 'pool' is no map"),
        ("{c} {photo} --class bird", "no class 'bird'"),
        ("{c} {photo} --weights w.pth", "--weights goes with --backbone"),
        ("{c} {photo} -o {photo}.png/x.html", "cannot|no folder|not a folder"),
    ],
)  # fmt: skip
def test_refused(cli, made, photo, arguments, text):
    import re

    given = [part.format(c=made / "c", photo=photo) for part in arguments.split()]
    ran = cli("explain", *given)
    assert ran.code != 0
    assert re.search(text, ran.err), ran.err
    assert "unexpected" not in ran.err


def test_nothing_read_ends_with_an_error(cli, made, tmp_path):
    ran = cli("explain", made / "c", made / "bad.jpg", "-o", tmp_path / "x.html")
    assert (ran.code, ran.err.splitlines()[-1]) == (3, "error: none of the images could be read")
