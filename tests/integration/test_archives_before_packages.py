"""What was written before the modules moved into packages is read, continued, and gives the same numbers.

The archive (``tests/data/archives/make_before_packages.py`` made it) is copied to another folder than the one that it
was made in, as a user moves a folder. Only public names and commands are used here, so that the test is the same
before and after.
"""

import contextlib
import io
import json
import math
import pickle
import shutil
import signal
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcache import Classifier, FeatcacheError, FeatureCache, FeatureExtractor, extract
from featcache.cli import main

ARCHIVE = Path(__file__).parents[1] / "data" / "archives" / "before_packages"
ANSWERS = {told["command"]: told["answer"] for told in json.loads((ARCHIVE / "answers.json").read_text())}
ARRAYS = np.load(ARCHIVE / "arrays.npz")
CACHES = [path for path in sorted((ARCHIVE / "caches").glob("*.h5")) if ".partial" not in path.name]
OF_THE_RUN = {
    "interval",  # Wilson's and the like, where rows were resampled
    "verdict",  # which tells an interval
    "seconds",
    "standardize",  # is called scaling
    "temperature",  # of votes that all count the same
    "warnings",  # there are more of them
    "loss",  # of probabilities that are calibrated otherwise
    "calibration_error",
    "calibration",
    "images_per_second",
    "epoch_from_photos",
    "epoch_from_cut",
    "extract_seconds",
    "folder",
    "classifier",
    "how_to_get",
}
"""What is told of one run on one machine: times, and where files are."""

STORED = 1e-4
"""Relative; from features that are stored, a head's outputs differ by the order of float32 sums alone."""
COMPUTED = 5e-3
"""Relative; the network's float32 sums on another CPU or in another version of XLA differ by some 1e-5, which 28
layers of drawn weights and a head's logits multiply."""


def commands(beginning: str) -> list[str]:
    """The commands of the archive that begin like this."""
    return [command for command in ANSWERS if command.startswith(beginning)]


def unpacked(work: Path) -> Path:
    """Copy the archive and unpack its photos."""
    shutil.copytree(ARCHIVE, work)
    with tarfile.open(work / "photos.tar") as tar:
        tar.extractall(work, filter="data")
    return work


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("moved") / "archive")


@pytest.fixture
def place(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the archive with its photos, as the working directory; tests only read it."""
    monkeypatch.chdir(shared)
    return shared


@pytest.fixture
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, for tests that change it."""
    monkeypatch.chdir(unpacked(tmp_path / "moved"))
    return tmp_path / "moved"


def answer(command: str) -> dict[str, Any]:
    """Run a command; it must end well."""
    printed, before = io.StringIO(), signal.getsignal(signal.SIGTERM)
    with contextlib.redirect_stdout(printed):
        code = main([*command.split(), "--json"])
    signal.signal(signal.SIGTERM, before)  # which a command takes over
    assert code == 0, printed.getvalue()
    return json.loads(printed.getvalue())["result"]


def require_same(found: Any, expected: Any, tolerance: float, where: str = "result") -> None:
    """Compare JSON values: numbers with a fraction roughly, all else exactly; more keys may be told than before."""
    if isinstance(expected, dict):
        missing = expected.keys() - found.keys() - OF_THE_RUN
        assert not missing, f"{where}: {missing} missing"
        for key in expected.keys() - OF_THE_RUN:
            require_same(found[key], expected[key], tolerance, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for number, (own, other) in enumerate(zip(found, expected, strict=True)):
            require_same(own, other, tolerance, f"{where}[{number}]")
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=tolerance, abs_tol=tolerance), (where, found, expected)
    else:
        assert found == expected, where


def same_answer(command: str, tolerance: float = STORED) -> dict[str, Any]:
    """Run a command of the archive again; what it says must be what it said."""
    found = answer(command)
    require_same(found, ANSWERS[command]["result"], tolerance)
    return found


def content(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


# Caches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CACHES, ids=lambda path: path.stem)
def test_caches_are_intact_and_hold_what_they_held(path):
    cache = FeatureCache(path)
    assert cache.verify().ok
    rows = cache.rows_of()[:3]
    for layer in cache.layers:
        found = cache.features(rows, layer, view="all").reshape(len(rows), -1)[:, :64]
        np.testing.assert_array_equal(found, ARRAYS[f"features/{path.stem}/{layer}"])


@pytest.mark.parametrize("command", [*commands("cache"), *commands("data check")])
def test_looking_after_caches_and_data_says_what_it_said(place, command, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path))  # `cache gc` lists what other tests left in theirs
    same_answer(command)


@pytest.mark.parametrize("command", [c for c in commands("extract") if "--dry-run" not in c])
def test_a_finished_cache_is_served_as_it_is(own_place, command):
    target = Path(command.rpartition(" ")[2])
    before = content(target)
    found = answer(command)
    assert found["computed"] == 0
    assert found["images"] == ANSWERS[command]["result"]["images"]
    # Then, images that have no features were counted among the reused ones.
    assert found["reused"] == found["images"] - len(found["quarantined"])
    assert content(target) == before


def test_an_unfinished_extraction_is_gone_on_with(own_place):
    done = extract(
        "photos", backbone="mobilenet_v1_025", weights="random", image_size=32, output="caches/stopped.h5"
    )
    assert done.resumed >= 12
    assert done.computed == done.images - done.resumed - len(done.quarantined)
    # The same features of the same photos, whose rows lie in another order, because another table named them.
    other = FeatureCache("caches/numbers.h5")
    rows = {image.tobytes(): row for row, image in enumerate(other.sha256)}
    own = done.cache.rows_of()
    expected = other.features([rows[image.tobytes()] for image in done.cache.sha256[own]])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(done.cache.features(own), expected, rtol=COMPUTED, atol=COMPUTED * scale)
    assert not Path("caches/stopped.partial.h5").exists()


def test_rows_are_copied_from_old_caches(own_place):
    done = extract(
        "csv:photos/groups.csv",
        backbone="mobilenet_v1_025",
        weights="random",
        image_size=32,
        output="again.h5",
        reuse=["caches/shard.h5", "caches/numbers.h5"],
    )
    assert (done.computed, done.reused) == (0, 90)


# Classifiers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", commands("evaluate"))
def test_classifiers_score_what_they_scored(place, command):
    same_answer(command)


def test_a_cache_that_was_moved_is_asked_for(place):
    with pytest.raises(FeatcacheError, match=r"featcache-archive-\w+/work/caches/plain\.h5"):
        Classifier.load("classifiers/linear").evaluate()


PREDICTED = ("linear", "tuned")


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "name",
    [
        name if name in PREDICTED else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(key.rpartition("/")[2] for key in ARRAYS if key.startswith("probabilities/"))
    ],
)
def test_classifiers_predict_photos_as_they_did(place, name):
    folder = Path("sweeps/finished" if name == "classifier" else "classifiers", name)
    photos = sorted(Path("photos/test").rglob("*.png"))
    found = Classifier.load(folder).predict_proba([str(photo) for photo in photos])
    np.testing.assert_allclose(found, ARRAYS[f"probabilities/{name}"], rtol=COMPUTED, atol=COMPUTED)


@pytest.mark.slow
@pytest.mark.parametrize("command", commands("predict"))
def test_the_command_predicts_as_it_did(place, command):
    same_answer(command, COMPUTED)


@pytest.mark.slow
@pytest.mark.parametrize("command", commands("train-head"))
def test_heads_are_trained_as_they_were(own_place, command, monkeypatch):
    monkeypatch.setattr("featcache.solvers.sgd.LEARNT", 0.0)  # they did not end early
    shutil.rmtree("classifiers")
    options = {"knn": " --temperature 1e6", "numbers.h5": " --l2 1"}
    more = "".join(option for name, option in options.items() if name in command)
    if not any(
        name in command for name in ("knn", "prototype", "logistic", "ridge", "numbers.h5", "--weight-decay")
    ):
        more += " --weight-decay 0"
    require_same(answer(command + AS_BEFORE + more), ANSWERS[command]["result"], COMPUTED)


# Sweeps -----------------------------------------------------------------------------------------------------

SWEEP = commands("sweep")[0]
AS_BEFORE = " --scaling standard --no-refit"
"""What has another default now."""


def test_a_finished_sweep_fits_nothing_anew(own_place):
    expected = ANSWERS[SWEEP]["result"]
    found = answer(SWEEP + AS_BEFORE)
    assert (found["fitted"], expected["fitted"]) == (0, 12)
    require_same({**found, "fitted": 12}, expected, STORED)


def test_an_unfinished_sweep_is_completed(own_place):
    expected = ANSWERS[SWEEP]["result"]
    lines = Path("sweeps/stopped/results.jsonl").read_bytes()
    whole = lines[: lines.rindex(b"\n") + 1]
    assert whole != lines  # half a line, as a kill leaves it
    found = answer(SWEEP.replace("sweeps/finished", "sweeps/stopped") + AS_BEFORE)
    assert found["fitted"] == found["heads"] - whole.count(b"\n") == 6
    require_same({**found, "fitted": 12}, expected, STORED)
    assert Path("sweeps/stopped/results.jsonl").read_bytes().startswith(whole)


# Fine-tuning ------------------------------------------------------------------------------------------------

FINETUNE = commands("finetune classifiers/start photos --output")[0]


def require_tuned(folder: str) -> None:
    """Compare a fine-tuned classifier's arrays with the archive's."""
    from safetensors.numpy import load_file

    name = "backbone.safetensors"
    found, expected = load_file(Path(folder, name)), load_file(ARCHIVE / "classifiers" / "tuned" / name)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=COMPUTED, atol=1e-5, err_msg=name)
    for name, value in Classifier.load(folder).parameters.items():
        np.testing.assert_allclose(value, ARRAYS[f"tuned/{name}"], rtol=COMPUTED, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_an_interrupted_finetuning_ends_like_one_that_was_not(own_place):
    found = answer(FINETUNE.replace("classifiers/tuned", "stopped") + " --resume")
    require_same(found, ANSWERS[FINETUNE]["result"], COMPUTED)
    require_tuned("stopped")


@pytest.mark.slow
def test_a_finished_finetuning_is_told_again(own_place):
    # Nothing is trained, so that no training photo is decoded and found to be unreadable.
    expected = {**ANSWERS[FINETUNE]["result"], "unreadable": {}}
    require_same(answer(FINETUNE + " --resume"), expected, COMPUTED)
    require_tuned("classifiers/tuned")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [*commands("finetune classifiers/start photos --train-from"), *commands("backbones")]
)
def test_what_would_train_is_said_as_before(place, command):
    same_answer(command)


# Estimators -------------------------------------------------------------------------------------------------


def unpickled(name: str) -> Any:
    """Return an old estimator; skip where its module has moved, which scikit-learn's own pickles may do, too."""
    try:
        return pickle.loads((ARCHIVE / "pickles" / f"{name}.pickle").read_bytes())
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("featcache."):
            raise
        pytest.skip(f"pickles of estimators are read by the version that wrote them: {error}")


@pytest.mark.parametrize("name", ["classifier", "regressor"])
def test_pickled_heads(name):
    estimator = unpickled(name)
    features = FeatureCache(ARCHIVE / "caches" / "plain.h5").arrays("test")[0]
    told = estimator.predict_proba if name == "classifier" else estimator.predict
    np.testing.assert_allclose(told(features), ARRAYS[f"pickles/{name}"], rtol=STORED, atol=STORED)


@pytest.mark.parametrize("pickled", [False, True], ids=["new", "pickled"])
def test_an_extractor_takes_from_its_old_folder(own_place, pickled):
    new = FeatureExtractor(
        backbone="mobilenet_v1_025", weights="random", image_size=32, cache=Path("features")
    )
    extractor = unpickled("extractor") if pickled else new.fit([])
    before = {path: content(path) for path in Path("features").glob("*.h5")}
    photos = [str(path) for path in sorted(Path("photos/test").rglob("*.png"))]
    found = extractor.transform(photos)[:, :64]
    np.testing.assert_array_equal(found, ARRAYS["pickles/extractor"])  # they were stored, and are read
    assert {path: content(path) for path in Path("features").glob("*.h5")} == before
