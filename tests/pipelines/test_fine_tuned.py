"""What the experiments that fine-tune share, with a small network."""

import json

import pytest
from common import TEXTURES, Material, few
from fine_tuned import run

import featcache

pytestmark = pytest.mark.slow

SGD = {"optimizer": "sgd", "learning_rate": 1e-3, "batch_size": 8}


def test_a_head_and_the_last_stages_are_trained_and_pictures_looked_at_before_and_after(tmp_path):
    network = featcache.load_backbone("mobilenet_v1_025", weights="random", image_size=64)
    path = run(
        "e0",
        title="E0",
        material=Material(few(featcache.open_dataset(TEXTURES), 2), network, small=True),
        output=tmp_path,
        layer="pool",
        head={**SGD, "head": "linear"},
        tuning={**SGD, "train_from": network.network.order[-3], "augment": "none"},
        transforms={"crop_mode": "squash", "crop_pct": 1.0},
        published=[("training loss", 0.49, "")],
        differs="everything",
    )
    record = json.loads(path.read_text())
    loss, frozen, tuned = record["comparisons"]
    assert (loss["what"], loss["published"]) == ("training loss", 0.49)
    assert loss["ours"] == pytest.approx(record["result"]["history"][-1]["loss"])
    assert frozen["ours"] == record["result"]["frozen"]["accuracy"]
    assert tuned["ours"] == record["result"]["tuned"]["accuracy"]
    pictures = record["result"]["pictures"]
    assert len(pictures["frozen_head"]) == len(pictures["tuned"]) == 9
    assert all(len(found) == 5 for found in pictures["tuned"].values())
    assert record["settings"]["transforms"]["crop_mode"] == "squash"
