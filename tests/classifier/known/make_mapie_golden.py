"""Write ``mapie_golden.json``: prediction sets of MAPIE's split conformal classifier, for ``test_conformal.py``.

Command: ``python make_mapie_golden.py``, with ``pip install mapie==1.6.0``. MAPIE is no dependency of the tests.
"""

import json
from pathlib import Path

import numpy as np
from mapie.classification import SplitConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin

LEVELS = [0.5, 0.8, 0.9, 0.95]


class GivenProbabilities(ClassifierMixin, BaseEstimator):
    """A classifier whose input are its probabilities."""

    def fit(self, x, y):
        self.classes_, self.is_fitted_ = np.unique(y), True
        return self

    def predict_proba(self, x):
        return np.asarray(x, np.float64)

    def predict(self, x):
        return self.predict_proba(x).argmax(axis=1)


def drawn(count, random):
    logits = random.normal(size=(count, 4)) * 2
    # Multiples of 1/1024 that sum to 1: float32 and float64 hold the same numbers, and there are ties.
    shares = np.floor(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) * 1024)
    shares[:, 0] += 1024 - shares.sum(axis=1)
    p = shares / 1024
    return p, np.array([random.choice(4, p=row) for row in p])


random = np.random.default_rng(0)
held, labels = drawn(120, random)
further, _ = drawn(60, random)
model = GivenProbabilities().fit(held, labels)
mapie = SplitConformalClassifier(model, confidence_level=LEVELS, conformity_score="lac", prefit=True)
_, sets = mapie.conformalize(held, labels).predict_set(further)
golden = {
    "mapie": "1.6.0",
    "levels": LEVELS,
    "held": (held * 1024).astype(int).tolist(),
    "labels": labels.tolist(),
    "further": (further * 1024).astype(int).tolist(),
    "sets": np.moveaxis(sets, 2, 0).astype(int).tolist(),
}
Path(__file__).with_name("mapie_golden.json").write_text(json.dumps(golden) + "\n")
