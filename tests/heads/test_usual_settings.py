"""Settings where nothing is said: from rows, and for votes."""

import pytest

from featcache.heads.settings import Settings
from featcache.heads.usual_settings import for_rows, usual_head


@pytest.mark.parametrize(
    ("rows", "decay", "epochs"), [(5, 0.1, 5000), (300, 0.1, 1667), (3000, 0.01, 209), (300_000, 1e-4, 100)]
)
def test_many_rows_need_less_decay_and_fewer_epochs(rows, decay, epochs):
    found = for_rows(Settings(), rows, ())
    assert found.weight_decay == pytest.approx(decay)
    assert found.epochs == epochs


@pytest.mark.parametrize(
    ("rows", "own", "patience"),
    [
        (100, Settings(), 10),
        (128_000, Settings(), 10),
        (256_000, Settings(), 5),
        (800_000, Settings(), 2),
        (10**8, Settings(), 2),
        (800_000, Settings(batch_size=1024), 10),
        (800_000, Settings(optimizer="lbfgs"), 10),  # an epoch of all rows is one step
    ],
)
def test_many_rows_need_less_patience(rows, own, patience):
    assert for_rows(own, rows, ()).patience == patience
    assert for_rows(own, rows, {"patience"}).patience == 10


@pytest.mark.parametrize(
    "own",
    [
        Settings(optimizer="adamw"),  # whose decay is another one
        Settings(loss="sigmoid"),
        Settings(loss="squared"),
        Settings(head="logistic"),
    ],
)
def test_what_is_no_penalty_of_classes_has_no_decay(own):
    assert for_rows(own, 100, ()).weight_decay == 0


def test_what_is_said_stays():
    own = Settings(head="mlp", weight_decay=0.0, epochs=7)
    assert for_rows(own, 100, {"weight_decay", "epochs"}) == own


@pytest.mark.parametrize(
    ("rows", "classes", "said", "head"),
    [
        (1000, 5, (), "logistic"),
        (1000, 5, ("seed", "val_fraction", "scaling", "class_weights", "views", "c"), "logistic"),
        (1562, 5, (), "logistic"),
        (1563, 5, (), "linear"),  # 10,003,200
        (100, 100, (), "linear"),
        (100, 2, ("learning_rate",), "linear"),
        (100, 2, ("epochs", "c"), "linear"),
        (100, 1, (), "linear"),  # nothing to tell apart, which only descent can say
    ],
)
def test_the_head_of_few_rows_is_solved_unless_descent_is_meant(rows, classes, said, head):
    assert usual_head(rows, 1280, classes, said) == head
