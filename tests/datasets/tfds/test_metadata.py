"""Nothing that comes with a prepared dataset is imported, and no name in it leads out of its folder."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from featcache.datasets.formats.tfds import open_tfds
from featcache.errors import DataError

OWN = "tensorflow_datasets.core.features"
IMAGE = {
    "pythonClassName": f"{OWN}.image_feature.Image",
    "image": {"dtype": "uint8", "shape": {"dimensions": ["-1", "-1", "3"]}},
}
LABEL = {"pythonClassName": f"{OWN}.class_label_feature.ClassLabel", "classLabel": {"numClasses": "2"}}
INFO = {
    "name": "pets",
    "version": "1.0.0",
    "fileFormat": "array_record",
    "splits": [{"name": "train", "shardLengths": ["4"], "numBytes": "1"}],
}


def together(**features: Any) -> dict[str, Any]:
    return {"pythonClassName": f"{OWN}.features_dict.FeaturesDict", "featuresDict": {"features": features}}


def prepared(folder: Path, features: Any = None, **info: Any) -> Path:
    """The metadata of a dataset, whose data are not there."""
    place = folder / "pets/1.0.0"
    place.mkdir(parents=True)
    (place / "dataset_info.json").write_text(json.dumps(INFO | info))
    (place / "features.json").write_text(json.dumps(features or together(image=IMAGE, label=LABEL)))
    (place / "label.labels.txt").write_text("cat\ndog\n")
    return place


@pytest.fixture
def evil(tmp_path, monkeypatch) -> Path:
    """A module beside the data, as in a notebook's folder; importing it leaves the file that is returned."""
    here = tmp_path / "here"
    here.mkdir()
    sentinel = tmp_path / "executed"
    (here / "evil_module.py").write_text(f"open({str(sentinel)!r}, 'w').close()\n")
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.delitem(sys.modules, "evil_module", raising=False)
    return sentinel


BAD = "evil_module.Feature"
AS_JSON = {"pythonClassName": f"{OWN}.features_dict.FeaturesDict"}
NESTED = {"type": BAD, "content": {}}
HOSTILE = {
    "a feature": together(image=IMAGE, label={"pythonClassName": BAD, "classLabel": {"numClasses": "2"}}),
    "protobuf's own spelling": together(image=IMAGE, label={"python_class_name": BAD, "classLabel": {}}),
    "the whole": {"pythonClassName": BAD, "featuresDict": {"features": {"image": IMAGE}}},
    "in a sequence": together(
        image=IMAGE,
        more={
            "pythonClassName": f"{OWN}.sequence_feature.Sequence",
            "sequence": {"feature": {"pythonClassName": BAD, "text": {}}, "length": "-1"},
        },
    ),
    "of 2020": {"type": f"{OWN}.features_dict.FeaturesDict", "content": {"image": NESTED}},
    "of 2020, alone": NESTED,
    "JSON in JSON": AS_JSON | {"jsonFeature": {"json": json.dumps({"image": NESTED})}},
    "a protobuf as text": {
        "type": f"{OWN}.features_dict.FeaturesDict",
        "proto_cls": "tensorflow_datasets.FeaturesDict",
        "content": json.dumps({"features": {"image": {"pythonClassName": BAD, "text": {}}}}),
    },
    "a test of TFDS": together(image=IMAGE, label=LABEL | {"pythonClassName": f"{OWN}.image_feature_test.X"}),
    "a name that begins alike": together(image=LABEL | {"pythonClassName": f"{OWN}.evil_module.x.Y"}),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_code_beside_the_data_is_not_run(tmp_path, evil, what):
    prepared(tmp_path, HOSTILE[what])
    with pytest.raises(DataError, match=r"features\.json says that a feature is of the class .*never run"):
        open_tfds(f"pets?data_dir={tmp_path}")
    assert not evil.exists()


def test_code_named_in_the_information_is_not_run(tmp_path, evil):
    prepared(tmp_path, features=HOSTILE["a feature"], moduleName="evil_module")
    (tmp_path / "pets/1.0.0/features.json").unlink()
    for spelled in ("pythonClassName", "python_class_name"):
        info = INFO | {"moduleName": "evil_module", "features": {spelled: BAD, "text": {}}}
        (tmp_path / "pets/1.0.0/dataset_info.json").write_text(json.dumps(info))
        with pytest.raises(DataError, match=r"dataset_info\.json says that a feature is of the class"):
            open_tfds(f"pets?data_dir={tmp_path}")
    assert not evil.exists()


def test_a_module_that_is_only_recorded_is_not_imported(tmp_path, evil):
    place = prepared(tmp_path, moduleName="evil_module")
    with pytest.raises(DataError, match="cannot read the dataset in"):  # its data are not there
        open_tfds(f"pets?data_dir={tmp_path}")
    assert not evil.exists()
    assert sorted(path.name for path in place.iterdir()) == [
        "dataset_info.json",
        "features.json",
        "label.labels.txt",
    ]


def test_tfds_reads_the_copy_that_was_checked(tmp_path, evil, monkeypatch):
    """A file that is another one at its second reading makes no difference: there is no second reading."""
    place = prepared(tmp_path)
    library = pytest.importorskip("tensorflow_datasets")
    own = library.builder_from_directory

    def swapped_before(folder, *others, **more):
        (place / "features.json").write_text(json.dumps(HOSTILE["a feature"]))
        return own(folder, *others, **more)

    monkeypatch.setattr(library, "builder_from_directory", swapped_before)
    with pytest.raises(DataError, match="cannot read the dataset in"):
        open_tfds(f"pets?data_dir={tmp_path}")
    assert not evil.exists()


def split(**more: Any) -> list[dict[str, Any]]:
    return [{"name": "train", "shardLengths": ["4"], "numBytes": "1"} | more]


@pytest.mark.parametrize(
    ("splits", "text"),
    [
        (split(filepathTemplate="../../secret.{FILEFORMAT}-{SHARD_X_OF_Y}"), "names the file .*secret"),
        (split(filepath_template="/etc/{SPLIT}"), "names the file /etc/train, which is outside"),
        (split(name="../../secret"), "names the file .*secret|Error parsing split"),
        (split(filepathTemplate="{SPLIT:>99999999999}"), "which is no template of TFDS"),
        (split(filepathTemplate="{SPLIT.__class__}"), "which is no template of TFDS"),
    ],
)
def test_no_data_outside_of_the_folder_are_opened(tmp_path, splits, text):
    prepared(tmp_path, splits=splits)
    with pytest.raises(DataError, match=text):
        open_tfds(f"pets?data_dir={tmp_path}")


def test_links_that_lead_out_are_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("root:x:0:0\ndaemon:x:1:1\n")
    place = prepared(tmp_path)
    os.symlink(secret, place / "pets-train.array_record-00000-of-00001")
    with pytest.raises(
        DataError, match=r"names the file .*array_record-00000-of-00001, .* a link that leads out"
    ):
        open_tfds(f"pets?data_dir={tmp_path}")
    for name in ("label.labels.txt", "features.json", "dataset_info.json"):
        (place / name).unlink()
        os.symlink(secret, place / name)
        with pytest.raises(
            DataError, match=rf"{name}: it is outside of .*, or a link that leads out"
        ) as told:
            open_tfds(f"pets?data_dir={tmp_path}")
        assert "root:x" not in str(told.value)


def test_class_names_come_from_no_other_file_and_are_not_counted_up_to_millions(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("root:x:0:0\ndaemon:x:1:1\n")
    kind = LABEL["pythonClassName"]
    label = {"pythonClassName": kind, "jsonFeature": {"json": json.dumps({"names_file": str(secret)})}}
    prepared(tmp_path / "a", together(image=IMAGE, label=label))
    with pytest.raises(DataError, match="takes the names of classes from the file"):
        open_tfds(f"pets?data_dir={tmp_path / 'a'}")
    many = {"pythonClassName": kind, "classLabel": {"numClasses": "99999999999"}}
    place = prepared(tmp_path / "b", together(image=IMAGE, label=many))
    (place / "label.labels.txt").unlink()
    with pytest.raises(DataError, match=r"says '99999999999' classes; expected 0 to 1,000,000"):
        open_tfds(f"pets?data_dir={tmp_path / 'b'}")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_json_that_is_none_or_deep_or_huge_is_refused(tmp_path, name):
    place = prepared(tmp_path)
    for text, says in (
        ("[" * 100_000, r"cannot read .*json: "),
        ("[]", "holds no JSON object"),
        ("{", r"cannot read .*json: "),
    ):
        (place / name).write_text(text)
        with pytest.raises(DataError, match=says):
            open_tfds(f"pets?data_dir={tmp_path}")
    (place / name).touch()
    os.truncate(place / name, 2**40)
    with pytest.raises(DataError, match=r"it has 1,099,511,627,776 bytes; at most"):
        open_tfds(f"pets?data_dir={tmp_path}")
