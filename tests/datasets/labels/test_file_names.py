"""Labels in the names of files: patterns, what they find, what is refused, and where they are pointed out."""

import re
from collections import Counter

import pytest
from helpers.photo_folders import save_photo

import featcache
from featcache.core.argument_types import named_as_options
from featcache.datasets import open_dataset
from featcache.datasets.labels import file_names
from featcache.datasets.labels.file_names import NamePattern, Told
from featcache.datasets.labels.name_forms import told_classes
from featcache.errors import DataError, UsageError


def tree(root, *names: str):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def rows(data) -> list[tuple[str, str, str]]:
    return [(record.id, data.classes[record.label], record.split) for record in data.records]


# What a pattern finds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "name", "told"),
    [
        ("{label}.{}.jpg", "train/cat.0.jpg", ("cat",)),
        ("{label}_{}.jpg", "american_bulldog_12.jpg", ("american_bulldog",)),
        ("{label}_{}.JPEG", "n01440764_18.jpeg", ("n01440764",)),
        ("{}-{label}.png", "0012-sea lion.png", ("sea lion",)),
        ("{}_{label}", "0012_polar_bear.webp", ("polar_bear",)),
        ("{label} ({})", "daisy (3).png", ("daisy",)),
        ("{label}.*", "a.b.jpg", ("a",)),
        ("{split}_{label}_{group}_{}.png", "val_cat_p7_03.png", ("cat", "val", "p7")),
        ("{label}/images/{}.jpg", "train/n0144/images/n0144_3.jpg", ("n0144",)),
        ("{split}/{label}_{}.jpg", "x/test/cat_1.jpg", ("cat", "test")),
        ("{label}_{}.jpg", "cat-1.jpg", None),
        ("{label}_{}.jpg", "cat_1.png", None),
        ("{label}_{}.jpg", " _1.jpg", None),
        ("{label}+{}.jpg", "cat+1.jpg", ("cat",)),
    ],
)
def test_a_template_reads_like_the_names(pattern, name, told):
    assert NamePattern.parse(pattern).read([name]) == [told and Told(*told)]


REGEXES = [
    (r"(.+)_\d+\.jpg$", "american_bulldog_12.jpg", ("american_bulldog",)),
    (r"^(.*?)\.\d{1,4}", "train/cat.0.jpg", ("cat",)),
    (r"/([^/]+)_\d+.jpg$", "cat_1.jpg", ("cat",)),
    (r"(?P<group>p\d+)-(?P<label>[a-z]+)", "p7-cat-1.jpg", ("cat", "", "p7")),
    (r"(?P<split>train|val)/(?P<label>cat|dog)", "val/dog1.jpg", ("dog", "val")),
    (r"(?:a|b)_(c(?=at))", "a_cat.jpg", ("c",)),
    (r"(cat)|dog", "dog.jpg", None),
    (r"^([a-z]+)\d", "Ä1.jpg", None),
    (r"(\w+)\d", "Ä1.jpg", ("Ä",)),
]


def test_an_expression_is_searched_for_as_other_tools_do():
    found = [NamePattern.parse(pattern).read([name])[0] for pattern, name, _ in REGEXES]
    assert found == [told and Told(*told) for *_, told in REGEXES]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (
            "{lable}_{}.jpg",
            r"label_from '\{lable\}_\{\}\.jpg': no placeholder \{lable\}; did you mean 'label'\?",
        ),
        ("{}_{}.jpg", r"no placeholder \{label\}; expected a template such as '\{label\}_\{\}\.jpg'"),
        ("{label}_{label}.jpg", r"the placeholder \{label\} stands twice; write \{\} for one of them"),
        ("(a)(b)", r"it has 2 groups; call the one that is the label \(\?P<label>…\), and others \(\?:…\)"),
        ("cat", "it has no groups; expected a template such as"),
        ("(a", "it is no regular expression: missing \\), unterminated subpattern at position 0; expected"),
        ("(?<label>a)", r"\(in Python, groups are named \(\?P<label>…\)\)"),
        ("(?P<labels>a)", "no group called 'labels'; did you mean 'label'"),
        ("(a)" + "b" * 500, "it has 503 characters; expected at most 500"),
    ],
)
def test_a_pattern_that_says_no_label_is_refused(pattern, says):
    with pytest.raises(UsageError, match=says):
        NamePattern.parse(pattern)


@pytest.mark.parametrize("pattern", ["((?:a+)+)+b", "(?P<label>(a|aa)+)$", "(.*)*,.*,.*,.*,x"])
def test_an_expression_that_takes_for_ever_is_stopped_and_named(pattern, monkeypatch):
    monkeypatch.setattr(file_names, "_SECONDS", 0.2)
    label = pattern if "?P" in pattern else f"(?P<label>{pattern})"
    names = ["cat.jpg", "a" * 60 + "," * 30 + "!.jpg"]
    says = r"it took more than 0\.2 s for 2 names, and 'a+,+!\.jpg' was not done\. Repeats within repeats"
    with pytest.raises(UsageError, match=says):
        NamePattern.parse(label).read(names)


def test_what_a_template_could_take_long_for_runs_apart_too():
    assert NamePattern.parse("{label}_{}.jpg").plain
    assert not NamePattern.parse("{}_{}_{}_{}_{label}.jpg").plain


# Folders ----------------------------------------------------------------------------------------------------

PETS = ("american_bulldog_12.jpg", "american_bulldog_13.jpg", "Abyssinian_1.jpg", "Abyssinian_2.jpg")


def test_a_flat_folder_is_read_and_its_spec_reads_it_again(tmp_path):
    tree(tmp_path, *PETS)
    data = open_dataset(tmp_path, label_from="{label}_{}.jpg")
    assert rows(data) == [
        ("Abyssinian_1.jpg", "Abyssinian", ""),
        ("Abyssinian_2.jpg", "Abyssinian", ""),
        ("american_bulldog_12.jpg", "american_bulldog", ""),
        ("american_bulldog_13.jpg", "american_bulldog", ""),
    ]
    assert data.spec == f"folder:{tmp_path}?label_from={{label}}_{{}}.jpg"
    assert rows(open_dataset(data.spec)) == rows(data)
    assert data.location == f"folder:{tmp_path.resolve()}"  # the same image is read from the same place


def test_nested_folders_splits_and_groups(tmp_path):
    tree(tmp_path, "train/a/cat-p1.jpg", "train/dog-p2.jpg", "test/dog-p3.jpg", "test/b/c/cat-p4.jpg")
    data = open_dataset(f"folder:{tmp_path}?label_from={{label}}-{{group}}")
    assert sorted(rows(data)) == [
        ("test/b/c/cat-p4.jpg", "cat", "test"),
        ("test/dog-p3.jpg", "dog", "test"),
        ("train/a/cat-p1.jpg", "cat", "train"),
        ("train/dog-p2.jpg", "dog", "train"),
    ]
    assert sorted(record.group for record in data.records) == ["p1", "p2", "p3", "p4"]


@pytest.mark.parametrize("pattern", [r"^(.+?)\.\d+\.(?:jpg|png)$", r"(\w+)\.(?=\d)&?%?"])
def test_every_sign_of_an_expression_survives_in_the_spec(tmp_path, pattern):
    tree(tmp_path, "cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.1.png")
    data = open_dataset(tmp_path, label_from=pattern)
    assert data.classes == ("cat", "dog")
    assert rows(open_dataset(data.spec)) == rows(data)


@pytest.mark.parametrize(
    ("names", "pattern", "says"),
    [
        (
            ("cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg"),
            "{label}.{}.jpg",
            r"4 of 7 names do not fit label_from '\{label\}\.\{\}\.jpg': '1\.jpg', '2\.jpg', '3\.jpg', …; 3 do "
            r"\('cat\.0\.jpg' is 'cat'\)\. Change it so that it fits all, give the folder of those alone",
        ),
        (
            ("cat.0.jpg", "cat.1.jpg"),
            "{label}.{}.jpg",
            r"holds one class \(cat\) by its files' names; a classifier",
        ),
        (("a.txt",), "{label}.{}.jpg", r"holds no images; left out: 1 not an image by its name"),
        (
            ("trian_cat_1.jpg",),
            "{split}_{label}_{}.jpg",
            r"'trian', which .* finds in 'trian_cat_1\.jpg', is no split",
        ),
        (
            ("cat.0.jpg", "dog.0.jpg"),
            "{label}_{}",
            r"2 of 2 names do not fit .*: 'cat\.0\.jpg', 'dog\.0\.jpg'; 0",
        ),
        (("07-a.jpg", "b/07-c.png"), "{label}-{}", r"holds one class \(07\)"),
    ],
)
def test_names_that_tell_no_label_are_refused_with_the_first(tmp_path, names, pattern, says):
    tree(tmp_path, *names)
    with pytest.raises(DataError, match=says):
        open_dataset(tmp_path, label_from=pattern)


def test_the_option_is_for_folders(tmp_path):
    with pytest.raises(
        UsageError, match=r"label_from '\{label\}': it is for folders, and 'csv:x\.csv' is none"
    ):
        open_dataset("csv:x.csv", label_from="{label}")
    with pytest.raises(UsageError, match=r"it holds what is no text at position 2; write it in UTF-8"):
        open_dataset("x", label_from="(\udcff)")
    with pytest.raises(UsageError, match="says label_from=a itself; leave one out"):
        open_dataset("folder:x?label_from=a", label_from="{label}")
    with pytest.raises(UsageError, match=r"no option 'labels_from'; did you mean 'label_from'\?"):
        open_dataset("folder:x?label_from=a&labels_from=b")


@pytest.mark.parametrize("option", [{}, {"splits": "train=train,test=test1"}])
def test_test_images_that_only_have_numbers_are_left_out(tmp_path, option):
    tree(tmp_path, "train/cat.0.jpg", "train/dog.0.jpg", "test1/1.jpg", "test1/2.jpg")
    data = open_dataset(tmp_path, label_from="{label}.{}.jpg", **option)
    assert rows(data) == [("train/cat.0.jpg", "cat", "train"), ("train/dog.0.jpg", "dog", "train")]
    assert data.skipped == {"without labels (test1/)": 2}


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("test1/1.jpg", "test1/cat.9.jpg"), "1 of 4 names do not fit .*: 'test1/1.jpg'; 3 do"),
        (("val/1.jpg",), "1 of 3 names do not fit .*: 'val/1.jpg'; 2 do"),
        (("train/1.jpg", "test1/1.jpg"), "1 of 3 names do not fit .*: 'train/1.jpg'; 2 do"),
    ],
)
def test_other_names_that_do_not_fit_stay_an_error(tmp_path, names, says):
    tree(tmp_path, "train/cat.0.jpg", "train/dog.0.jpg", *names)
    with pytest.raises(DataError, match=says):
        open_dataset(tmp_path, label_from="{label}.{}.jpg")


# Where they are pointed out ---------------------------------------------------------------------------------

FORMS = {
    "dogs vs cats": (
        ("train/cat.0.jpg", "train/cat.1.jpg", "train/dog.0.jpg", "train/dog.1.jpg"),
        "cat 2, dog 2",
    ),
    "Oxford pets": (tuple(f"images/{name}" for name in PETS), "Abyssinian 2, american_bulldog 2"),
    "ImageNet": (
        ("n01440764_18.JPEG", "n01440764_36.JPEG", "n02_1.JPEG", "n02_4.JPEG"),
        "n01440764 2, n02 2",
    ),
    "Windows": (("cat (1).png", "cat (2).png", "dog (1).png", "dog (2).png"), "cat 2, dog 2"),
    "no sign": (("cat1.jpg", "cat2.jpg", "dog1.jpg", "dog12.jpg"), "cat 2, dog 2"),
    "number first": (("01-cat.jpg", "02-cat.jpg", "03-dog.png", "04-dog.png"), "cat 2, dog 2"),
    "hash behind": (("cat_a3f.jpg", "cat_b.jpg", "dog_x.jpg", "dog_7.jpg"), "cat 2, dog 2"),
}


@pytest.mark.parametrize("test", ["test", "test1", "testing_set"])
def test_names_in_the_training_folder_alone_are_pointed_out_with_its_split(tmp_path, test):
    tree(tmp_path, *(f"train/{name}.{n}.jpg" for name in ("cat", "dog") for n in range(2)), f"{test}/7.jpg")
    with (
        pytest.raises(DataError, match=r"The files' names in train/ tell classes: ") as refused,
        named_as_options(),
    ):
        open_dataset(tmp_path)
    ((pattern, splits),) = re.findall(r"--label-from '(.*)' --splits (\S+) ", str(refused.value))
    data = open_dataset(tmp_path, label_from=pattern, splits=splits)
    assert [data.classes[record.label] for record in data.records] == ["cat", "cat", "dog", "dog"]
    assert {record.split for record in data.records} == {"train"}


def test_names_that_only_repeat_the_folders_are_not_pointed_out(tmp_path):
    """Read by the names alone, the splits of these folders would be mixed."""
    tree(
        tmp_path,
        *(f"{set_}/{name}/{name}_{n}.jpg" for set_ in ("lernen", "pruefen") for name in "ab" for n in "12"),
    )
    with pytest.raises(DataError, match=r"say which folders are splits: splits train=FOLDER,test=OTHER$"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_the_error_of_a_flat_folder_points_out_a_pattern_that_works(tmp_path, form):
    names, classes = FORMS[form]
    tree(tmp_path, *names)
    with pytest.raises(DataError, match=r"The files' names tell classes: --label-from ") as refused:
        open_dataset(tmp_path)
    found = re.search(
        r"--label-from '(.+)' \(label_from= in Python\) would give 2 classes: (.+)", str(refused.value)
    )
    assert found is not None
    assert found[2] == classes
    data = open_dataset(tmp_path, label_from=found[1])
    assert len(data.records) == 4
    counts = Counter(data.classes[record.label] for record in data.records)
    assert [f"{name} {count}" for name, count in sorted(counts.items())] == classes.split(", ")


@pytest.mark.parametrize(
    "names",
    [
        ("IMG_0001.jpg", "IMG_0002.jpg", "IMG_0003.jpg"),
        ("1.jpg", "2.jpg", "3.jpg"),
        ("000bec180.jpg", "001cdf01b.jpg", "0021f9ceb.jpg"),
        ("20240101_1.jpg", "20240101_2.jpg", "20240102_1.jpg", "20240102_2.jpg"),
        ("rose.jpg", "tulip.jpg", "daisy.jpg"),
        ("cat_1.jpg", "dog_1.jpg", "owl_1.jpg"),
        ("cat_1.jpg", "cat_2.jpg", "dog_1.jpg", "dog_2.jpg", "1.jpg"),
    ],
)
def test_names_that_only_number_photos_tell_nothing(names):
    assert told_classes(names) is None


def test_a_folder_of_hugging_face_names_its_table(tmp_path):
    tree(tmp_path, "a.jpg", "metadata.jsonl")
    with pytest.raises(DataError, match=rf"Did you mean csv:{re.escape(str(tmp_path))}/metadata\.jsonl\?"):
        open_dataset(tmp_path)


# All that follows -------------------------------------------------------------------------------------------


def test_checks_and_dry_runs_take_the_same_option(tmp_path):
    for name in ("cat.0.png", "cat.1.png", "dog.0.png", "dog.1.png"):
        save_photo(tmp_path / name)
    found = featcache.check_dataset(tmp_path, label_from="{label}.{}.png")
    assert (found.classes, found.counts) == (("cat", "dog"), {"": {"cat": 2, "dog": 2}})
    assert found.spec.endswith("?label_from={label}.{}.png")
