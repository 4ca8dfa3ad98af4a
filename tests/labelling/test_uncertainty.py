"""How unsure a classifier is: margins of classes, distances from one half of labels, nothing of numbers."""

import numpy as np
import pytest

from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION
from featcache.labelling.uncertainty import in_words, shown_values, uncertainty


def test_of_classes_it_is_one_minus_the_lead_of_the_first():
    values = np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0], [0.4, 0.4, 0.2]])
    assert uncertainty(values, MULTICLASS) == pytest.approx([0.8, 0.0, 1.0])
    assert uncertainty(np.ones((2, 1)), MULTICLASS) == pytest.approx([0.0, 0.0])


def test_of_labels_it_is_the_mean_over_them():
    assert uncertainty(np.array([[0.5, 1.0], [0.0, 1.0], [0.25, 0.75]]), MULTILABEL) == pytest.approx(
        [0.5, 0.0, 0.5]
    )


def test_of_numbers_there_is_none():
    assert uncertainty(np.zeros((2, 1)), REGRESSION) is None


@pytest.mark.parametrize(
    ("values", "task", "said"),
    [
        ([0.41, 0.38, 0.21], MULTICLASS, "not sure: ant 41.0 %, bee 38.0 %"),
        ([0.2, 0.65, 0.15], MULTICLASS, "not quite sure: bee 65.0 %, ant 20.0 %"),
        ([0.02, 0.02, 0.96], MULTICLASS, "rather sure: cat 96.0 %"),
        ([0.9, 0.45, 0.1], MULTILABEL, "least sure of: bee 45.0 %, ant 90.0 %, cat 10.0 %"),
        ([1.5, -2.0, 0.25], REGRESSION, "ant 1.5, bee -2, cat 0.25"),
    ],
)
def test_in_words(values, task, said):
    assert in_words(shown_values(np.array(values), ("ant", "bee", "cat"), task), task) == said
