"""Annotations in COCO's form: which photos are of which category."""

import json
import re
import shlex

import pytest

from featcache.datasets import open_dataset
from featcache.datasets.formats import coco
from featcache.errors import DataError, FeatcacheWarning, MissingFileError, UsageError

NAMES = {17: "cat", 18: "dog", 19: "horse"}


def instances(
    root,
    found: list[tuple[int, int]],
    *,
    images: int = 3,
    folder: str = "images",
    changed: dict | None = None,
) -> str:
    """Write photos, and annotations of (image, category) with boxes and outlines."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(images):
        (root / folder / f"{number}.jpg").write_bytes(str(number).encode())
    document = {
        "info": {"year": 2017},
        "images": [{"id": 100 + i, "file_name": f"{i}.jpg", "height": 4, "width": 4} for i in range(images)],
        "annotations": [
            {
                "id": n,
                "image_id": 100 + image,
                "category_id": own,
                "bbox": [0.5, 1, 2, 3],
                "iscrowd": 0,
                "segmentation": [[1.5, 2.5, 1e400]],
            }
            for n, (image, own) in enumerate(found)
        ],
        "categories": [{"id": own, "name": name, "supercategory": "animal"} for own, name in NAMES.items()],
    } | (changed or {})
    (root / "instances.json").write_text(json.dumps(document))
    return f"coco:{root / 'instances.json'}?root={folder}"


def said(spec: str):
    with pytest.warns(FeatcacheWarning) as warned:
        data = open_dataset(spec)
    return data, [str(one.message) for one in warned]


def test_photos_of_one_category_each_have_classes(tmp_path):
    spec = instances(tmp_path, [(0, 18), (1, 17), (1, 17), (2, 18)])
    data, (words,) = said(spec)
    assert (data.task, data.classes, [record.label for record in data.records]) == (
        "classes",
        ("cat", "dog"),
        [1, 0, 1],
    )
    assert (data.spec, data.skipped) == (spec, {"class without images (horse)": 1})
    assert (data.records[0].id, data.records[0].read()) == ("0.jpg", b"0")
    assert words == (
        f"{spec}: every photo is of one category: 2 classes; task=answers takes the categories as answers, any "
        "number for a photo"
    )


def test_photos_of_several_have_answers_and_those_of_none_have_none(tmp_path):
    spec = instances(tmp_path, [(0, 18), (0, 17), (1, 17)])
    data, (words,) = said(spec)
    assert (data.task, data.classes) == ("answers", ("cat", "dog"))
    assert [record.target for record in data.records] == [(1, 1), (1, 0), (0, 0)]
    assert (
        words
        == f"{spec}: 1 of 3 photos are of several categories, and 1 are of none: 2 answers for each photo"
    )


def test_a_photo_without_annotations_has_no_class(tmp_path):
    data, _ = said(instances(tmp_path, [(0, 18), (1, 17)]))
    assert len(data.records) == 2
    assert data.skipped == {"class without images (horse)": 1, "without annotations": 1}


def test_the_task_can_be_said(tmp_path, recwarn):
    data = open_dataset(instances(tmp_path, [(0, 18), (1, 17), (2, 17)]) + "&task=answers")
    assert (data.task, [record.target for record in data.records]) == ("answers", [(0, 1), (1, 0), (1, 0)])
    assert not [one for one in recwarn if issubclass(one.category, FeatcacheWarning)]
    with pytest.raises(UsageError, match=r"takes photos of one category, and '0\.jpg' has dog, cat; leave"):
        open_dataset(instances(tmp_path, [(0, 18), (0, 17), (1, 17)]) + "&task=classes")


def test_the_photos_may_be_elsewhere_and_json_alone_is_told(tmp_path):
    spec = instances(tmp_path / "coco", [(0, 18), (1, 17)], folder="../val2017")
    assert len(said(spec)[0].records) == 2
    with pytest.raises(
        MissingFileError, match=r"not one of 2 images exists; .*or to another with \?root=FOLDER"
    ):
        said(spec.partition("?")[0])
    path = spec.partition("?")[0].removeprefix("coco:")
    with pytest.raises(UsageError, match=rf"did you mean coco:{re.escape(path)}\?"):
        open_dataset(path)
    with pytest.raises(
        UsageError, match=r"is no table by its suffix '\.json'.*annotations in COCO's form are coco:"
    ):
        open_dataset(f"csv:{path}")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"images": None}, r"instances\.json: no list of 'images'; expected COCO's"),
        ({"annotations": [1]}, r"no list of 'annotations'; expected COCO's"),
        (
            {"annotations": [{"image_id": 7, "category_id": 17}]},
            r"annotation 0: image_id is '7', and no image has that id",
        ),
        (
            {"annotations": [{"image_id": 100}]},
            r"annotation 0: category_id is 'None', and no category has that id",
        ),
        (
            {"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]},
            r"images 1: the id 1 stands twice",
        ),
        ({"images": [{"id": 1}]}, r"images 0: expected a whole number as 'id' and a text as 'file_name'"),
        ({"images": [{"id": 1, "file_name": "a\0"}]}, r"images 0: 'a\\x00' holds a NUL byte"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, r"two categories have one name"),
        ({"annotations": []}, r"no image has an annotation; expected COCO's"),
    ],
)
def test_what_is_not_of_that_form_is_named(tmp_path, other, says):
    with pytest.raises(DataError, match=says):
        open_dataset(instances(tmp_path, [(0, 17)], changed=other))


@pytest.mark.parametrize(
    ("names", "option"),
    [
        (("0", "1"), "root=images&suffix=.jpg"),
        (("data/0.jpg", "data/1.jpg"), "root=images&map=data:."),
        (("/kaggle/input/x/0.jpg", "/kaggle/input/x/1.jpg"), "root=images&map=/kaggle/input/x:."),
        (("0.png", "1.png"), "root=images&suffix=.jpg"),
        (("images/0.jpg", "images/1.jpg"), "root=."),
    ],
)
def test_paths_that_almost_fit_are_found_by_the_spec_of_the_error(tmp_path, names, option):
    files = {"images": [{"id": 100 + i, "file_name": name} for i, name in enumerate(names)]}
    spec = instances(tmp_path, [(0, 17), (1, 18)], images=2, changed=files)
    with pytest.raises(
        MissingFileError, match=r"not one of 2 images exists; .*; there is .* finds? (it|them): "
    ) as told:
        said(spec)
    (found,) = shlex.split(str(told.value).rpartition(": ")[2])
    assert found == f"{spec.partition('?')[0]}?{option}"
    data, _ = said(found)
    assert [(record.id, record.read()) for record in data.records] == [(names[0], b"0"), (names[1], b"1")]


def test_another_spelling_is_taken_and_said(tmp_path):
    files = {"images": [{"id": 100, "file_name": "0.JPG"}, {"id": 101, "file_name": r".\1.jpg"}]}
    data, words = said(instances(tmp_path, [(0, 17), (1, 18)], images=2, changed=files))
    assert [record.read() for record in data.records] == [b"0", b"1"]
    assert any("2 of 2 images are written otherwise than their files are called" in one for one in words)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", "\0", '{"images": [' + "9" * 5000 + "]}"])
def test_hostile_json_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=r"x\.json(: expected| is no JSON that can be read: |: no list of)"):
        open_dataset(f"coco:{tmp_path / 'x.json'}")


def test_what_would_take_too_much_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(coco, "MOST_OBJECTS", 1000)
    (tmp_path / "x.json").write_text('{"images": [' + ",".join(["[]"] * 1000) + "]}")
    with pytest.raises(
        DataError, match=r"is larger than annotations are that are read: at most .* and 1,000 lists"
    ):
        open_dataset(f"coco:{tmp_path / 'x.json'}")
