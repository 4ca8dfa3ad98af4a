"""Nearest neighbours and class means, against scikit-learn and scipy in float64."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid, NearestNeighbors

from featcache.errors import DataError, UnknownNameError, UsageError
from featcache.heads.nearest import (
    TIE,
    _search,
    block_rows,
    knn_scores,
    nearest_rows,
    prototype_scores,
    prototypes,
)

M, Q, D, C = 150, 70, 24, 4
METRICS = ("cosine", "euclidean")
SEVERAL = (7, 1, 20)

# A share is off by TIE where it wins, and by the rounding of a float32 below 1.
CLOSE = {"rtol": 0, "atol": TIE + 1e-7}


def problem(count: int, seed: int, offset: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes; nobody's neighbours are tied."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, C, count)
    centres = np.random.default_rng(7).normal(size=(C, D))
    return (offset + centres[labels] + 2 * random.normal(size=(count, D))).astype(np.float32), labels


X, Y = problem(M, seed=0)
QUERY, _ = problem(Q, seed=1)


def oracle(
    neighbours: int,
    metric: str,
    query: np.ndarray | None = QUERY,
    *,
    x: np.ndarray = X,
    y: np.ndarray = Y,
    **how,
):
    brute = KNeighborsClassifier(neighbours, metric=metric, algorithm="brute", **how)
    return brute.fit(x.astype(np.float64), y).predict_proba(np.asarray(query, np.float64))


# Votes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("many", SEVERAL)
def test_shares_of_the_votes_are_those_of_scikit_learn(metric, many):
    got = knn_scores(X, Y, QUERY, classes=C, neighbours=many, metric=metric)
    assert (got.shape, got.dtype) == ((Q, C), np.float32)
    np.testing.assert_allclose(got, oracle(many, metric), **CLOSE)


@pytest.mark.parametrize(("metric", "temperature"), [("cosine", 0.07), ("cosine", 1.0), ("euclidean", 0.5)])
def test_with_a_temperature_a_vote_fades_with_the_distance(metric, temperature):
    for many in SEVERAL:
        scores = knn_scores(X, Y, QUERY, classes=C, neighbours=many, metric=metric, temperature=temperature)
        # scikit-learn's cosine distance is 1 − similarity; the 1 cancels out of the shares.
        want = oracle(many, metric, weights=lambda distance: np.exp(-distance / temperature))
        # A closeness off by 1e-6 · (norms of 10) is a vote off by 1e-5 / temperature.
        np.testing.assert_allclose(scores, want, rtol=0, atol=TIE + 1e-5 / temperature)


def test_a_temperature_of_almost_nothing_does_not_overflow_and_leaves_the_nearest():
    got = knn_scores(X, Y, QUERY, classes=C, neighbours=20, temperature=1e-6)
    np.testing.assert_array_equal(got.argmax(1), oracle(1, "cosine").argmax(1))


def test_of_equal_votes_the_nearest_row_wins():
    # On a line, from the nearest: classes 2, 0, 1, 1, 0. Rows are in another order.
    x, y = np.array([[5.0], [1.0], [4.0], [2.0], [3.0]]), np.array([0, 2, 1, 0, 1])
    query = np.zeros((1, 1))
    got = np.concatenate(
        [knn_scores(x, y, query, classes=3, neighbours=many, metric="euclidean") for many in range(1, 6)]
    )
    assert got.argmax(1).tolist() == [2, 2, 2, 1, 0]
    want = np.array([[0, 0, 1], [0.5, 0, 0.5], [1 / 3] * 3, [0.25, 0.5, 0.25], [0.4, 0.4, 0.2]])
    np.testing.assert_allclose(got, want, **CLOSE)


def test_a_row_has_as_many_votes_as_its_weight_says():
    weight = np.random.default_rng(3).integers(1, 5, M)
    got = knn_scores(X, Y, QUERY, classes=C, neighbours=9, metric="euclidean", weight=weight)
    nearest = np.argsort(cdist(QUERY.astype(np.float64), X), axis=1)[:, :9]
    votes = np.array([np.bincount(Y[rows], weight[rows], C) for rows in nearest])
    np.testing.assert_allclose(got, votes / votes.sum(axis=1, keepdims=True), **CLOSE)


@pytest.mark.parametrize("metric", METRICS)
def test_rows_of_weight_0_are_not_there_whatever_they_hold(metric):
    there = np.arange(M) % 3 > 0
    x, y = X.copy(), Y.copy()
    x[~there] = np.nan
    x[3] = np.inf
    y[~there] = -1
    got = knn_scores(x, y, QUERY, classes=C, neighbours=5, metric=metric, weight=there)
    np.testing.assert_allclose(got, oracle(5, metric, x=X[there], y=Y[there]), **CLOSE)


def test_where_fewer_rows_are_there_than_should_vote_all_of_them_do():
    weight = np.arange(M) < 6
    labels = np.where(weight, Y, -1)  # of rows that are not there, which may not vote even so
    got = [knn_scores(X, labels, QUERY, classes=C, neighbours=k, weight=weight) for k in (3, 6, 50, 1000)]
    everyone = np.bincount(Y[:6], minlength=C) / 6
    np.testing.assert_allclose(got[2], np.tile(everyone, (Q, 1)), **CLOSE)
    np.testing.assert_array_equal(got[2], got[1])
    np.testing.assert_array_equal(got[2], got[3])
    assert not np.allclose(got[0], got[1])


def test_features_far_from_zero_lose_no_neighbours():
    # 1000 away, a squared norm is 2.4e7, and float32 keeps no unit of it; squared distances are about 200.
    x, y = problem(M, seed=0, offset=1000)
    query, _ = problem(Q, seed=1, offset=1000)
    got = knn_scores(x, y, query, classes=C, neighbours=7, metric="euclidean")
    np.testing.assert_allclose(got, oracle(7, "euclidean", query, x=x, y=y), **CLOSE)


# Left out one at a time -------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_without_queries_every_row_is_scored_without_its_own_vote(metric):
    got = knn_scores(X, Y, classes=C, neighbours=5, metric=metric)
    fitted = NearestNeighbors(n_neighbors=5, metric=metric, algorithm="brute").fit(X.astype(np.float64))
    others = fitted.kneighbors(return_distance=False)
    votes = np.array([np.bincount(Y[rows], minlength=C) for rows in others])
    np.testing.assert_allclose(got, votes / 5, **CLOSE)


def test_a_copy_of_a_row_is_another_row():
    x, y = np.concatenate([X, X]), np.concatenate([np.zeros(M, int), np.ones(M, int)])
    got = knn_scores(x, y, classes=2, neighbours=1, metric="euclidean")
    np.testing.assert_array_equal(got.argmax(1), 1 - y)


# Blocks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", [QUERY, None])
def test_many_small_blocks_give_what_one_large_one_gives(query):
    asked = M if query is None else Q
    memory = 17 * 4 * (2 * M + D + 12 * 20)
    assert block_rows(memory, asked, M, D, most=20) == 17  # divides neither 70 nor 150
    small = knn_scores(X, Y, query, classes=C, neighbours=20, metric="euclidean", memory=memory)
    large = knn_scores(X, Y, query, classes=C, neighbours=20, metric="euclidean")
    np.testing.assert_array_equal(small, large)


def test_all_blocks_and_all_weights_share_one_compiled_program():
    memory = 11 * 4 * (2 * M + D + 36)
    before = _search()._cache_size()
    for weight in (None, np.arange(M) % 2, np.arange(M) > 20):
        parts = [part for part, _, _ in nearest_rows(X, QUERY, most=3, weight=weight, memory=memory)]
        assert [row for part in parts for row in range(part.start, part.stop)] == list(range(Q))
        assert len(parts) == 7
    assert _search()._cache_size() == before + 1


@pytest.mark.parametrize(("memory", "queries", "want"), [(1, 10, 1), (10**6, 10, 10), (1 << 28, 10**6, 1024)])
def test_a_block_has_one_query_at_least_and_no_more_than_there_are(memory, queries, want):
    assert block_rows(memory, queries, 100, 100, most=20) == want


def test_a_million_rows_are_searched_in_the_memory_that_was_given():
    # The nearness in float32, twice, is most of it.
    assert 0.9 < 2 * 4 * 10**6 * block_rows(10**9, 10**5, 10**6, 1280, most=20) / 10**9 <= 1


@pytest.mark.parametrize("metric", METRICS)
def test_the_nearest_rows_come_with_their_closeness(metric):
    (_, closeness, rows), *rest = nearest_rows(X, QUERY, most=6, metric=metric)
    assert not rest
    distance = cdist(QUERY.astype(np.float64), X.astype(np.float64), metric)
    np.testing.assert_array_equal(rows, np.argsort(distance, axis=1)[:, :6])
    nearest = np.sort(distance, axis=1)[:, :6]
    # Float32 sums of 24 terms: 24 · 6e-8 of the largest, and of the squared norm (about 150) for a distance.
    np.testing.assert_allclose(closeness, 1 - nearest if metric == "cosine" else -nearest, rtol=0, atol=2e-5)


# What cannot work -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"metric": "cosin"}, UnknownNameError, "no metric 'cosin'; did you mean 'cosine'"),
        ({"neighbours": 0}, UsageError, "neighbours 0: expected at least 1"),
        ({"temperature": 0.0}, UsageError, "temperature 0.0: expected above 0, or None"),
        ({"temperature": np.inf}, UsageError, "temperature inf: expected above 0"),
        ({"classes": 3}, DataError, r"labels 0\.\.3; expected 0\.\.2 for 3 classes"),
        ({"weight": np.zeros(M)}, DataError, "0 training rows are there; 1 or more are needed"),
        ({"weight": np.arange(M) < 1, "query": None}, DataError, "1 training rows are there; 2 or more"),
        ({"weight": -np.ones(M)}, UsageError, "weight is negative"),
        ({"weight": np.ones(M - 1)}, UsageError, r"weights of shape \(149,\) for 150 rows"),
        ({"query": QUERY[:, 1:]}, UsageError, r"\(150, 24\) and queries \(70, 23\): expected \[M, D\] and"),
        ({"labels": Y[1:]}, UsageError, r"labels of shape \(149,\) for 150 rows"),
    ],
)
def test_what_cannot_work_is_refused_with_a_reason(given, error, text):
    given = {"train": X, "labels": Y, "query": QUERY, "classes": C, "neighbours": 5} | given
    with pytest.raises(error, match=text):
        knn_scores(**given)


def test_the_row_that_is_not_finite_is_named_though_it_is_in_a_later_block():
    x, query = X.copy(), QUERY.copy()
    x[12, 3], query[66, 0] = np.nan, np.inf
    with pytest.raises(DataError, match="row 12 of the training rows holds NaN"):
        knn_scores(x, Y, QUERY, classes=C, neighbours=5)
    with pytest.raises(DataError, match="row 66 of the queries holds NaN"):
        knn_scores(X, Y, query, classes=C, neighbours=5, memory=1)
    with pytest.raises(DataError, match="row 12 of the training rows holds NaN"):
        prototypes(x, Y, classes=C)
    with pytest.raises(DataError, match="row 66 of the queries"):
        prototype_scores(prototypes(X, Y, classes=C), query)


# Class means ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.5, 1000.0])
def test_the_nearest_class_mean_is_that_of_scikit_learn(offset):
    x, y = problem(M, seed=0, offset=offset)
    query, _ = problem(Q, seed=1, offset=offset)
    scores = prototype_scores(prototypes(x, y, classes=C, metric="euclidean"), query, metric="euclidean")[0]
    fitted = NearestCentroid().fit(x.astype(np.float64), y)
    np.testing.assert_array_equal(scores.argmax(1), fitted.predict(query.astype(np.float64)))
    want = -np.square(cdist(query.astype(np.float64), fitted.centroids_)) / 2
    # A product of means around their centre (norm 5) with rows of norm 5e3 in float32: 24 · 6e-8 · 25e3 at most.
    tolerance = 1e-4 if offset < 1 else 0.04
    np.testing.assert_allclose(
        scores - scores[:, :1], want - want[:, :1], rtol=0, atol=tolerance, err_msg="differences of scores"
    )


def test_cosine_normalises_rows_and_means():
    scores = prototype_scores(prototypes(X, Y, classes=C), QUERY)[0]
    unit = X / np.linalg.norm(X.astype(np.float64), axis=1, keepdims=True)
    means = [unit[label == Y].mean(0) for label in range(C)]
    np.testing.assert_allclose(scores, 1 - cdist(QUERY.astype(np.float64), means, "cosine"), atol=2e-6)


def test_lengths_do_not_matter_to_cosine_and_a_row_of_zeros_is_similar_to_nothing():
    lengths = np.linspace(0.1, 30, M)[:, None]
    one, other = (prototypes(x.astype(np.float32), Y, classes=C) for x in (X, X * lengths))
    np.testing.assert_allclose(one["kernel"], other["kernel"], atol=1e-6)
    np.testing.assert_array_equal(prototype_scores(one, np.zeros((1, D))), np.zeros((1, 1, C)))


@pytest.mark.parametrize("metric", METRICS)
def test_many_weightings_at_once_are_as_many_heads(metric):
    random = np.random.default_rng(4)
    weight = np.stack([np.ones(M), random.integers(0, 4, M), np.arange(M) < 40])
    many = prototypes(X, Y, weight, classes=C, metric=metric)
    assert (many["kernel"].shape, many["bias"].shape) == ((3, D, C), (3, C))
    for head, factors in enumerate(weight.astype(int)):
        repeated = np.repeat(np.arange(M), factors)
        alone = prototypes(X[repeated], Y[repeated], classes=C, metric=metric)
        got, want = (
            prototype_scores(
                {name: value[one : one + 1] for name, value in heads.items()}, QUERY, metric=metric
            )
            for heads, one in ((many, head), (alone, 0))
        )
        # The centre, and with it the summand of each row, is that of other rows.
        np.testing.assert_allclose(got - got[..., :1], want - want[..., :1], atol=1e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_a_class_without_rows_never_wins_and_rows_of_weight_0_may_hold_anything(metric):
    weight = np.stack([Y != 2, (Y != 2) & (np.arange(M) > 10)]).astype(np.float32)
    x = np.where(np.any(weight > 0, axis=0)[:, None], X, np.nan)
    scores = prototype_scores(prototypes(x, Y, weight, classes=C, metric=metric), QUERY, metric=metric)
    assert np.isneginf(scores[:, :, 2]).all()
    assert np.isfinite(np.delete(scores, 2, axis=2)).all()
    fitted = prototypes(X[weight[0] > 0], Y[weight[0] > 0], classes=C, metric=metric)
    want = prototype_scores(fitted, QUERY, metric=metric)[0]
    np.testing.assert_array_equal(scores[0].argmax(1), want.argmax(1))
