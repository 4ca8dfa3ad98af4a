"""Tables and lists whose paths almost fit: what the error shows, that the option it names mends it, what is taken."""

import re
import shlex
from pathlib import Path

import pytest

from featcache.datasets import open_dataset
from featcache.errors import DataError, FeatcacheError, FeatcacheWarning, MissingFileError, UsageError


def lay_out(root: Path, files: str) -> None:
    for name in files.split("|"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def csv_of(root: Path, names: list[str], options: str = "") -> str:
    text = "path,label\n" + "".join(f'"{name}",{"ab"[n % 2]}\n' for n, name in enumerate(names))
    (root / "t.csv").write_text(text)
    return f"csv:{root / 't.csv'}{options}"


def lists_of(root: Path, names: list[str], options: str = "") -> str:
    (root / "train.txt").write_text("".join(f"{name}\t{'ab'[n % 2]}\n" for n, name in enumerate(names)))
    return f"lists:{root}{options}"


SPECS = {"csv": csv_of, "lists": lists_of}
BOTH = pytest.mark.parametrize("kind", SPECS)

# files | given names | what the error shows | the option it names
MISFITS = {
    "ids without ending, of files two folders down": (
        "jpg/train/1a.jpg|jpg/train/2b.jpg",
        ["1a", "2b"],
        "there is jpg/train/1a.jpg for '1a', jpg/train/2b.jpg for '2b'; suffix=.jpg and root=jpg/train find them",
    ),
    "paths of a drive in the cloud": (
        "img/a.jpg|img/b.jpg",
        ["/content/drive/MyDrive/x/img/a.jpg", "/content/drive/MyDrive/x/img/b.jpg"],
        "there is img/a.jpg for '/content/drive/MyDrive/x/img/a.jpg', img/b.jpg for "
        "'/content/drive/MyDrive/x/img/b.jpg'; map=/content/drive/MyDrive/x:. finds them",
    ),
    "paths of Windows": (
        "photos/a.jpg|photos/b.jpg",
        [r"C:\Users\me\img\a.jpg", r"C:\Users\me\img\b.jpg"],
        r"there is photos/a.jpg for 'C:\\Users\\me\\img\\a.jpg', photos/b.jpg for 'C:\\Users\\me\\img\\b.jpg'; "
        "map=C:/Users/me/img:photos finds them",
    ),
    "a folder is missing in front": (
        "pictures/a.jpg|pictures/b.jpg",
        ["a.jpg", "b.jpg"],
        "there is pictures/a.jpg for 'a.jpg', pictures/b.jpg for 'b.jpg'; root=pictures finds them",
    ),
    "one folder too many": (
        "c/a.jpg|c/b.jpg",
        ["data/c/a.jpg", "data/c/b.jpg"],
        "there is c/a.jpg for 'data/c/a.jpg', c/b.jpg for 'data/c/b.jpg'; map=data:. finds them",
    ),
    "a URL of another machine's file": (
        "img/a b.jpg|img/c.jpg",
        ["file:///home/you/img/a%20b.jpg", "file:///home/you/img/c.jpg"],
        "there is img/a b.jpg for 'file:///home/you/img/a%20b.jpg', img/c.jpg for 'file:///home/you/img/c.jpg'; "
        "map=/home/you:. finds them",
    ),
    "addresses of a bucket": (
        "img/a.jpg|img/b.jpg",
        ["gs://bucket/x/a.jpg", "gs://bucket/x/b.jpg"],
        "there is img/a.jpg for 'gs://bucket/x/a.jpg', img/b.jpg for 'gs://bucket/x/b.jpg'; "
        "map=gs://bucket/x:img finds them",
    ),
    "in several folders, as HAM10000": (
        "part_1/a.jpg|part_2/b.jpg|part_2/c.jpg",
        ["a", "b", "c"],
        "there is part_1/a.jpg for 'a', part_2/b.jpg for 'b', part_2/c.jpg for 'c'; "
        "suffix=.jpg and root=part_2,part_1 find them",
    ),
    "of a format that they were converted from": (
        "png/a.png|png/b.png",
        ["png/a.dcm", "png/b.dcm"],
        "there is png/a.png for 'png/a.dcm', png/b.png for 'png/b.dcm'; suffix=.png finds them",
    ),
    "ids without ending, of two formats": (
        "x/a.jpg|x/b.png",
        ["a", "b"],
        "there is x/a.jpg for 'a', x/b.png for 'b'; suffix=.jpg,.png and root=x find them",
    ),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("case", MISFITS)
def test_the_error_shows_what_is_there_and_the_option_that_mends_it(tmp_path, kind, case):
    files, names, says = MISFITS[case]
    lay_out(tmp_path, files)
    spec = SPECS[kind](tmp_path, names)
    with pytest.raises(MissingFileError, match=re.escape(says)) as caught:
        open_dataset(spec)
    [mended] = shlex.split(str(caught.value).rpartition(": ")[2])
    found = open_dataset(mended)
    assert sorted(record.read().decode() for record in found.records) == sorted(files.split("|"))
    assert found.classes == ("a", "b")
    if kind == "csv":
        assert [record.id for record in found.records] == names, "ids are the paths as written in the table"
    else:
        assert all(record.read().decode().endswith(record.id) for record in found.records), "paths as found"


SPELLINGS = {
    "backslashes": ("img/a.jpg|img/b.jpg", [r"img\a.jpg", r"img\b.jpg"]),
    "per cent": ("a b.jpg|c+d.jpg", ["a%20b.jpg", "c%2Bd.jpg"]),
    "upper case": ("img_1.jpg|img_2.jpg", ["IMG_1.JPG", "IMG_2.JPG"]),
    "case of a folder": ("Images/x/a.jpg|Images/x/b.jpg", ["images/X/a.jpg", "images/X/b.jpg"]),
    "composed letters": ("cafe\u0301.jpg|b.jpg", ["caf\u00e9.jpg", "b.jpg"]),
    "decomposed letters": ("caf\u00e9.jpg|b.jpg", ["cafe\u0301.jpg", "b.jpg"]),
    "blanks at the ends": ("a.jpg|b.jpg", [" a.jpg", "b.jpg "]),
    "dot and backslash": ("img/a.jpg|img/b.jpg", [r".\img\a.jpg", r".\img\b.jpg"]),
}


@BOTH
@pytest.mark.parametrize("case", SPELLINGS)
def test_another_spelling_is_taken_and_said(tmp_path, kind, case):
    files, names = SPELLINGS[case]
    lay_out(tmp_path, files)
    if kind == "lists" and case == "blanks at the ends":
        pytest.skip("lists never kept them")
    with pytest.warns(FeatcacheWarning, match="written otherwise than their files are called") as told:
        found = open_dataset(SPECS[kind](tmp_path, names))
    assert [record.read().decode() for record in found.records] == files.split("|")
    assert len(told) == 1
    odd = next(name for name in names if name not in files.split("|"))
    assert f"names {odd!a}, and " in str(told[0].message)


def test_a_file_url_of_this_machine_is_taken(tmp_path):
    lay_out(tmp_path, "a b.jpg|c.jpg")
    names = [f"file://{tmp_path}/a%20b.jpg", f"file://{tmp_path}/c.jpg"]
    with pytest.warns(FeatcacheWarning, match="2 of 2 images are written otherwise"):
        assert open_dataset(csv_of(tmp_path, names)).records[0].read() == b"a b.jpg"


@BOTH
def test_a_spelling_of_two_files_or_of_another_rows_file_is_not_taken(tmp_path, kind):
    """Which file is meant is not known: such a row is missing, as it was before."""
    lay_out(tmp_path, "x.jpg|Y.jpg|y.jpg|z.jpg")
    found = open_dataset(SPECS[kind](tmp_path, ["x.jpg", "z.jpg", "X.JPG", "Y.JPG"]))
    there = [record.id for record in found.records if record.size]
    assert there == ["x.jpg", "z.jpg"]


def test_a_good_table_lists_no_folder(tmp_path, monkeypatch):
    lay_out(tmp_path, "a.jpg|b.jpg")
    spec = csv_of(tmp_path, ["a.jpg", "b.jpg"])
    monkeypatch.setattr("os.scandir", lambda folder: pytest.fail(f"{folder} was listed"))
    assert len(open_dataset(spec).records) == 2


@BOTH
def test_where_some_are_missing_a_warning_names_the_option(tmp_path, kind):
    lay_out(tmp_path, "a.jpg|a2.jpg|old/b.jpg|old/c.jpg")
    spec = SPECS[kind](tmp_path, ["a.jpg", "a2.jpg", "b.jpg", "c.jpg"])
    says = r"there is old/b\.jpg for 'b\.jpg', old/c\.jpg for 'c\.jpg'; root=\.,old finds them: (.*)$"
    with pytest.warns(FeatcacheWarning, match=says) as told:
        open_dataset(spec)
    [mended] = shlex.split(str(told[0].message).rpartition(" finds them: ")[2])
    found = [record.read() for record in open_dataset(mended).records]
    assert found == [b"a.jpg", b"a2.jpg", b"old/b.jpg", b"old/c.jpg"]


def test_the_option_replaces_another_root_and_keeps_the_rest(tmp_path):
    lay_out(tmp_path, "img/a.jpg|img/b.jpg|tables/x.txt")
    (tmp_path / "t.csv").write_text("file,kind\na,x\nb,y\n")
    with pytest.raises(MissingFileError) as caught:
        open_dataset(f"csv:{tmp_path}/t.csv?root=tables&path=file&label=kind")
    assert str(caught.value).endswith(f"csv:{tmp_path}/t.csv?path=file&label=kind&suffix=.jpg&root=img'")


ONE_AFTER_ANOTHER = {
    "another ending": ("1.jpg|2.png", ["1", "2"], "?suffix=.jpg", "suffix=.jpg,.png finds them: "),
    "two names of a drive": (
        "1.jpg|2.jpg|3.jpg",
        ["/a/x/1.jpg", "/a/x/2.jpg", "/b/x/3.jpg"],
        "?map=/a/x:.",
        "a source takes one map=, and the images that it finds need the one that is given: write these paths like the "
        "others",
    ),
}


@BOTH
@pytest.mark.parametrize("case", ONE_AFTER_ANOTHER)
def test_a_second_option_does_not_take_the_first_away(tmp_path, kind, case):
    files, names, options, shows = ONE_AFTER_ANOTHER[case]
    lay_out(tmp_path, files)
    if kind == "lists" and "suffix" in options:
        pytest.skip("lists always found names without suffix")
    with pytest.warns(FeatcacheWarning, match=re.escape(shows)) as told:
        open_dataset(SPECS[kind](tmp_path, names, options))
    for spec in re.findall(r": ('?csv:\S+)$", str(told[0].message)):
        records = open_dataset(shlex.split(spec)[0]).records
        assert [record.read().decode() for record in records] == files.split("|")


def test_two_files_for_a_name_are_both_told_and_a_colon_is_read_again(tmp_path):
    lay_out(tmp_path, "images/1.jpg|images/2.jpg|thumbs/1.jpg|thumbs/2.jpg")
    with pytest.raises(
        MissingFileError, match=r"root=images finds them \(root=thumbs finds as many, other files\)"
    ):
        open_dataset(csv_of(tmp_path, ["1.jpg", "2.jpg"]))
    with pytest.raises(MissingFileError, match=r"map=/d/My%3Ax:\. finds them") as told:
        open_dataset(
            csv_of(tmp_path, ["/d/My:x/thumbs/1.jpg", "/d/My:x/thumbs/2.jpg"], "?map=/d/My%253Ax/thumbs:no")
        )
    (spec,) = re.findall(r": ('?csv:.*)$", str(told.value))
    assert open_dataset(shlex.split(spec)[0]).records[0].read() == b"thumbs/1.jpg"


def test_images_beside_the_tables_folder_are_found(tmp_path):
    lay_out(tmp_path, "images/a.jpg|images/b.jpg|labels/x.txt")
    with pytest.raises(MissingFileError, match=re.escape("there is ../images/a.jpg for 'a.jpg'")) as caught:
        open_dataset(csv_of(tmp_path / "labels", ["a.jpg", "b.jpg"]))
    assert "root=../images finds them" in str(caught.value)


@BOTH
@pytest.mark.parametrize(
    ("files", "names", "options", "says"),
    [
        ("a.jpg|b.jpg", ["a", "a.jpg", "b"], "?suffix=.jpg", r"names 'a\.jpg'.*and by the options both are the file"),
        ("n/a.jpg|n/b.jpg", ["o/a.jpg", "n/a.jpg", "o/b.jpg"], "?map=o:n", "and by the options both are the file"),
        ("n/a.jpg|n/b.jpg", ["n/a.png", "n/a.bmp", "n/b"], "?suffix=jpg", "names 'n/a.png' and .*names 'n/a.bmp'"),
    ],
)  # fmt: skip
def test_two_names_that_an_option_leads_to_one_file_are_refused_by_place(
    tmp_path, kind, files, names, options, says
):
    if kind == "lists" and names[0] == "a":
        pytest.skip("lists always found names without suffix, once for every line")
    lay_out(tmp_path, files)
    with pytest.raises(DataError, match=says) as caught:
        open_dataset(SPECS[kind](tmp_path, names, options))
    assert len(re.findall(r"(?:t\.csv|train\.txt), line \d", str(caught.value))) == 2


def test_a_name_of_two_files_is_refused_by_place(tmp_path):
    lay_out(tmp_path, "p/a.jpg|q/a.jpg|q/b.jpg|c.jpg|c.png|d.jpg")
    with pytest.raises(
        DataError, match=r"t\.csv, line 2: 'a\.jpg' can be '.*p/a\.jpg' or '.*q/a\.jpg'; write what"
    ):
        open_dataset(csv_of(tmp_path, ["a.jpg", "b.jpg"], "?root=p,q"))
    with pytest.raises(
        DataError, match=r"line 2: 'c' can be '.*c\.jpg' or '.*c\.png'; write what tells them apart"
    ):
        open_dataset(csv_of(tmp_path, ["c", "d"], "?suffix=.jpg,.png"))
    found = open_dataset(lists_of(tmp_path, ["c", "d"], "?suffix=.png"))
    assert [record.id for record in found.records] == ["c.png", "d.jpg"]


@BOTH
def test_roots_may_be_a_pattern(tmp_path, kind):
    lay_out(tmp_path, "images_001/images/a.png|images_002/images/b.png|other/b.png")
    found = open_dataset(SPECS[kind](tmp_path, ["a.png", "b.png"], "?root=images_*/images"))
    assert [record.read()[:10] for record in found.records] == [b"images_001", b"images_002"]
    with pytest.raises(
        MissingFileError, match=r"no folder .*/othr, which root=othr names; .*did you mean 'other'\?"
    ):
        open_dataset(SPECS[kind](tmp_path, ["a.png", "b.png"], "?root=othr"))


@BOTH
@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("map=images", "map=images: expected map=OLD:NEW, the beginning of the given paths and what it is here"),
        ("map=C:/Users", "map=C:/Users: expected map=OLD:NEW"),
        ("map=:images", "map=:images: nothing before the colon; a folder that is missing in front is root=images"),
        ("suffix=a/b", "suffix=a/b: 'a/b' is no ending of a file's name; expected suffix=.jpg"),
        ("suffix=.jpg&sufix=.png", "no option 'sufix'; did you mean 'suffix'?"),
        ("suffix=.jpg&suffix=.png", "option suffix is given twice"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_refused(tmp_path, kind, option, says):
    lay_out(tmp_path, "a.jpg|b.jpg")
    with pytest.raises(UsageError, match=re.escape(says)):
        open_dataset(SPECS[kind](tmp_path, ["a.jpg", "b.jpg"], f"?{option}"))


def test_an_options_value_is_part_of_where_images_come_from(tmp_path):
    lay_out(tmp_path, "a.jpg|b.jpg|o/a.jpg")
    for make in SPECS.values():
        plain, mapped = (open_dataset(make(tmp_path, ["a.jpg", "b.jpg"], way)) for way in ("", "?map=o:."))
        assert plain.location != mapped.location


def test_nothing_that_fits_is_said_with_what_is_there(tmp_path):
    lay_out(tmp_path, "a.jpg|b.jpg")
    with pytest.raises(
        FeatcacheError, match=r"another with \?root=FOLDER; .* holds 2 images, none with such a name"
    ):
        open_dataset(csv_of(tmp_path, ["x", "y"]))
