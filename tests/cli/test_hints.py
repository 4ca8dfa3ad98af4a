"""The hint for the next step fits what was made, and leads to the scores before the use."""

from types import SimpleNamespace
from typing import Any

import pytest

from featcache.cli.commands import extract, finetune, train_head


def extraction(*layers: str) -> Any:
    return SimpleNamespace(path="x.h5", cache=SimpleNamespace(task="classes", layers=dict.fromkeys(layers)))


@pytest.mark.parametrize(
    ("layers", "shard", "says"),
    [
        (("pool", "image:statistics"), None, "next: featcache train-head x.h5"),
        (("pool", "block6a:map"), None, "next: featcache train-head x.h5"),
        (("block6a:map", "image:statistics"), None, "next: featcache finetune CLASSIFIER --cache x.h5  (CLASSIFIER"),
        (("pool",), "1/3", "next: the other shards, then the same command without --shard in this folder, which joins"),
    ],
)  # fmt: skip
def test_after_an_extraction(layers, shard, says):
    assert extract.next_step(extraction(*layers), shard=shard).startswith(says)


def test_after_a_head():
    look = "next: featcache evaluate head  (class by class), then featcache predict head PHOTO…"
    assert train_head.next_step("head") == look
    assert train_head.next_step("head", tested=False) == "next: featcache predict head PHOTO…"


@pytest.mark.parametrize(("worth_it", "says"), [
    (True, "next: featcache predict tuned PHOTO…"),
    (False, "next: go on with the frozen head: featcache evaluate start, then featcache predict start PHOTO…"),
])  # fmt: skip
def test_after_a_fine_tuning(worth_it, says):
    done: Any = SimpleNamespace(worth_it=worth_it, folder="tuned")
    assert finetune.next_step(done, "start") == says


def test_of_commands(small_backbone, trained, cli, tmp_path):
    ran = cli("extract", trained.photos, "--layer", "stem:map", "-o", tmp_path / "cut.h5")
    assert f"next: featcache finetune CLASSIFIER --cache {tmp_path}/cut.h5" in ran.err
    ran = cli("extract", trained.photos, "--layer", "stem", "--shard", "1/2", "-o", tmp_path / "part.h5")
    assert "next: the other shards" in ran.err
    ran = cli("sweep", trained.cache, "--head", "prototype", "-o", tmp_path / "sweep")
    best = tmp_path / "sweep" / "classifier"
    assert ran.out.startswith("chosen: prototype on ")
    assert (
        f"next: featcache evaluate {best}  (class by class), then featcache predict {best} PHOTO…" in ran.err
    )
