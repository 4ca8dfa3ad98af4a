"""Curves of what was learnt by epoch, as far as there are numbers."""

import math

import pytest

from featcache.pages.learning_curves import best_epoch, charts_of, learning


def test_the_best_epoch_is_of_the_lowest_validation_loss():
    losses = [0.9, 0.7, 0.5, 0.6]
    assert best_epoch([{"epoch": epoch, "val_loss": loss} for epoch, loss in enumerate(losses)]) == 2
    assert best_epoch([{"epoch": 1, "val_loss": 0.5}, {"epoch": 2, "val_loss": 0.5}]) == 1
    assert best_epoch([{"epoch": 1, "val_loss": None}, {"epoch": 2, "val_loss": math.nan}]) is None
    assert best_epoch([]) is None


@pytest.mark.parametrize("what", ["head", "fine-tuning"])
def test_it_is_said_when_and_on_what_the_training_rows_were_scored(what):
    """A training loss is the mean over the epoch's steps, of photos as they were augmented: no epoch's end has it."""
    one = learning(what, [{"epoch": 1, "loss": 0.5, "val_loss": 0.4, "val_accuracy": 0.9}])
    loss, score = charts_of(one)
    assert "Training rows: while the epoch was learnt" in loss.note
    assert ("augmentation" in loss.note) == (what == "fine-tuning")
    assert "Validation rows, after the epoch" in loss.note
    assert "Training" not in score.note, "there is no score of training rows"
