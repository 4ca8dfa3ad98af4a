"""Real TFDS datasets, prepared on disk by TFDS itself, are read without TensorFlow and without a network."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.shape_pictures import COUNTS, NAMES, picture

from featcache.datasets import file_state, open_dataset
from featcache.datasets.formats import tfds
from featcache.datasets.formats.tfds import open_tfds
from featcache.datasets.tfds.prepared import TfdsSpec, find_prepared
from featcache.datasets.tfds.readahead import MOST, MOST_BYTES, ReadAhead
from featcache.errors import DataError, MissingFileError, UsageError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of datasets as ArrayRecord; tests only read it."""
    folder = tmp_path_factory.mktemp("tfds")
    prepare(folder, "array_record")
    return folder


def prepare(folder: Path, file_format: str) -> None:
    script = Path(__file__).parents[2] / "helpers" / "tfds_shapes.py"
    subprocess.run(
        [sys.executable, script, folder, file_format], check=True, capture_output=True, timeout=120
    )


@pytest.fixture
def copied(prepared, tmp_path) -> Path:
    """One dataset of those, to be damaged."""
    shutil.copytree(prepared / "tiny_shapes/1.2.0", tmp_path / "tiny_shapes/1.2.0")
    return tmp_path


def train_file(folder: Path) -> Path:
    return next((folder / "tiny_shapes/1.2.0").glob("*-train.array_record-*"))


# What is read -------------------------------------------------------------------------------------------------


def test_bytes_labels_splits_and_ids_are_those_that_were_prepared(prepared):
    found = open_tfds(f"tiny_shapes:1.2.0?data_dir={prepared}")
    assert (found.name, found.classes) == ("tiny_shapes", tuple(NAMES))
    assert found.splits == ("train", "val", "test")
    assert found.skipped == {"example without a label (extra)": COUNTS["extra"]}
    assert len(found.records) == sum(COUNTS.values()) - COUNTS["extra"]
    for record in found.records:
        # TFDS shuffles: the file's name says which picture it is. Ids begin with TFDS's own split and index.
        split, _, name = record.id.split("/")
        index = int(name.removeprefix(f"{split}-").removesuffix(".png"))
        assert record.read() == picture(split, index)
        assert (record.label, record.split, record.size) == (
            index % 3,
            {"validation": "val"}.get(split, split),
            len(picture(split, index)),
        )
    places = [record.id.rsplit("/", 1)[0] for record in found.records]
    assert places == [f"{s}/{i}" for s, count in COUNTS.items() if s != "extra" for i in range(count)]


def test_the_bytes_are_those_of_tfds_s_own_reader_in_its_order(prepared):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(prepared / "tiny_shapes/1.2.0"))
    own = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
    found = open_tfds(f"tiny_shapes:1.2.0?data_dir={prepared}").records[: len(own)]
    assert [(r.read(), r.label) for r in found] == [(example["image"], example["label"]) for example in own]


def test_threads_share_a_data_source(prepared):
    records = open_tfds(f"tiny_shapes?data_dir={prepared}").records * 20
    alone = [hashlib.sha256(record.read()).digest() for record in records]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda record: hashlib.sha256(record.read()).digest(), records)) == alone


class Counted:
    """Examples that tell how they are read, and of which some cannot be."""

    def __init__(self, count: int, size: int = 4, broken: tuple[int, ...] = ()):
        self.count, self.size, self.broken, self.reads = count, size, broken, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.reads.append(1)
        if index in self.broken:
            raise ValueError(f"{index} is broken")
        return index.to_bytes(4, "big") + bytes(self.size - 4)

    def __getitems__(self, indices):
        found = [self[index] for index in indices]
        self.reads[-len(indices) :] = [len(indices)]
        return found


def test_examples_that_follow_each_other_are_read_many_at_a_time():
    held = Counted(5000)
    ahead = ReadAhead(held)
    assert [int.from_bytes(ahead[index], "big") for index in range(5000)] == list(range(5000))
    assert sum(held.reads) == 5000, "none is read twice"
    assert len(held.reads) < 20
    assert max(held.reads) == MOST


def test_examples_here_and_there_are_read_alone():
    held = Counted(5000)
    ahead = ReadAhead(held)
    for index in range(4999, 0, -7):
        assert int.from_bytes(ahead[index][:4], "big") == index
    assert {*held.reads} == {1}


def test_large_examples_are_not_read_far_ahead():
    held = Counted(100, size=MOST_BYTES // 8)
    ahead = ReadAhead(held)
    for index in range(100):
        assert len(ahead[index]) == held.size
    assert max(held.reads) == 8


def test_what_cannot_be_read_takes_no_other_example_with_it():
    ahead = ReadAhead(Counted(300, broken=(0, 77, 78, 299)))
    failed = []
    for index in range(300):
        try:
            assert int.from_bytes(ahead[index], "big") == index
        except ValueError as error:
            failed.append(str(error))
    assert failed == [f"{index} is broken" for index in (0, 77, 78, 299)]


WITHOUT_TENSORFLOW = """
import hashlib, socket, sys
def refuse(*_): raise AssertionError("the network was touched")
socket.socket.connect = socket.getaddrinfo = refuse
from featcache.datasets import open_dataset
assert "tensorflow_datasets" not in sys.modules  # a second and 36 MB that only this source needs
for record in open_dataset(sys.argv[1]).records:
    print(record.id, hashlib.sha256(record.read()).hexdigest())
assert "tensorflow" not in sys.modules  # absent in the tests' environment, untouched where somebody has it
"""


@pytest.mark.one_by_default
@pytest.mark.parametrize("file_format", ["array_record", "parquet"])
def test_neither_tensorflow_nor_a_network_is_needed(prepared, tmp_path, file_format):
    folder = prepared
    if file_format == "parquet":
        folder = tmp_path
        prepare(folder, "parquet")
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, f"tfds:tiny_shapes:1.2.0?data_dir={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    expected = {
        f"{split}-{index}.png {hashlib.sha256(picture(split, index)).hexdigest()}"
        for split, count in COUNTS.items()
        for index in range(count)
        if split != "extra"
    }
    assert {line.rsplit("/", 1)[1] for line in done.stdout.splitlines()} == expected


def test_the_same_photos_from_a_folder_have_the_same_bytes(prepared, tmp_path):
    for index in range(COUNTS["train"]):
        path = tmp_path / "train" / NAMES[index % 3] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture("train", index))
    folder = open_dataset(str(tmp_path))
    found = open_tfds(f"tiny_shapes?data_dir={prepared}")
    assert {(folder.classes[r.label], r.read()) for r in folder.records} == {
        (found.classes[r.label], r.read()) for r in found.records if r.split == "train"
    }


# What a spec means ----------------------------------------------------------------------------------------------


def test_the_newest_version_is_taken_and_versions_count_as_numbers(prepared):
    assert (
        find_prepared(TfdsSpec.parse(f"tiny_shapes?data_dir={prepared}")) == prepared / "tiny_shapes/1.10.0"
    )
    assert find_prepared(TfdsSpec.parse(f"tiny_shapes:1.2.0?data_dir={prepared}")).name == "1.2.0"


def test_a_config_is_named_or_the_only_one(prepared, tmp_path):
    found = open_tfds(f"tiny_configs/small:1.0.0?data_dir={prepared}")
    assert (len(found.records), found.name) == (15, "tiny_configs")
    with pytest.raises(
        UsageError, match=r"several configs: big, small; name one, such as tfds:tiny_configs/big"
    ):
        open_tfds(f"tiny_configs?data_dir={prepared}")
    shutil.copytree(prepared / "tiny_configs/big", tmp_path / "tiny_configs/big")
    assert find_prepared(TfdsSpec.parse(f"tiny_configs?data_dir={tmp_path}")).parent.name == "big"


def test_the_data_dir_comes_from_the_spec_else_from_the_environment(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    assert TfdsSpec.parse("tiny_shapes").data_dir == prepared
    assert TfdsSpec.parse(f"tiny_shapes?data_dir={tmp_path}").data_dir == tmp_path
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert TfdsSpec.parse("tiny_shapes").data_dir == Path.home() / "tensorflow_datasets"


def test_the_data_dir_may_be_said_beside_the_spec(prepared, tmp_path):
    odd = tmp_path / "a b+c%&d"  # all of which mean something else in an address
    shutil.copytree(prepared / "tiny_shapes/1.2.0", odd / "tiny_shapes/1.2.0")
    found = open_dataset("tfds:tiny_shapes:1.2.0", data_dir=odd)
    assert len(found.records) == sum(COUNTS.values()) - COUNTS["extra"]
    assert open_dataset(found.spec).classes == found.classes, "what is remembered says where it is"
    for dataset, says in (
        ("photos", "'photos' is no dataset of TFDS"),
        (found, r"says where it is itself; leave it out"),
        ("tfds:tiny_shapes?data_dir=/x", "says where it is itself"),
    ):
        with pytest.raises(UsageError, match=says):
            open_dataset(dataset, data_dir=odd)


def test_another_feature_may_be_the_label(prepared):
    found = open_tfds(f"tiny_shapes?label=colour&data_dir={prepared}")
    assert found.classes == ("red", "blue")
    assert len(found.records) == sum(COUNTS.values())  # every example has a colour
    with pytest.raises(UsageError, match=r"no ClassLabel feature 'color'; did you mean 'colour'"):
        open_tfds(f"tiny_shapes?label=color&data_dir={prepared}")


def test_without_supervised_keys_several_labels_are_a_choice(copied):
    info = copied / "tiny_shapes/1.2.0/dataset_info.json"
    said = json.loads(info.read_text())
    del said["supervisedKeys"]
    info.write_text(json.dumps(said))
    with pytest.raises(UsageError, match=r"has 2 ClassLabel features: .*choose one with \?label="):
        open_tfds(f"tiny_shapes?data_dir={copied}")


def test_one_class_is_refused_and_another_label_suggested(copied):
    (copied / "tiny_shapes/1.2.0/label.labels.txt").write_text("shape\n")
    features = copied / "tiny_shapes/1.2.0/features.json"
    features.write_text(features.read_text().replace('"numClasses": "3"', '"numClasses": "1"'))
    with pytest.raises(DataError, match=r"one class \(shape\).*name it with \?label="):
        open_tfds(f"tiny_shapes?data_dir={copied}")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", r"expected tfds:NAME"),
        ("mnist:3", r"expected tfds:NAME"),
        ("a/b/c", r"expected tfds:NAME"),
        ("mnist?datadir=/x", r"option datadir=/x; did you mean 'data_dir'"),
        ("mnist?data_dir=", r"option data_dir=;"),
        ("mnist?download=maybe", r"download=maybe; expected yes or no"),
    ],
)
def test_specs_that_are_none_are_refused(text, match):
    with pytest.raises(UsageError, match=match):
        open_tfds(text)


# What is not there, or cannot be read -------------------------------------------------------------------------------


@pytest.fixture
def no_library(monkeypatch):
    """Importing TFDS is an error, as it should not even be tried."""
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)


@pytest.mark.usefixtures("no_library")
def test_what_is_not_prepared_is_an_immediate_answer(prepared, monkeypatch):
    with pytest.raises(
        MissingFileError,
        match=r"tiny_shape is not prepared in .*did you mean 'tiny_shapes'.*FEATCACHE_OFFLINE is set",
    ):
        open_tfds(f"tiny_shape?data_dir={prepared}&download=yes")
    monkeypatch.delenv("FEATCACHE_OFFLINE")
    with pytest.raises(
        MissingFileError, match=r"tiny_shapes:9\.0\.0 is not prepared.*\?data_dir=.*&download=yes"
    ):
        open_tfds(f"tiny_shapes:9.0.0?data_dir={prepared}")
    with pytest.raises(
        MissingFileError, match=r"is not prepared in /nowhere \(there is no such folder\)\. Say where it is"
    ):
        open_tfds("tiny_configs/huge?data_dir=/nowhere")


@pytest.mark.usefixtures("no_library")
def test_a_version_that_is_not_prepared_names_those_that_are_and_keeps_the_options(prepared, monkeypatch):
    monkeypatch.delenv("FEATCACHE_OFFLINE")
    there = sorted(path.name for path in (prepared / "tiny_shapes").iterdir() if path.name[0].isdigit())
    with pytest.raises(MissingFileError) as told:
        open_tfds(f"tiny_shapes:9.9.9?label=shape&data_dir={prepared}&download=no")
    text = str(told.value)
    assert len(there) > 1
    assert all(f"tiny_shapes:{version}" in text for version in there), text
    assert text.endswith(f": tfds:tiny_shapes:9.9.9?label=shape&data_dir={prepared}&download=yes")
    with pytest.raises(MissingFileError, match=r"\(there is tiny_configs/\w+:\d"):
        open_tfds(f"tiny_configs:9.9.9?data_dir={prepared}")


@pytest.mark.usefixtures("no_library")
def test_tfrecord_says_what_to_do(copied):
    info = copied / "tiny_shapes/1.2.0/dataset_info.json"
    for text in (info.read_text().replace("array_record", "tfrecord"), "{}"):  # old files do not say
        info.write_text(text)
        with pytest.raises(
            DataError, match=r"as tfrecord, which only TensorFlow.*file_format='array_record'.*\[tf\]"
        ):
            open_tfds(f"tiny_shapes?data_dir={copied}")
    info.write_text("{")
    with pytest.raises(DataError, match=r"cannot read .*dataset_info\.json: .*Prepare the dataset again"):
        open_tfds(f"tiny_shapes?data_dir={copied}")


def test_a_dataset_converted_in_place_is_read_in_the_format_that_can_be(copied):
    info = copied / "tiny_shapes/1.2.0/dataset_info.json"  # as `tfds convert_format` leaves it
    said = json.loads(info.read_text()) | {
        "fileFormat": "tfrecord",
        "alternativeFileFormats": ["array_record"],
    }
    info.write_text(json.dumps(said))
    assert len(open_tfds(f"tiny_shapes?data_dir={copied}").records) == 15


@pytest.mark.usefixtures("no_library")
def test_without_the_extra_it_says_what_to_install(prepared):
    with pytest.raises(
        DataError, match=r"needs tensorflow-datasets.*pip install tensorflow-datasets array_record pyarrow"
    ):
        open_tfds(f"tiny_shapes?data_dir={prepared}")


def test_downloading_is_tfds_s_own_and_prepares_array_record(tmp_path, monkeypatch, capfd):
    # By itself, as a user's builder is: of one inside a package TFDS asks for importlib_resources, undeclared.
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "helpers"))
    import tfds_shapes  # registers the builder, which needs no network

    monkeypatch.delenv("FEATCACHE_OFFLINE")
    found = open_tfds(f"tiny_shapes?download=yes&data_dir={tmp_path}")
    assert len(found.records) == 15
    assert [*(tmp_path / "tiny_shapes" / str(tfds_shapes.TinyShapes.VERSION)).glob("*.array_record-*")]
    assert capfd.readouterr().out == ""  # stdout carries a command's result


def test_a_download_that_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.delenv("FEATCACHE_OFFLINE")
    with pytest.raises(
        MissingFileError, match=r"preparing it failed: DatasetNotFoundError: .*no_such_shapes"
    ):
        open_tfds(f"no_such_shapes?download=yes&data_dir={tmp_path}")


@pytest.mark.parametrize("damage", ["cut", "gone", "zeroed"])
def test_damaged_files_are_an_error_that_names_the_folder(copied, damage):
    path = train_file(copied)
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        os.truncate(path, path.stat().st_size - 1)
    else:
        path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(DataError, match=r"cannot read the dataset in .*1\.2\.0: .*Prepare it again"):
        open_tfds(f"tiny_shapes?data_dir={copied}")


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ("circle\nsquare\n", r"example \S+ has label 2, and 2 classes have names, 0 to 1"),
        ("circle\nstar\ncircle\n", "'circle' stands twice"),
    ],
)
def test_names_of_classes_that_do_not_fit_the_labels(copied, names, why):
    """Rows had labels beyond the last class, and two classes one name."""
    (copied / "tiny_shapes/1.2.0/label.labels.txt").write_text(names)
    with pytest.raises(
        DataError,
        match=rf"the names of classes in \S+label\.labels\.txt do not fit the dataset: {why}\. Prepare",
    ):
        open_tfds(f"tiny_shapes:1.2.0?data_dir={copied}")


@pytest.mark.parametrize("before", ["as_data_source", "records"])
def test_a_file_replaced_while_it_is_opened_is_refused(copied, monkeypatch, before):
    """Else the state that is remembered would be another file's than the examples."""
    path, own = train_file(copied), tfds._require_sound
    shutil.copy(path, copied / "other")

    def replaced(*arguments):
        found = own(*arguments)
        if (copied / "other").exists():
            os.replace(copied / "other", path)
        return found

    class Replacing(tfds.ReadAhead):
        def __getitem__(self, index):
            if (copied / "other").exists():
                os.replace(copied / "other", path)
            return super().__getitem__(index)

    if before == "records":
        monkeypatch.setattr(tfds, "ReadAhead", Replacing)
    else:
        monkeypatch.setattr(tfds, "_require_sound", replaced)
    with pytest.raises(
        DataError, match=rf"cannot read {path}: it was changed while it was read\. Run the command"
    ):
        open_tfds(f"tiny_shapes?data_dir={copied}")


def test_a_record_that_cannot_be_read_later_is_an_oserror(prepared):
    records = open_tfds(f"tiny_shapes?data_dir={prepared}").records
    beyond = records[0].read.func  # the split's reader, asked for what is not there
    with pytest.raises(OSError, match="cannot read example 99 of split train: "):
        beyond(99)


def test_files_of_the_same_size_and_time_in_its_place_are_others(copied, monkeypatch):
    """Images are in the files of a split: what is remembered of them goes with these, and with the feature read."""
    monkeypatch.setattr(file_state, "_TICK_NS", 0)
    spec = f"tiny_shapes:1.2.0?data_dir={copied}"
    before = open_tfds(spec)
    file = train_file(copied)
    os.replace(shutil.copy2(file, copied / "other"), file)
    after = open_tfds(spec)
    changed = {a.split for a, b in zip(before.records, after.records, strict=True) if a.state != b.state}
    assert changed == {"train"}
    assert [(r.id, r.size, r.mtime_ns) for r in before.records] == [
        (r.id, r.size, r.mtime_ns) for r in after.records
    ]
    assert before.location == f"tfds:{copied / 'tiny_shapes/1.2.0'}?image=image"
