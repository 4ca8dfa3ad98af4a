"""``featcache finetune``: what it prints, what it leaves, and how it refuses."""

import errno
import os
import re
from pathlib import Path

import pytest

from featcache import Classifier

# The last block of EfficientNet-Lite0 on 64 pixels: as little as there is to compile in a real network.
QUICK = ("--train-from", "block7a", "--epochs", "1", "--batch-size", "6", "--augment", "none", "--lr", "1e-4")


@pytest.fixture(scope="module")
def tuned(trained, network, tmp_path_factory):
    """A fine-tuned classifier's folder, made by the command; and what the command said."""
    import contextlib
    import io

    from featcache import backbones
    from featcache.cli import main

    folder = tmp_path_factory.mktemp("finetune") / "tuned"
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        real = backbones.load
        patch.setattr(
            backbones,
            "load",
            lambda name, *, weights=None: (
                network if weights in (None, "random") else real(name, weights=weights)
            ),
        )
        code = main(["finetune", str(trained.folder), str(trained.photos), "-o", str(folder), *QUICK])
    assert code == 0, err.getvalue()
    return folder, out.getvalue(), err.getvalue()


def test_it_says_what_it_did_and_whether_it_was_worth_it(tuned, trained):
    folder, out, err = tuned
    first, head = out.splitlines()[:2]
    assert first.startswith(f"{folder}: ")
    assert any(words in first for words in ("worth it", "not told apart", "worse than the frozen head"))
    assert head.startswith("  head        linear on efficientnet_lite0.")
    assert "  trained     block7a to pool, and the head (" in out
    assert "  compared on the test images:" in out
    assert "frozen head" in out
    assert "fine-tuned" in out
    assert "epoch 0 (the frozen head): validation loss " in err
    assert "epoch 1: loss " in err
    assert (
        "note: the frozen head is compared as it was before it was fitted again on validation images too"
        in err
    )
    start = trained.folder
    assert (
        f"next: go on with the frozen head: featcache evaluate {start}, then featcache predict {start}" in err
    )


def test_the_folder_is_a_classifier(tuned, trained):
    folder, _, _ = tuned
    loaded = Classifier.load(folder)
    assert loaded.classes == ("cat", "dog", "owl")
    assert set(loaded.metrics) == {"val", "test"}
    assert (Path(f"{folder}.run") / "history.jsonl").read_text().count("\n") == 2
    assert loaded.training["finetuned"]["trained_stages"][0] == "block7a"


@pytest.mark.slow
def test_a_page_that_cannot_be_written_is_told_and_the_run_is_done(
    tuned, trained, small_backbone, cli, monkeypatch
):
    """Continuing a finished run writes the page again, and nothing else."""
    folder, _, _ = tuned
    page = Path(f"{folder}.run", "report.html")
    page.unlink()
    command = ("finetune", trained.folder, trained.photos, "-o", folder, *QUICK, "--resume")

    def replace(source, target, real=os.replace):
        if Path(target) == page:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        ran = cli(*command)
    assert ran.code == 0
    [line] = [line for line in ran.err.splitlines() if line.startswith("warning: ")]
    assert re.fullmatch(
        rf"warning: cannot write the page {page}: No space .*\[errno 28, ENOSPC\]; free some space.*; "
        "the run is done, and the same command with --resume writes the page again",
        line,
    )
    assert not page.exists()
    start = trained.folder
    assert f"next: go on with the frozen head: featcache evaluate {start}, " in ran.err
    assert cli(*command).code == 0
    assert page.exists()


def test_a_second_run_is_refused_until_told_what_to_do(tuned, trained, small_backbone, cli):
    folder, _, _ = tuned
    ran = cli("finetune", trained.folder, trained.photos, "-o", folder, *QUICK)
    assert ran.code == 2
    assert "--resume" in ran.err
    assert "--overwrite" in ran.err


def test_a_plan_in_json(trained, small_backbone, cli):
    plan = cli("finetune", trained.folder, trained.photos, *QUICK, "--dry-run", "--json").result
    assert plan["trained"] == ["block7a", "top", "pool"]
    assert plan["cut"] == "block6d:map"
    assert plan["train"] == 18
    assert plan["epoch_from_photos"] > plan["epoch_from_cut"] > 0


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--train-from", "block9"), 2, "no stage 'block9' to train from; did you mean "),
        (
            ("--rate", "block7a=1e-3"),
            2,
            "have no learning rate, in block6b, block6c, block6d, top, head; end with",
        ),
        (("--rate", "fast"), 2, "rate 'fast': expected PATTERN=RATE"),
        (("--optimizer", "lion"), 2, "no --optimizer 'lion'"),
        (("--augment", "flop"), 2, "flop"),
        (("--batch-norm", "train"), 2, "no --batch-norm 'train'"),
        (("--epochs", "0"), 2, "epochs 0: expected at least 1"),
        (("--layer", "block6d:map"), 2, "layer block6d:map names a layer of a cached cut; give --cache too"),
        (("--resume",), 3, "nothing to resume"),
        (("--cache", "nowhere.h5"), 2, "both photos and a cached cut were given"),
    ],
)
def test_what_cannot_work_is_one_line(trained, small_backbone, cli, tmp_path, options, code, message):
    ran = cli("finetune", trained.folder, trained.photos, "-o", tmp_path / "out", *options)
    assert ran.code == code
    assert message in ran.err
    assert ran.err.count("error:") == 1
    assert "Traceback" not in ran.err
    assert not (tmp_path / "out").exists()


def test_the_cache_of_the_head_itself_trains_the_head(trained, small_backbone, cli, tmp_path):
    """Pooled features are the output of the last stage: with them there is only the head to train."""
    place = tmp_path / "out"
    quick = QUICK[2:]
    done = cli("finetune", trained.folder, "--cache", trained.cache, "-o", place, *quick, "--json").result
    assert done["trained_stages"] == []
    assert done["frozen"]["count"] == 12


def test_no_classifier_and_no_photos(cli, tmp_path, trained, small_backbone):
    assert "no classifier in" in cli("finetune", tmp_path).err
    assert cli("finetune", trained.folder, tmp_path / "nowhere").code == 3
