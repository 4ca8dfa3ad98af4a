"""What almost fits, as a pure function of given names and files; a listing that is bounded."""

import pytest

from featcache.datasets.paths.near import almost_fit, list_images
from featcache.datasets.paths.options import PathOptions
from featcache.datasets.spec_options import with_options


def test_a_name_in_many_folders_is_answered_by_the_folder_that_holds_most():
    near = almost_fit(["1.jpg", "2.jpg"], ["a/1.jpg", "b/1.jpg", "b/2.jpg"])
    assert near is not None
    assert (near.options, near.fits, near.of) == ({"root": "b"}, 2, 2)


def test_roots_that_hold_the_same_name_are_not_put_together():
    near = almost_fit(["1.jpg", "2.jpg", "3.jpg"], ["a/1.jpg", "a/2.jpg", "b/2.jpg", "b/3.jpg"])
    assert near is not None
    assert (near.options, near.fits) == ({"root": "a"}, 2)


def test_many_folders_are_named_by_a_pattern():
    files = [f"images_{n:03}/images/{n}.png" for n in range(12)]
    near = almost_fit([f"{n}.png" for n in range(12)], files)
    assert near is not None
    assert (near.options, near.fits) == ({"root": "images_0*/images"}, 12)


def test_many_names_are_looked_at_in_part():
    near = almost_fit([str(n) for n in range(10_000)], [f"x/{n}.png" for n in range(10_000)])
    assert near is not None
    assert near.of <= 500
    assert near.options == {"suffix": ".png", "root": "x"}


def test_other_options_that_find_the_same_names_are_kept():
    near = almost_fit(["1.jpg", "2.jpg"], ["thumbs/1.jpg", "thumbs/2.jpg", "images/1.jpg", "images/2.jpg"])
    assert near is not None
    assert (near.options, near.also) == ({"root": "images"}, ({"root": "thumbs"},))
    near = almost_fit(["1", "2"], ["1.png", "1.jpg", "2.jpg", "2.png"])
    assert near is not None
    assert (near.options, near.also) == ({"suffix": ".jpg"}, ({"suffix": ".png"},))
    near = almost_fit(["/a/1.jpg", "/b/2.jpg"], ["1.jpg", "2.jpg"])
    assert near is not None
    assert near.also == ()  # it finds other names


def test_the_root_that_was_given_comes_before_others():
    near = almost_fit(["1", "2"], ["1.jpg", "2.jpg", "own/1.png", "own/2.png"], root="own")
    assert near is not None
    assert near.options == {"suffix": ".png"}


@pytest.mark.parametrize(
    ("names", "files", "options", "fits"),
    [
        (  # 2 of the 4 are in another folder, too, whose path agrees further
            [f"/drive/train/{n}.jpg" for n in range(4)],
            [*(f"bt/{n}.jpg" for n in range(4)), "old/train/0.jpg", "old/train/1.jpg"],
            {"map": "/drive/train:bt"},
            4,
        ),
        (
            [f"/drive/train/{n}" for n in range(4)],
            [*(f"bt/{n}.png" for n in range(4)), "old/train/0.png"],
            {"suffix": ".png", "map": "/drive/train:bt"},
            4,
        ),
        (
            ["train/0.jpg", "train/1.jpg", "train/2.jpg"],
            ["bt/0.jpg", "bt/1.jpg", "bt/2.jpg", "x/train/0.jpg"],
            {"map": "train:bt"},
            3,
        ),
        (
            ["cat/0.jpg", "cat/1.jpg", "dog/0.jpg"],
            ["a/cat/0.jpg", "a/cat/1.jpg", "a/dog/0.jpg", "b/a/cat/0.jpg"],
            {"root": "a"},
            3,
        ),
        (  # what the option does not find is not counted
            ["/d/0.jpg", "/d/1.jpg", "/e/0.jpg"],
            ["i/0.jpg", "i/1.jpg"],
            {"map": "/d:i"},
            2,
        ),
        (["0", "1"], ["0.png", "1.png", "x/0.png"], {"suffix": ".png"}, 2),
    ],
)
def test_the_count_is_of_what_the_option_finds(names, files, options, fits):
    near = almost_fit(names, files)
    assert near is not None
    assert (near.options, near.fits, near.of) == (options, fits, len(names))


def test_what_has_no_likeness_fits_nothing():
    assert almost_fit(["x", "y/z.jpg"], ["a.jpg"]) is None
    assert almost_fit(["x"], []) is None


def test_a_listing_is_bounded_upper_folders_first_and_links_do_not_lead_round(tmp_path):
    for name in ("a.jpg", "x/b.jpg", "x/y/c.jpg", "x/note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "x" / "round").symlink_to(tmp_path / "x")
    assert list_images(str(tmp_path)) == ["a.jpg", "x/b.jpg", "x/y/c.jpg"]
    assert list_images(str(tmp_path), most=2) == ["a.jpg"]
    assert list_images(str(tmp_path), seconds=0) == []
    assert list_images(str(tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("option", "name", "mapped"),
    [
        ("C:\\x:D:\\y", "C:\\x\\a.jpg", "D:\\y/a.jpg"),
        ("C:/x:img", "C:/x/a.jpg", "img/a.jpg"),
        ("C:img", "C/a.jpg", "img/a.jpg"),
        ("/:img", "/k/a.jpg", "img/k/a.jpg"),
        ("a:", "a/b.jpg", "b.jpg"),
        ("file:///d:img", "/d/b.jpg", "img/b.jpg"),
        ("s3://b/c:img", "s3://b/c/d/e.jpg", "img/d/e.jpg"),
        ("a b:img", "a%20b/c.jpg", "img/c.jpg"),
        ("/d/My Drive%3Ax:img", "/d/My Drive:x/c.jpg", "img/c.jpg"),
        ("/d%3Ax:img", "/d%3Ax/c.jpg", "img/c.jpg"),
        ("img:new", "images/a.jpg", None),
        ("img/:new", "img/a.jpg", "new/a.jpg"),
    ],
)
def test_a_map_knows_drives_and_whole_folders(option, name, mapped):
    assert PathOptions.read(map=option).mapped(name) == mapped


def test_options_are_written_so_that_they_are_read_again():
    assert with_options("csv:t.csv", {"root": "a&b?c%d"}) == "csv:t.csv?root=a%26b%3Fc%25d"
    assert with_options("csv:we?ird.csv?", {"root": "a"}) == "csv:we?ird.csv?root=a"
    assert with_options("lists:x?root=a&map=b:c", {"root": "d"}) == "lists:x?map=b:c&root=d"
