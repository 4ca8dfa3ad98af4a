"""Cells of tables: lists as text, several labels with a sign between them, one-hot columns, numbers with ``.0``."""

import pytest

from featcache.datasets import open_dataset
from featcache.datasets.labels.cells import combined, lists_in_text
from featcache.datasets.names import confusable
from featcache.errors import DataError, FeatcacheWarning, UsageError


def table(root, header: str, *lines: str, name: str = "t.csv", files: bool = True) -> str:
    """Write a table; lines begin with an image's name."""
    for line in lines:
        if files and not line.startswith("{"):
            (root / line.split(",")[0]).write_bytes(line.encode())
    (root / name).write_text("\n".join([header, *lines] if header else lines) + "\n", encoding="utf-8")
    return f"csv:{root / name}"


def labelled(root, *cells: str, query: str = "") -> str:
    return table(root, "path,label", *(f"{i}.jpg,{cell}" for i, cell in enumerate(cells))) + query


def said(spec: str):
    """Open a dataset that is said something of; returns it with the words."""
    with pytest.warns(FeatcacheWarning) as warned:
        data = open_dataset(spec)
    return data, [str(one.message) for one in warned]


def learnt(data) -> list:
    if data.task == "classes":
        return [data.classes[record.label] for record in data.records]
    return [tuple(map(int, record.target)) for record in data.records]


# Whole numbers that a data frame wrote with a fraction ------------------------------------------------------

WHOLE = {
    "0.0 to 2.0": (("0.0", "1.0", "2.0", "1.0"), ["0", "1", "2", "1"], "0.0 is 0"),
    "by value": (("10.0", "9.0", "9.0"), ["10", "9", "9"], "10.0 is 10"),
    "mixed spellings": (("1", "2.0", "1.0"), ["1", "2", "1"], "2.0 is 2"),
    "no digit behind": (("1.", "2.", "1."), ["1", "2", "1"], "1. is 1"),
    "exponents": (("1e0", "2e0", "1.0"), ["1", "2", "1"], "1e0 is 1"),
    "negative": (("-1.0", "0.0", "1.0"), ["-1", "0", "1"], "-1.0 is -1"),
}


@pytest.mark.parametrize("case", WHOLE)
def test_numbers_without_any_fraction_are_classes_and_it_is_said(tmp_path, case):
    cells, labels, example = WHOLE[case]
    spec = labelled(tmp_path, *cells)
    data, (words,) = said(spec)
    assert (data.task, learnt(data)) == ("classes", labels)
    classes = sorted(set(labels), key=int)
    assert list(data.classes) == classes
    assert words == (
        f"{spec}: column label holds whole numbers ({example}): {len(classes)} classes, {', '.join(classes)}; "
        "task=numbers takes them as numbers"
    )
    assert open_dataset(f"{spec}?task=numbers").task == "numbers"


def test_fractions_gaps_and_what_is_asked_for_stay_as_they_were(tmp_path):
    assert open_dataset(labelled(tmp_path, "0.0", "1.5", "2.0")).task == "numbers"
    assert open_dataset(labelled(tmp_path, "0.0", "1e30", "0.5")).task == "numbers"
    assert open_dataset(labelled(tmp_path, "0.0", "1.0", query="?task=classes")).classes == ("0.0", "1.0")
    for cell in ("", "nan"):
        with pytest.raises(DataError, match=r"line 3, column label: (no label|'nan' is no number)"):
            open_dataset(labelled(tmp_path, "0.0", cell, *["1.0"] * 10))


@pytest.mark.parametrize("gap", ["nan", "NaN", "<NA>"])
def test_gaps_among_numbers_are_refused_and_no_class_however_many(tmp_path, gap):
    with pytest.raises(
        DataError, match=f"line 4, column label: '{gap}' is no number, and all 8 others but such are"
    ):
        open_dataset(labelled(tmp_path, *["0.0", "1.0", gap] * 4))
    assert gap in open_dataset(labelled(tmp_path, *["0.0", "1.0", gap] * 4, query="?task=classes")).classes


def test_a_class_that_is_how_a_data_frame_writes_a_gap_is_said(tmp_path):
    spec = labelled(tmp_path, *["cat", "dog", "nan"] * 2)
    data, (words,) = said(spec)
    assert data.classes == ("cat", "dog", "nan")
    assert words == (
        f"{spec}: the label 'nan' of 2 rows in column label is taken as a class, and is how data frames write what is "
        "missing; if it is, no_label=skip leaves these rows out, else task=classes takes it in silence"
    )


@pytest.mark.parametrize("name", ["NA", "None", "null", "N/A", "True", "-1", "10%", "2020-01-01"])
def test_names_of_classes_that_only_look_odd_are_taken_in_silence(tmp_path, name):
    data = open_dataset(labelled(tmp_path, *[name, "x"] * 3))
    assert {name, "x"} == {*data.classes}


def test_numbers_too_large_to_be_whole_stay_numbers(tmp_path):
    assert open_dataset(labelled(tmp_path, "1e20", "2e20", "1e20")).task == "numbers"


# One-hot columns --------------------------------------------------------------------------------------------

ONE_HOT = {
    "three": ("healthy,rust,scab", ("1,0,0", "0,1,0", "0,0,1"), ["healthy", "rust", "scab"]),
    "with fractions": ("NV,MEL", ("1.0,0.0", "0.0,1.0", "1.0,0.0"), ["NV", "MEL", "NV"]),
    "a and not a": ("cat,not_cat", ("1,0", "0,1", "0,1"), ["cat", "not_cat", "not_cat"]),
    "words": ("x,y", ("true,false", "False,TRUE"), ["x", "y"]),
    "order of the columns": ("z,a", ("0,1", "1,0"), ["a", "z"]),
    "spaces": ("x,y", (" 1, 0", "0 ,1 "), ["x", "y"]),
}


@pytest.mark.parametrize("case", ONE_HOT)
def test_columns_with_one_1_in_every_row_are_classes_and_it_is_said(tmp_path, case):
    names, cells, labels = ONE_HOT[case]
    spec = table(tmp_path, f"path,{names}", *(f"{i}.jpg,{cell}" for i, cell in enumerate(cells)))
    data, (words,) = said(f"{spec}?label={names}")
    assert (data.task, data.classes, learnt(data)) == ("classes", tuple(names.split(",")), labels)
    assert words == (
        f"{spec}: exactly one of the columns {names.replace(',', ', ')} is 1 in every row: they are taken for classes, "
        "one for each image; task=answers takes them for answers, any number for an image"
    )
    assert learnt(open_dataset(f"{spec}?label={names}&task=classes")) == labels
    answers = open_dataset(f"{spec}?label={names}&task=answers")
    assert answers.task == "answers"
    assert all(sum(row) == 1 for row in learnt(answers))


def test_a_column_without_any_1_is_a_class_without_images(tmp_path):
    spec = table(tmp_path, "path,a,UNK,b", "0.jpg,1,0,0", "1.jpg,0,0,1")
    data, _ = said(f"{spec}?label=a,UNK,b")
    assert (data.classes, data.skipped) == (("a", "b"), {"class without images (UNK)": 1})


@pytest.mark.parametrize(("cells", "count"), [("0,0", 0), ("1,1", 2)])
def test_any_other_row_makes_answers_and_is_named_where_classes_are_asked_for(tmp_path, cells, count):
    spec = table(tmp_path, "path,a,b", "0.jpg,1,0", "1.jpg,0,1", f"2.jpg,{cells}") + "?label=a,b"
    assert open_dataset(spec).task == "answers"
    with pytest.raises(
        UsageError, match=rf"exactly one 1 in every row; .*t\.csv, line 4 has {count}; several labels"
    ):
        open_dataset(f"{spec}&task=classes")


def test_a_single_column_of_0_and_1_is_classes_as_before(tmp_path):
    assert open_dataset(labelled(tmp_path, "0", "1")).classes == ("0", "1")


# Several labels in a cell -----------------------------------------------------------------------------------

PLANTS = ("scab", "rust", "scab rust", "complex", "scab rust complex", "healthy", "rust complex")
XRAYS = ("No Finding", "Cardiomegaly|Effusion", "Effusion", "Hernia|Cardiomegaly")


@pytest.mark.parametrize(
    ("cells", "separator", "example"),
    [
        (PLANTS, " ", "'scab rust' is 'scab' and 'rust'"),
        (XRAYS, "|", "'Hernia|Cardiomegaly' is 'Hernia' and 'Cardiomegaly'"),
        (("a;b", "b", "c"), ";", "'a;b' is 'a' and 'b'"),
        (("a, b", "b, c", "a, c"), ",", "'a, b' is 'a' and 'b'"),
        (("0", "16 0", "16", "5", "5 16"), " ", "'16 0' is '16' and '0'"),
        (("cat", "dog", "cat+dog"), "+", "'cat+dog' is 'cat' and 'dog'"),
        (("cat & dog", "dog", "cat"), "&", "'cat & dog' is 'cat' and 'dog'"),
        # All combinations of few tags, hardly one of which is alone.
        ([f"{a} {b} {c}" for a in "pq" for b in "rs" for c in "tuvw"], " ", "'p r t' is 'p' and 'r' and 't'"),
    ],
)
def test_cells_that_are_combinations_are_found_by_counting(cells, separator, example):
    found = combined(cells)
    assert found is not None
    assert (found.separator, found.example) == (separator, example)


@pytest.mark.parametrize(
    "names",
    [
        ("polar bear", "black bear", "cat"),
        ("bear", "polar bear", "black bear"),
        ("great dane", "great pyrenees", "pyrenees shepherd"),
        ("tench, Tinca tinca", "goldfish, Carassius auratus", "crane", "crane, derrick"),
        ("red car", "blue car", "red bus", "blue bus"),
        ("hot dog", "dog", "pizza"),
        ("AC/DC", "rock"),
        ("cat", "dog"),
        ("", " ", "|"),
    ],
)
def test_names_of_several_words_are_no_combinations(names):
    assert combined(names) is None


def test_combinations_are_pointed_out_and_stay_classes(tmp_path):
    spec = labelled(tmp_path, *PLANTS)
    data, (words,) = said(spec)
    assert (data.task, len(data.classes)) == ("classes", 7)
    assert words == (
        f"{spec}: 3 of 7 labels in column label look like several of 4 labels ('scab rust' is 'scab' and 'rust'), and "
        "each is a class of its own; sep=space takes them apart, task=classes leaves them as they are"
    )


@pytest.mark.parametrize(
    ("cells", "query", "classes", "targets"),
    [
        (("a b", "b", "c"), "sep=space", ("a", "b", "c"), [(1, 1, 0), (0, 1, 0), (0, 0, 1)]),
        (("a|b", "b", "a"), "sep=|", ("a", "b"), [(1, 1), (0, 1), (1, 0)]),
        (("a;b", "b", "a"), "sep=;", ("a", "b"), [(1, 1), (0, 1), (1, 0)]),
        (('"a, b"', "b", "a"), "sep=,", ("a", "b"), [(1, 1), (0, 1), (1, 0)]),
        (("a&b", "b", "a"), "sep=%26&task=answers", ("a", "b"), [(1, 1), (0, 1), (1, 0)]),
        (("a b|b", "b|", "a b"), "sep=pipe", ("a b", "b"), [(1, 1), (0, 1), (1, 0)]),
        (("10 2", "2", "10"), "sep=space", ("2", "10"), [(1, 1), (1, 0), (0, 1)]),
        (("a::b", "b", "a"), "sep=::", ("a", "b"), [(1, 1), (0, 1), (1, 0)]),
    ],
)
def test_sep_takes_cells_apart(tmp_path, cells, query, classes, targets):
    data = open_dataset(labelled(tmp_path, *cells, query=f"?{query}"))
    assert (data.task, data.classes, learnt(data)) == ("answers", classes, targets)


def test_task_answers_finds_the_sign_and_says_it(tmp_path):
    spec = labelled(tmp_path, *XRAYS)
    data, (words,) = said(f"{spec}?task=answers")
    assert data.classes == ("Cardiomegaly", "Effusion", "Hernia", "No Finding")
    assert words == (
        f"{spec}: 'Hernia|Cardiomegaly' is 'Hernia' and 'Cardiomegaly': cells of column label hold several labels, "
        "taken apart as sep=| says"
    )


@pytest.mark.parametrize(
    ("cells", "query", "error", "says"),
    [
        (
            ("a", "b"),
            "sep=|",
            DataError,
            r"no cell of column label has '\|' between labels; say sep=SIGN, or leave",
        ),
        (
            ("a;b", "b"),
            "sep=|",
            DataError,
            r"has '\|' between labels; there is ';'; say sep=;, or leave it out",
        ),
        (
            ("a|b", "b"),
            "sep=|&task=classes",
            UsageError,
            r"multilabel \(task=answers\), not task=classes; leave one",
        ),
        (("a|b", ""), "sep=|", DataError, r"line 3, column label: no label; expected one in every row"),
        (
            ("polar bear", "cat"),
            "task=answers",
            DataError,
            r"'polar bear' is no answer .*: sep=",
        ),
        (("a|b", "b|a"), "sep=|", DataError, r"all images have the same answers \(a, b\)"),
        (("1", "2"), "sep=|&task=numbers", UsageError, r"not task=numbers; leave one of the two out"),
    ],
)
def test_what_sep_does_not_fit_is_refused(tmp_path, cells, query, error, says):
    with pytest.raises(error, match=says):
        open_dataset(labelled(tmp_path, *cells, query=f"?{query}"))


def test_sep_is_for_one_column(tmp_path):
    spec = table(tmp_path, "path,a,b", "0.jpg,1,0", "1.jpg,0,1") + "?label=a,b&sep=|"
    with pytest.raises(
        UsageError, match=r"sep= is for one column of classes or answers, not for a, b as one each"
    ):
        open_dataset(spec)


# Lists as text ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "classes", "targets"),
    [
        (('"[""a"",""b""]"', '"[""b""]"'), ("a", "b"), [(1, 1), (0, 1)]),
        (("\"['a', 'b']\"", "['b']"), ("a", "b"), [(1, 1), (0, 1)]),
        (("[]", '"[""a""]"'), ("a",), [(0,), (1,)]),
        (('" [""a, b"", ""c""] "', '"[""c""]"'), ("a, b", "c"), [(1, 1), (0, 1)]),
        (('"[""it\'s"", \'a\']"', "['a']"), ("a", "it's"), [(1, 1), (1, 0)]),
        (('"[""\\u00e9""]"', '"[""a""]"'), ("a", "é"), [(0, 1), (1, 0)]),
    ],
)
def test_lists_in_a_column_of_text_are_answers(tmp_path, cells, classes, targets):
    data = open_dataset(labelled(tmp_path, *cells))
    assert (data.task, data.classes, learnt(data)) == ("answers", classes, targets)


def test_a_text_among_lists_is_named_and_few_lists_are_names(tmp_path):
    with pytest.raises(
        DataError, match=r"line 3, .*: 'b' is no list, and others in this column are; .*\?task=classes"
    ):
        open_dataset(labelled(tmp_path, "['a']", "b"))
    assert open_dataset(labelled(tmp_path, "['a']", "b", "c")).classes == ("['a']", "b", "c")
    assert open_dataset(labelled(tmp_path, "['a']", "['b']", query="?task=classes")).classes == (
        "['a']",
        "['b']",
    )


@pytest.mark.parametrize(
    "cell", ["[" * 50_000 + "]" * 50_000, "['a'" * 9999 + "]", "[{}]", "[1.5]", "[true]", "[x]"]
)
def test_what_only_looks_like_a_list_is_text(cell):
    assert lists_in_text([cell, cell]) is None


# Names that are one -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ("café", "cafe\u0301", r"'caf\xe9' and 'cafe\u0301'"),
        ("Cat", "cat", "'Cat' and 'cat'"),
        ("ﬁsh", "fish", r"'\ufb01sh' and 'fish'"),
        ("sea\u00a0lion", "sea lion", r"'sea\xa0lion' and 'sea lion'"),
        ("STRASSE", "straße", "'STRASSE' and 'straße'"),
        ("Ａ", "a", "'Ａ' and 'a'"),
    ],
)
def test_labels_that_are_one_name_are_named_as_a_pair(tmp_path, one, other, shown):
    data, (words,) = said(labelled(tmp_path, one, other, "dog"))
    assert len(data.classes) == 3
    first, second = shown.split(" and ")
    pairs = (f"{first} and {second}", f"{second} and {first}")  # classes are in natural order
    rest = "differ only in case, blanks or the form of their letters; if they are one, write it the same way everywhere"
    assert words in {f"{data.spec}: classes {pair} {rest}" for pair in pairs}


def test_paths_that_are_one_file_are_named_as_a_pair(tmp_path):
    table(tmp_path, "path,label", "a.jpg,cat", "b.jpg,dog")
    (tmp_path / "t.csv").write_text("path,label\na.jpg,cat\nA.JPG,cat\nb.jpg,dog\n")
    _, (missing, words) = said(f"csv:{tmp_path / 't.csv'}")
    assert "1 of 3 images are missing, such as 'A.JPG'" in missing
    assert words.endswith(
        f"paths 'a.jpg' and 'A.JPG' ({tmp_path}/t.csv, line 2 and {tmp_path}/t.csv, line 3) differ only in case, "
        "blanks or the form of their letters, and are not files of their own; write what the file is called"
    )


def test_two_files_of_such_names_are_their_owners_business(tmp_path, recwarn):
    open_dataset(table(tmp_path, "path,label", "a.jpg,cat", "A.jpg,dog"))
    assert not [one for one in recwarn if issubclass(one.category, FeatcacheWarning)]


def test_groups_of_confusable_names():
    assert confusable(["b", "a", "A ", "c", "B", "a", "\u212b", "å"]) == [
        ("b", "B"),
        ("a", "A "),
        ("\u212b", "å"),
    ]
    assert confusable([]) == []


# Columns under other names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "path", "label"),
    [
        ("file_name,label", "file_name", None),
        ("filename,label,x", "filename", None),
        ("Image,Label,x", "Image", "Label"),
        ("image_path,category,x", "image_path", "category"),
        ("img,breed", "img", "breed"),
        ("path,species", None, "species"),
        ("File Name,class,width", "File Name", "class"),
    ],
)
def test_columns_under_the_names_of_other_tools_are_taken_and_said(tmp_path, header, path, label):
    rest = ",7" * (header.count(",") - 1)
    spec = table(tmp_path, header, f"a.jpg,cat{rest}", f"b.jpg,dog{rest}")
    data, (words,) = said(spec)
    assert (data.classes, [record.id for record in data.records]) == (("cat", "dog"), ["a.jpg", "b.jpg"])
    taken = [f"{name!r} for the {role}" for role, name in (("path", path), ("label", label)) if name]
    options = [f"{role}=COLUMN" for role, name in (("path", path), ("label", label)) if name]
    assert words == (
        f"{spec}: takes the column {' and '.join(taken)}, as none has that name; {', '.join(options)} names another"
    )


def test_metadata_of_an_image_folder_is_read(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    lines = ('{"file_name": "a.jpg", "label": "cat"}', '{"file_name": "b.jpg", "label": "dog"}')
    data, _ = said(table(tmp_path, "", *lines, name="metadata.jsonl"))
    assert (data.classes, data.records[0].id) == (("cat", "dog"), "a.jpg")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (
            "file_name,image,label",
            r"line 1: no column 'path', and 'file_name', 'image' can each be it; name one with",
        ),
        (
            "path,class,category",
            r"no column 'label', and 'class', 'category' can each be it; .*\?label=class",
        ),
        ("photo,label,x", r"no column 'path' for the path; known: photo, label, x"),
        ("path,width,height", r"no column 'label' for the label; known: path, width, height"),
    ],
)
def test_unclear_columns_are_refused_with_each(tmp_path, header, says):
    with pytest.raises(DataError, match=says):
        open_dataset(table(tmp_path, header, "a.jpg,b,c", "b.jpg,d,e"))
