"""The benchmark of accuracies runs, and default heads keep up with a grid search on features as photos have them."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from helpers.feature_caches import CLASSES, feature_cache, photos

DRAWS = 5
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "accuracy.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("accuracy", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def cache(tmp_path) -> Path:
    x, labels = photos(np.random.default_rng(0), 900)
    splits = ["train"] * 500 + ["test"] * 400
    return Path(
        feature_cache(tmp_path / "photos.h5", x, labels, splits, classes=list("abcde")[:CLASSES]).path
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", [{}, {"noise": 0.1}, {"halves": True}], ids=["plain", "noise", "halves"])
def test_default_heads_keep_up_with_a_grid_search(benchmark, cache, case):
    scores = benchmark.full(cache, "pool", 200, 3, case)
    means = {name: np.mean(values) for name, values in scores.items()}
    # 400 test rows and 3 draws: differences between two heads on the same rows scatter by about 0.015.
    for name in ("train-head", "logistic", "sweep"):
        assert means[name] > means["grid search"] - 0.03, means


@pytest.mark.slow
def test_no_head_is_below_class_means_with_a_few_shots(benchmark, cache):
    for shots in (1, 5):
        scores = {
            name: np.array(values) for name, values in benchmark.few(cache, "pool", shots, DRAWS).items()
        }
        means = scores["prototype"]
        # Few neighbours vote less well than class means: see the benchmark.
        assert scores.pop("knn").shape == (DRAWS,)
        for name, values in scores.items():
            assert values.mean() >= means.mean() - means.std() / np.sqrt(DRAWS), (name, shots)
