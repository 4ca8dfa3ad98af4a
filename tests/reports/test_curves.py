"""Learning curves of a report: what is drawn is what was told."""

import math
from types import SimpleNamespace

import pytest
from helpers.made_sweeps import material

from featcache.reports.sections.curves import section

HEAD = {
    "train_loss": [1.0, 0.6, 0.3, 0.1],
    "val_loss": [0.9, 0.5, 0.6, None],
    "val_score": [0.6, 0.85, 0.8, 0.8],
}
RUN = [
    {"phase": 0, "epoch": 0, "step": 0, "val_loss": 0.9, "val_accuracy": 0.7},
    *(
        {
            "phase": 1 if epoch < 3 else 2,
            "epoch": epoch,
            "loss": 0.8 / epoch,
            "accuracy": 0.7 + 0.05 * epoch,
            "val_loss": 0.5 + 0.1 * abs(epoch - 4),
            "val_accuracy": 0.75 + 0.01 * epoch,
        }
        for epoch in range(1, 6)
    ),
]


def classifier(task="classes", **training):
    return SimpleNamespace(task=task, training=training)


def series(chart):
    return {one.name: one for one in chart.series}


def test_a_heads_curves_are_its_history():
    found = section(material(classifier=classifier(history=HEAD, best_epoch=2)))
    loss, score = found.charts
    assert list(series(loss)["training"].y) == HEAD["train_loss"]
    assert list(series(loss)["validation"].y)[:3] == HEAD["val_loss"][:3]
    assert math.isnan(series(loss)["validation"].y[3])  # a gap, not a zero
    assert list(series(score)) == ["validation"]  # heads tell no score of training rows
    assert list(loss.series[0].x) == [1, 2, 3, 4]
    assert loss.marked == ((2.0, "kept: epoch 2"),)
    assert (score.y.unit, loss.y.unit) == ("percent", "")
    assert found.data["curves"][0]["val_loss"] == HEAD["val_loss"]
    assert found.headline == (
        "Epoch 2 of 4 was kept, validation 85.0 %; after it the validation loss rose by 20 %, while training rows were "
        "learnt by heart"
    )


def test_a_fine_tunings_curves_have_phases_and_the_kept_epoch():
    run = {"identity": {}, "finished": {"best_epoch": 4, "stopped": "finished", "verdict": "better"}}
    found = section(material(history=tuple(RUN), run=run))
    loss, score = found.charts
    assert list(series(score)["training"].y)[1:] == [record["accuracy"] for record in RUN[1:]]
    assert list(series(loss)["training"].x) == [0, 1, 2, 3, 4, 5]
    assert loss.marked == ((4.0, "kept: epoch 4"), (2.5, "phase 2"))
    assert "2 phases: phase 1 from epoch 1, phase 2 from epoch 3." in found.content["parts"][0][
        "told"
    ] or any(
        "2 phases: phase 1 from epoch 1, phase 2 from epoch 3." in told
        for told in found.content["parts"][0]["told"]
    )
    assert [chart.name for chart in found.charts] == ["fine-tuning-loss", "fine-tuning-score"]
    assert found.headline.startswith(
        "Epoch 4 of 5 was kept, validation 79.0 %; after it the validation loss rose by 20 %"
    )


def test_of_a_running_or_killed_run_the_best_epoch_so_far_is_marked():
    found = section(material(history=tuple(RUN[:4]), run={"identity": {}, "finished": None}))
    assert found.data["curves"][0]["kept"] == 3
    assert (
        found.headline == "Epoch 3 of 3 was kept, validation 78.0 %; it is the last, so more epochs may help"
    )


def test_a_fine_tuned_classifier_shows_both_histories():
    tuned = {"history": RUN, "best_epoch": 4, "stopped": "finished"}
    found = section(material(classifier=classifier(history=HEAD, best_epoch=2, finetuned=tuned)))
    assert [part["what"] for part in found.content["parts"]] == ["fine-tuning", "head"]
    assert len({chart.name for chart in found.charts}) == 4


def test_history_told_as_records_is_not_shown_twice():
    records = tuple({"epoch": n + 1, **{k: v[n] for k, v in HEAD.items()}} for n in range(4))
    found = section(material(classifier=classifier(history=HEAD, best_epoch=2), history=records))
    assert len(found.content["parts"]) == 1
    assert found.data["curves"][0]["val_loss"] == HEAD["val_loss"]


@pytest.mark.parametrize(
    ("records", "kept", "headline"),
    [
        (
            [{"epoch": 1, "loss": 0.5}],
            None,
            "1 epoch of fine-tuning, without validation rows to choose one by",
        ),
        (
            [{"epoch": 0, "val_loss": 0.5}, {"epoch": 1, "val_loss": 0.9}],
            0,
            "Epoch 0 of 1 was kept; no epoch was better",
        ),
        ([{"epoch": 1, "val_loss": 0.5}, {"epoch": 2, "val_loss": math.nan}], 1, "Epoch 1 of 2 was kept"),
        (
            [{"epoch": 1, "val_loss": 0.5}, {"epoch": 2, "val_loss": 0.5}],
            1,
            "Epoch 1 of 2 was kept; after it nothing",
        ),
    ],
)
def test_odd_histories(records, kept, headline):
    found = section(material(history=tuple(records), run={"identity": {}, "finished": None}))
    assert found.headline.startswith(headline)
    assert found.data["curves"][0]["kept"] == kept


def test_a_diverged_run_says_so():
    finished = {"best_epoch": 0, "stopped": "diverged: the validation loss was nan after epoch 3"}
    found = section(material(history=tuple(RUN[:3]), run={"identity": {}, "finished": finished}))
    assert found.headline == "The fine-tuning diverged after epoch 2"
    assert finished["stopped"] in found.content["parts"][0]["told"][-1]


def test_scores_of_regression_are_r2():
    own = classifier("numbers", history={"val_loss": [1.0, 0.5], "val_score": [-0.5, 0.4]}, best_epoch=2)
    found = section(material(classifier=own))
    assert "R² 0.400" in found.headline
    assert found.charts[1].y.label == "R²"


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"classifier": classifier(history={}, best_epoch=0)},
        {"classifier": classifier()},
        {"classifier": classifier(history={"val_loss": [None, None]}, best_epoch=0)},
        {"run": {"identity": {}, "finished": None}},
    ],
)
def test_what_was_not_learnt_by_epochs_has_no_curves(content):
    assert section(material(**content)) is None
