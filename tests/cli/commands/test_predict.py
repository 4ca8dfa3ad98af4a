"""``featcache predict``: a line a photo as it comes, tables and folders beside it, counts at the end."""

import csv
import json
import os
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.terminals import run_on_terminals

from featcache import Classifier
from featcache.classifier.prediction import Prediction
from featcache.cli import console
from featcache.cli.commands import predict
from featcache.core.progress import Progress


@pytest.fixture(scope="module")
def answered(trained, network, tmp_path_factory):
    """A folder with test photos in ``new/``, the second of which cannot be read, and what is said of them."""
    place = tmp_path_factory.mktemp("predict")
    shutil.copytree(trained.photos / "test", place / "new")
    (place / "new" / "cat" / "1.png").write_text("no photo")
    files = sorted(place.glob("new/*/*.png"))
    classifier = replace(Classifier.load(trained.folder), network=network)
    return place, [
        replace(each, id=str(file.relative_to(place)))
        for each, file in zip(classifier.predict(files), files, strict=True)
    ]


@pytest.fixture
def files(answered, tmp_path, monkeypatch) -> list[Path]:
    """The photos, in the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(answered[0] / "new", "new")
    return sorted(Path("new").glob("*/*.png"))


@pytest.fixture
def want(answered, files):
    """What is said of them."""
    return answered[1]


@pytest.fixture
def known(want, monkeypatch):
    """Let commands give the answers that are known, without running the network again."""

    def stream(self, images, *, top=5, tta=None):
        for each in want:
            yield replace(each, classes=each.classes[:top], probabilities=each.probabilities[:top])

    monkeypatch.setattr(Classifier, "stream", stream)


def shares(prediction, top: int) -> str:
    pairs = zip(prediction.classes[:top], prediction.probabilities, strict=False)
    return ", ".join(f"{name} {100 * share:.1f} %" for name, share in pairs)


def test_the_network_runs(cli, trained, want, small_backbone):
    ran = cli("predict", trained.folder, "new", "--csv", "all.csv", "--copy-to", "sorted")
    assert ran.code == 0, ran.err
    for line, each in zip(ran.out.splitlines(), want, strict=True):
        assert line.split()[0] == each.id
        assert line.endswith(f"  {shares(each, 1)}") or each.error
    assert len(Path("all.csv").read_text().splitlines()) == 13
    assert len([*Path("sorted").glob("*/*/*.png")]) == 11


@pytest.mark.parametrize("top", [None, 1, 2])
def test_a_line_a_photo(cli, trained, want, known, top):
    ran = cli("predict", trained.folder, "new", *(() if top is None else ("--top", top)))
    assert ran.code == 0, ran.err
    width = max(len(each.id) for each in want)
    for line, each in zip(ran.out.splitlines(), want, strict=True):
        name, answer = line[:width].rstrip(), line[width:]
        assert name == each.id
        assert answer == f"  {shares(each, top or 1)}" or (
            each.error and answer.startswith("  cannot be read (not an")
        )
    counts = Counter(each.classes[0] for each in want if not each.error)
    said = ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
    assert ran.err.startswith("12 photos: ")
    assert {*ran.err.strip().removeprefix("12 photos: ").split(", ")} == {
        *said.split(", "),
        "cannot be read 1",
    }


def test_lines_are_printed_as_they_come(cli, trained, want, monkeypatch):
    printed = []

    def stream(self, images, **options):
        for each in want:
            printed.append(capture())
            yield each

    def capture() -> int:
        return sum("\n" in text for text in written)

    written: list[str] = []
    monkeypatch.setattr(Classifier, "stream", stream)
    monkeypatch.setattr(console, "print", lambda text, **rest: written.append(f"{text}\n"), raising=False)
    assert cli("predict", trained.folder, "new").code == 0
    assert printed == list(range(12)), "each before the next is computed"


def test_a_bar_counts_photos(trained, known, monkeypatch):
    seen: list[Progress] = []
    made = console.Console("predict")
    made.progress = lambda: _Bar(seen)  # type: ignore[method-assign]
    monkeypatch.setattr(predict, "Console", lambda *args, **options: made)
    predict.command([str(trained.folder), "new"])
    assert [(each.stage, each.done, each.total) for each in seen] == [
        ("load", 0, 12),
        *(("predict", done, 12) for done in range(1, 13)),
    ]


class _Bar:
    def __init__(self, seen):
        self.seen = seen

    def __enter__(self):
        return self.seen.append

    def __exit__(self, *error):
        return None


def test_a_table_and_json_lines(cli, trained, want, known):
    ran = cli("predict", trained.folder, "new", "--top", 2, "--csv", "all.csv", "--jsonl", "all.jsonl")
    assert ran.code == 0, ran.err
    assert "all.csv: 12 photos\nall.jsonl: 12 photos" in ran.err
    with Path("all.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = ["file", "class", "probability", "class_2", "probability_2", "unknown", "error", "unlike"]
    for row, each in zip(rows, want, strict=True):
        assert list(row) == columns
        if each.error:
            assert list(row.values()) == [each.id, "", "", "", "", "", each.error, ""]
            continue
        assert (row["file"], row["class"], row["class_2"]) == (each.id, *each.classes[:2])
        assert float(row["probability"]) == pytest.approx(each.probabilities[0], rel=1e-4)
        assert (row["unknown"], row["error"], row["unlike"]) == ("false", "", "false")
    lines = [json.loads(line) for line in Path("all.jsonl").read_text().splitlines()]
    again = cli("predict", trained.folder, "new", "--top", 2, "--json").result["predictions"]
    assert lines == again


def test_json_holds_what_it_held_and_counts(cli, trained, want, known):
    result = cli("predict", trained.folder, "new", "--json").result
    keys = {"id", "classes", "probabilities", "error", "unknown", "answers", "numbers"}
    assert all(keys <= each.keys() for each in result["predictions"])
    assert [each["classes"] for each in result["predictions"]] == [list(each.classes[:5]) for each in want]
    assert result["counts"] == Counter(each.classes[0] for each in want if not each.error)


def test_photos_are_sorted_into_folders(cli, trained, want, known):
    ran = cli("predict", trained.folder, "new", "--copy-to", "sorted", "-q")
    assert (ran.code, ran.err) == (0, "")
    for each in want:
        if not each.error:
            place = Path(
                "sorted", each.classes[0], Path(each.id).relative_to("new")
            )  # 0.png … are in every folder
            assert os.path.samefile(each.id, place)
    assert len([*Path("sorted").glob("*/*/*.png")]) == 11
    said = cli("predict", trained.folder, "new", "--copy-to", "sorted").err
    assert "sorted: 11 were there before" in said


def test_two_kinds_of_lines_in_one_file_are_refused(cli, trained, files):
    ran = cli("predict", trained.folder, "new", "--csv", "all", "--jsonl", "all")
    assert (ran.code, ran.err) == (2, "error: --csv and --jsonl both name all; give each a name of its own\n")


@pytest.mark.parametrize("given", ["new", "file"])
def test_a_folder_among_the_photos_is_refused(cli, trained, files, given):
    photos = "new" if given == "new" else Path("new").absolute().as_uri()
    ran = cli("predict", trained.folder, photos, "--copy-to", "new/sorted")
    assert ran.code == 2
    assert "--copy-to new/sorted lies in" in ran.err
    assert not Path("new/sorted").exists()


def test_an_interruption_tells_what_is_there(cli, trained, want, monkeypatch):
    def stream(self, images, **options):
        yield from want[:3]
        raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "stream", stream)
    Path("all.csv").write_text("earlier")
    ran = cli(
        "predict", trained.folder, "new", "--csv", "all.csv", "--jsonl", "all.jsonl", "--copy-to", "sorted"
    )
    assert ran.code == 130
    assert ran.err == (
        "error: interrupted; 3 of 12 photos are in all.partial.csv, and all.csv is as it was; 3 of 12 photos are in "
        "all.partial.jsonl, and all.jsonl was not written; 3 of 12 photos were sorted into sorted\n"
    )
    assert len(ran.out.splitlines()) == 3
    assert Path("all.csv").read_text() == "earlier"
    assert len(Path("all.partial.csv").read_text().splitlines()) == 4
    monkeypatch.undo()


def test_a_failure_before_the_first_photo_leaves_no_file(cli, trained, files, monkeypatch):
    def stream(self, images, **options):
        raise RuntimeError("no network")

    monkeypatch.setattr(Classifier, "stream", stream)
    assert cli("predict", trained.folder, "new", "--csv", "all.csv").code == 1
    assert not [*Path().glob("all*")]


@pytest.fixture
def unread(cli, monkeypatch):
    """Run a command whose output nobody reads, as before ``| head -0``."""

    def unread(*arguments):
        read_end, write_end = os.pipe()
        os.close(read_end)
        with os.fdopen(write_end, "w") as closed, monkeypatch.context() as patched:
            patched.setattr("sys.stdout", closed)
            return cli(*arguments)

    return unread


def test_files_are_whole_though_nobody_reads_the_output(trained, want, known, unread):
    ran = unread(
        "predict", trained.folder, "new", "--csv", "all.csv", "--jsonl", "all.jsonl", "--copy-to", "sorted"
    )
    assert ran.code == 0
    assert "all.csv: 12 photos" in ran.err
    assert len(Path("all.csv").read_text().splitlines()) == 13
    assert len(Path("all.jsonl").read_text().splitlines()) == 12
    assert len([*Path("sorted").glob("*/*/*.png")]) == 11


@pytest.mark.parametrize("option", ["--csv", "--jsonl", "--copy-to"])
def test_each_kind_of_file_is_reason_to_go_on(trained, want, known, unread, option):
    assert unread("predict", trained.folder, "new", option, "made").code == 0
    assert len([*Path("made").glob("*/*/*.png")]) == 11 if option == "--copy-to" else Path("made").exists()


def test_without_files_there_is_nothing_to_go_on_for(trained, want, unread, monkeypatch):
    seen = []

    def stream(self, images, **options):
        for each in want:
            seen.append(each)
            yield each

    monkeypatch.setattr(Classifier, "stream", stream)
    assert unread("predict", trained.folder, "new").code == 1
    assert len(seen) == 1


def test_photos_in_a_folder_whose_format_is_not_read_are_told(cli, trained, want, known, without_plugins):
    for name in ("IMG_1.HEIC", "IMG_2.HEIC"):
        Path("new", name).touch()
    ran = cli("predict", trained.folder, "new", "--csv", "all.csv", "--copy-to", "sorted")
    told = "2 HEIC files (IMG_1.HEIC, IMG_2.HEIC): unsupported format; convert them to one of JPEG, PNG, "
    assert (ran.code, len(ran.out.splitlines())) == (0, 12)
    assert f"warning: left out: {told}" in ran.err
    Path("heic").mkdir()
    Path("new", "IMG_1.HEIC").rename("heic/IMG_1.HEIC")
    ran = cli("predict", trained.folder, "heic")
    assert (ran.code, ran.out) == (3, "")
    assert (
        "error: no images in heic; left out: 1 HEIC file (IMG_1.HEIC): unsupported format; convert it to "
        in ran.err
    )


@pytest.mark.parametrize("columns", [0, 30, 40, 80])
def test_on_a_narrow_terminal_a_class_keeps_its_number(columns):
    """A file or a class that is longer by itself stays whole, to be copied."""
    name, classes = f"photos/{'n' * 50}.jpg", ("a class of many words", "bee", "cow")
    shown = Prediction(name, classes, (0.901, 0.051, 0.048))
    lines = predict.within(shown, shown=3, width=60, columns=columns)
    answers = ["a class of many words 90.1 %", "bee 5.1 %", "cow 4.8 %"]
    if not columns:
        assert lines == [predict.line(shown, shown=3, width=60)]
        return
    assert lines[0] == name
    assert ", ".join(answers) == " ".join(line.strip() for line in lines[1:])
    assert all(len(line) <= max(columns, 4 + len(answers[0]) + 1) for line in lines[1:])
    assert predict.within(replace(shown, id="a.jpg"), shown=1, width=5, columns=80) == [
        f"a.jpg  {answers[0]}"
    ]


def test_a_terminal_of_80_columns_gets_no_line_that_it_would_break(files, trained, monkeypatch):
    """Lines are drawn above the bar, which breaks what is wider between any two words."""
    long = files[0].rename(files[0].with_name(f"{'n' * 60}.png"))
    _, err = run_on_terminals(monkeypatch, "predict", trained.folder, long, files[-1], columns=80)
    drawn = [line.strip() for line in err.seen().splitlines()]
    place = next(number for number, line in enumerate(drawn) if line.endswith(str(long)))
    assert re.search(r"    \w+ \d+\.\d %$", drawn[place + 1])
    assert any(re.search(rf"{re.escape(str(files[-1]))}  +\w+ \d+\.\d %$", line) for line in drawn)


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--set", 1.5, "--set 1.5: expected above 0 and below 1"),
        (
            "--set",
            0.99,
            "--set 0.99: that needs 99 held-out photos, and this classifier has 9; ask for at most 0.9,",
        ),
        ("--known-share", 0, "--known-share 0.0: expected above 0 and below 1"),
    ],
)
def test_promises_that_cannot_be_kept_are_refused_in_the_words_of_the_options(
    cli, trained, files, option, value, why
):
    ran = cli("predict", trained.folder, "new", option, value)
    assert (ran.code, ran.out) == (2, "")
    assert why in ran.err


def test_promises_about_no_classifier_are_refused(cli, files):
    ran = cli("predict", "--backbone", "efficientnet_lite0", "new", "--set", 0.9)
    assert ran.code == 2
    assert (
        "--set and --known-share are promises about photos like those that a classifier was trained on"
        in ran.err
    )


def test_labels_of_photos_unlike_anything_seen_are_not_counted():
    sure = Prediction("a.jpg", ("cat", "dog"), (0.9, 0.8), answers=("cat", "dog"))
    assert predict.count_classes([sure, replace(sure, unknown=True, unlike=True)]) == {"cat": 1, "dog": 1}
