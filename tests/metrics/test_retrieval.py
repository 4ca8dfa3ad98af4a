"""Scores of a search, against a brute one and scikit-learn's average precision."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from featcache.metrics.retrieval import retrieval_scores, with_retrieval


def brute(x, relevant, same, cuts=(1, 5, 10)):
    """Mean average precision, recall at each cut, and the number of queries; one query after the other."""
    unit = x.astype(float) / np.linalg.norm(x.astype(float), axis=1, keepdims=True)
    precisions, hits = [], []
    for row in range(len(x)):
        others = [other for other in range(len(x)) if same[other] != same[row]]
        truth = np.array([relevant(row, other) for other in others])
        if not truth.any():
            continue
        close = np.round(unit[others] @ unit[row], 6)
        precisions.append(average_precision_score(truth, close))
        ranked = truth[np.argsort(-close, kind="stable")]
        hits.append([bool(ranked[:cut].any()) for cut in cuts])
    return np.mean(precisions), dict(zip(cuts, np.mean(hits, axis=0), strict=True)), len(precisions)


def check(x, known, relevant, same=None, **how):
    got = retrieval_scores(x, known, same=same, **how)
    mean, recall, queries = brute(x, relevant, np.arange(len(x)) if same is None else same)
    assert got.mean_average_precision == pytest.approx(mean, abs=1e-5)
    assert got.recall == pytest.approx(recall)
    assert (got.queries, got.alone) == (queries, len(x) - queries)
    return got


@pytest.mark.parametrize("block_bytes", [1, 4 * 90 * 7, 1 << 26])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_classes_are_relevant_to_themselves(block_bytes, dtype):
    random = np.random.default_rng(0)
    labels = np.append(np.arange(89) % 6, 9)  # the last is the only one of its class
    x = (random.normal(size=(10, 12))[labels] + 2 * random.normal(size=(90, 12))).astype(dtype)
    got = check(x, labels, lambda a, b: labels[a] == labels[b], block_bytes=block_bytes)
    assert got.alone == 1
    assert 0.2 < got.mean_average_precision < got.recall[1] < got.recall[5] < got.recall[10]


def test_multilabel_rows_are_relevant_that_share_a_label():
    random = np.random.default_rng(1)
    known = random.random((70, 5)) < 0.25
    x = (known @ random.normal(size=(5, 8)) + random.normal(size=(70, 8))).astype(np.float32)
    got = check(x, known, lambda a, b: bool((known[a] & known[b]).any()))
    assert got.alone == int((~known.any(axis=1)).sum())


def test_copies_of_the_query_are_not_found_for_it():
    random = np.random.default_rng(2)
    same = np.arange(40) // 2
    labels = same % 4
    x = random.normal(size=(20, 6))[same].astype(np.float32)
    got = check(x, labels, lambda a, b: labels[a] == labels[b], same)
    assert retrieval_scores(x, labels).recall[1] == 1
    assert got.recall[1] < 0.7


def test_equal_similarities_share_a_place():
    x = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    labels = np.array([0, 0, 1, 1])
    check(x, labels, lambda a, b: labels[a] == labels[b])


def test_nothing_relevant_is_no_score():
    assert retrieval_scores(np.eye(3, dtype=np.float32), np.arange(3)) is None


def test_scores_go_into_the_json_of_an_evaluation_where_they_were_asked_for():
    got = retrieval_scores(np.eye(4, dtype=np.float32), np.zeros(4, int))
    assert with_retrieval({"a": 1, "retrieval": None}, None) == {"a": 1}
    assert json.loads(json.dumps(with_retrieval({"a": 1}, got)))["retrieval"] == {
        "mean_average_precision": 1.0,
        "recall": {"1": 1.0, "5": 1.0, "10": 1.0},
        "queries": 4,
        "alone": 0,
    }
