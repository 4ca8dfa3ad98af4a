"""Settings where nothing is said: from rows, and for votes."""

import pytest

from featcache.heads.settings import Settings
from featcache.heads.usual_settings import for_rows


@pytest.mark.parametrize(
    ("rows", "decay", "epochs"), [(5, 0.1, 5000), (300, 0.1, 1667), (3000, 0.01, 209), (300_000, 1e-4, 100)]
)
def test_many_rows_need_less_decay_and_fewer_epochs(rows, decay, epochs):
    found = for_rows(Settings(), rows, ())
    assert found.weight_decay == pytest.approx(decay)
    assert found.epochs == epochs


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
