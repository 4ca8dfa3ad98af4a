"""Published datasets are read as they are unpacked, each by the one command that the guide gives."""

import json
import re
import shlex
import warnings
from pathlib import Path

import pytest
from helpers.published_layouts import LAYOUTS
from typer.testing import CliRunner

from featcache.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "published.md"
COMMANDS = re.findall(r"`(featcache extract [^`]+)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

EXPECTED: dict[str, tuple[tuple[str, ...], dict[str, int]]] = {
    "dogs_vs_cats": (("cat", "dog"), {"": 8}),
    "cats_and_dogs_of_microsoft": (("Cat", "Dog"), {"": 8}),
    "dog_breeds": (("boston_bull", "dingo"), {"": 4}),
    "intel_scenes": (("buildings", "forest", "sea"), {"train": 6, "test": 6}),
    "plant_pathology_2020": (("healthy", "multiple_diseases", "rust", "scab"), {"": 8}),
    "plant_pathology_2021": (("complex", "frog_eye_leaf_spot", "healthy", "rust", "scab"), {"": 9}),
    "ham10000": (("bkl", "nv"), {"": 8}),
    "chest_x_rays": (("NORMAL", "PNEUMONIA"), {"train": 4, "val": 4, "test": 4}),
    "cub_200": (("001.Auk", "002.Owl"), {"train": 2, "test": 2}),
    "stanford_dogs": (("n02085620-Chihuahua", "n02115641-dingo"), {"": 4}),
    "stanford_cars": (("AM General Hummer SUV 2000", "Volvo 240 Sedan 1993"), {"train": 4, "test": 4}),
    "stanford_cars_of_the_publisher": (
        ("Volvo 240 Sedan 1993", "AM General Hummer SUV 2000"),
        {"train": 4, "test": 4},
    ),
    "oxford_pets": (("Abyssinian", "american_bulldog"), {"train": 4, "test": 4}),
    "oxford_flowers": (("1", "2", "10"), {"train": 6, "val": 6, "test": 6}),
    "oxford_flowers_of_the_publisher": (("1", "2", "10"), {"train": 3, "val": 1, "test": 2}),
    "caltech_101": (("accordion", "airplanes", "BACKGROUND_Google"), {"": 6}),
    "eurosat": (("AnnualCrop", "SeaLake"), {"": 4}),
    "food_101": (("apple_pie", "waffles"), {"train": 2, "test": 2}),
    "isic_2019": (("MEL", "NV", "BCC"), {"": 6}),
    "image_folder_of_hugging_face": (("cat", "dog"), {"train": 4, "val": 4, "test": 4}),
    "coco_animals": (("cat", "dog", "giraffe"), {"": 5}),
    "inaturalist_2018": (("6020", "7477"), {"": 4}),
    "inaturalist_2021": (
        ("00000_Animalia_Annelida_Lumbricus_terrestris", "00001_Animalia_Annelida_Sabella_spallanzanii"),
        {"train": 4, "val": 4},
    ),
}
"""Of each layout, in the order of the page: its classes, and how many labels each split has (without a name: none).

An image in two classes has two.
"""


def test_there_is_a_command_for_every_layout():
    assert [layout.__name__ for layout in LAYOUTS] == list(EXPECTED)
    assert len(COMMANDS) == len(LAYOUTS)


@pytest.mark.parametrize(("layout", "command"), [*zip(LAYOUTS, COMMANDS, strict=True)], ids=[*EXPECTED])
def test_it_is_read_with_its_classes_and_splits(tmp_path, monkeypatch, layout, command):
    layout(tmp_path)
    monkeypatch.chdir(tmp_path)
    dataset = shlex.split(command)[2:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is said of each is tested where it is found
        found = CliRunner().invoke(app, ["data", "check", *dataset, "--json"])
    assert found.exit_code == 0, found.output
    result = json.loads(found.stdout)["result"]
    classes, counts = EXPECTED[layout.__name__]
    assert tuple(result["classes"]) == classes
    assert {
        split: sum(own.values()) for split, own in result["counts"].items() if any(own.values())
    } == counts
