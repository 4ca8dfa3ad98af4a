"""Two engines, one cache: onnxruntime and JAX compute the same rows, serve each other, and are compared first."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.photo_folders import photo_folder
from helpers.programs import in_a_child

from featcache import FeatureCache, extract, plan_extraction, train_head
from featcache.classifier.prediction import Predictor
from featcache.errors import (
    ExportError,
    FeatcacheError,
    FeatcacheWarning,
    Interrupted,
    MissingExtraError,
    UsageError,
)
from featcache.extraction import engines
from featcache.extraction.engines import Asked, chosen_engine, greatest_gap
from featcache.extraction.resolved import resolve
from featcache.extraction.spec import ExtractionSpec

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

LAYERS = ("block1a:map", "block2b:avg")  # a quarter of the network to compile; pooled and not
STATISTICS = "image:statistics"
ROUNDING = 1e-4
"""Of a layer's largest value: the engines add the same float32 products in other orders, over up to 864 of them (3×3
pixels of 96 channels) in each of a few layers, 2^-24 a sum. Seen on one machine: below 1e-6."""


@pytest.fixture
def photos(tmp_path) -> Path:
    return photo_folder(tmp_path / "photos", {"cat": 6, "dog": 5})


@pytest.fixture
def run(network, photos, tmp_path):
    """An extraction from the photos, by default with onnxruntime into ``a.h5``."""

    def run(engine="onnxruntime", function=extract, **options):
        given = {"backbone": network, "layers": LAYERS, "output": tmp_path / "a.h5", "engine": engine}
        return function(photos, **given | options)

    return run


@pytest.fixture
def asked(network) -> Asked:
    # Another object for each test, which remembers no session of another.
    own = replace(network)
    return Asked(own, tuple(own.layers(LAYERS[1:])), own.transforms, "float32")


@pytest.fixture
def accelerator(monkeypatch) -> None:
    monkeypatch.setattr("featcache.extraction.batching.on_cpu", lambda: False)


@pytest.fixture
def off(monkeypatch) -> None:
    """An onnxruntime whose numbers are wrong by one in a thousand."""
    from featcache.graphs import sessions

    real = sessions.open_session

    class Off:
        def __init__(self, session):
            self.session, self.get_outputs = session, session.get_outputs

        def run(self, names, fed):
            return [values * np.float32(1.001) for values in self.session.run(names, fed)]

    monkeypatch.setattr(sessions, "open_session", lambda model, **options: Off(real(model, **options)))


def assert_same(ours, theirs, rows=slice(None)) -> None:
    assert ours.layers.keys() == theirs.layers.keys()
    for layer in ours.layers:
        have, want = (cache.features(cache.rows_of(), layer, view="all")[rows] for cache in (ours, theirs))
        assert greatest_gap(have, want) < ROUNDING, layer


# The same rows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"views": 3}, {"batch_size": 4}, {"dtype": "float16"}], ids=str)
def test_both_engines_make_the_same_cache(run, tmp_path, options):
    ours = run(**options)
    theirs = run("jax", output=tmp_path / "apart" / "b.h5", **options)
    assert (ours.computed, theirs.computed) == (11, 11)
    assert ours.cache.ids == theirs.cache.ids
    assert set(ours.cache.layers) == {*LAYERS, STATISTICS}
    for layer, spec in ours.cache.layers.items():
        assert spec.fingerprint == theirs.cache.layers[layer].fingerprint, "the engine is no part of a recipe"
    if options.get("dtype") == "float16":  # which keeps 11 bits: neighbours may be rounded apart
        a, b = (each.cache.features(each.cache.rows_of(), LAYERS[1]) for each in (ours, theirs))
        assert greatest_gap(a, b) <= 2**-10
    else:
        assert_same(ours.cache, theirs.cache)


def test_rows_come_in_order_and_unreadable_photos_are_left_out(run, photos, tmp_path):
    (photos / "cat/3.png").write_text("no photo")
    with pytest.warns(FeatcacheWarning, match="unreadable 1"):
        ours = run()
    with pytest.warns(FeatcacheWarning, match="unreadable 1"):
        theirs = run("jax", output=tmp_path / "apart" / "b.h5")
    assert [*ours.quarantined] == [*theirs.quarantined] == ["cat/3.png"]
    assert_same(ours.cache, theirs.cache)
    # A single photo's row, whatever its neighbours were.
    alone = run(output=tmp_path / "alone" / "c.h5", split="[5:6]")
    row = ours.cache.ids.index(alone.cache.ids[0])
    have, want = alone.cache.features([0], LAYERS[1]), ours.cache.features([row], LAYERS[1])
    np.testing.assert_array_equal(have, want)  # a call for each image: not even rounding differs


def test_the_engine_is_named(run):
    done = run()
    label = f"onnxruntime {onnxruntime.__version__}"
    assert done.engine == label
    provenance = done.cache.identity["provenance"]
    assert provenance["engine"] == label
    assert provenance["versions"]["onnxruntime"] == onnxruntime.__version__
    assert run().engine == "", "nothing was computed"


def test_nothing_is_printed(run, capfd):
    run()
    assert capfd.readouterr() == ("", "")


# Caches of both serve each other ----------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [("jax", "onnxruntime"), ("onnxruntime", "jax")])
def test_what_one_engine_began_the_other_finishes(run, tmp_path, first, second):
    seen = [("", 0)]
    with pytest.raises(Interrupted, match="which are kept"):
        run(
            first,
            stop=lambda: seen[-1][0] == "compute" and seen[-1][1] >= 2,
            on_progress=lambda p: seen.append((p.stage, p.done)),
        )
    done = run(second)
    assert 0 < done.resumed < 11
    assert done.computed == 11 - done.resumed
    assert done.engine.startswith(second)
    assert_same(done.cache, run("jax", output=tmp_path / "apart" / "b.h5").cache)


def test_what_onnxruntime_began_it_finishes_however_few_are_left(run, network, tmp_path):
    seen = [("", 0)]
    with pytest.raises(Interrupted, match="which are kept"):
        run(
            "onnxruntime",
            stop=lambda: seen[-1][0] == "compute" and seen[-1][1] >= 2,
            on_progress=lambda p: seen.append((p.stage, p.done)),
        )
    done = run("auto", backbone=replace(network))  # which remembers no session that is open
    assert 0 < done.computed < engines.FEW
    assert done.engine.startswith("onnxruntime ")
    whole = run("onnxruntime", output=tmp_path / "apart" / "b.h5").cache
    for layer in LAYERS:
        have, want = (cache.features(cache.rows_of(), layer) for cache in (done.cache, whole))
        assert np.array_equal(have, want)


@pytest.mark.parametrize(("first", "second"), [("jax", "onnxruntime"), ("onnxruntime", "jax")])
def test_rows_of_one_engine_are_copied_by_the_other(run, photos, tmp_path, first, second):
    made = run(first, split="[:8]", output=tmp_path / "part" / "b.h5")
    done = run(second, reuse=[made.path])
    assert (done.computed, done.reused) == (3, 8)
    assert run(second).reused == 11, "and what is finished stays"


# Which engine -----------------------------------------------------------------------------------------------


def test_auto_takes_jax_for_few_images_and_onnxruntime_for_many(run, asked):
    own = {"backbone": asked.network}
    assert run("auto", **own).engine.startswith("jax ")
    assert run("auto", plan_extraction, **own).engine == "", "nothing is left to compute"
    assert chosen_engine("auto", asked, engines.FEW - 1).name == "jax"
    many = chosen_engine("auto", asked, engines.FEW)
    assert many.name == "onnxruntime"
    assert chosen_engine("auto", asked, 1) is many, "it is open, so that one image costs nothing more"


def test_only_images_to_be_computed_count(run, photos, monkeypatch):
    monkeypatch.setattr(engines, "FEW", 5)
    assert run("auto", split="[:6]").engine.startswith("onnxruntime ")


@pytest.mark.usefixtures("accelerator")
def test_an_accelerator_is_left_to_jax(asked):
    assert chosen_engine("auto", asked, 10**6).name == "jax"
    with pytest.raises(UsageError, match="computes on the CPU, and JAX has an accelerator here"):
        chosen_engine("onnxruntime", asked, 10**6)


def test_bfloat16_is_left_to_jax(run, asked):
    half = replace(asked, compute_dtype="bfloat16")
    assert chosen_engine("auto", half, 10**6).name == "jax"
    with pytest.raises(UsageError, match="computes in float32, and bfloat16 was asked for"):
        run(compute_dtype="bfloat16")


def test_without_the_extra(run, asked, monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert chosen_engine("auto", asked, 10**6).name == "jax"
    with pytest.raises(
        MissingExtraError, match=r"needs onnx and onnxruntime; run: pip install 'featcache\[onnx\]'"
    ):
        run()


def test_what_onnx_cannot_say_is_left_to_jax(run, asked, monkeypatch):
    from featcache.graphs import traced

    rules = {name: rule for name, rule in traced.RULES.items() if name != "conv_general_dilated"}
    monkeypatch.setattr(traced, "RULES", rules)
    assert chosen_engine("auto", asked, 10**6).name == "jax"
    with pytest.raises(ExportError, match="'conv_general_dilated'"):
        chosen_engine("onnxruntime", asked, 10**6)


def test_an_engine_that_does_not_exist(run):
    with pytest.raises(UsageError, match="no engine 'onnxruntim'; did you mean 'onnxruntime'"):
        run("onnxruntim")


# Other numbers ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("off")
def test_an_engine_with_other_numbers_writes_no_row(run, asked, tmp_path):
    with pytest.raises(
        FeatcacheError, match=r"layer block2b:avg of .* differs by 1\.0e-03 .*; use the engine jax"
    ):
        run(layers=LAYERS[1:], backbone=asked.network)
    assert not [*tmp_path.glob("*.h5")]


@pytest.mark.usefixtures("off")
def test_auto_says_so_and_computes_with_jax(asked):
    with pytest.warns(
        FeatcacheWarning, match="JAX computes instead: .* gives other features of the probe images than JAX"
    ):
        assert chosen_engine("auto", asked, 10**6).name == "jax"


def test_a_graph_that_does_not_open(asked, monkeypatch):
    from featcache.graphs import sessions

    def broken(model, **options):
        raise RuntimeError("bad node")

    monkeypatch.setattr(sessions, "open_session", broken)
    told = "onnxruntime cannot open efficientnet_lite0.*: RuntimeError: bad node; use the engine jax"
    with pytest.raises(FeatcacheError, match=told):
        chosen_engine("onnxruntime", asked, None)
    with pytest.warns(FeatcacheWarning, match=f"JAX computes instead: {told}"):
        assert chosen_engine("auto", asked, 10**6).name == "jax"


def test_an_error_of_onnxruntime_is_one_sentence(asked):
    engine = chosen_engine("onnxruntime", asked, None)
    with pytest.raises(
        FeatcacheError, match=r"onnxruntime cannot run efficientnet_lite0.*; use the engine jax"
    ):
        engine.run(np.zeros((1, 5, 5, 3), np.uint8))


# Photos -----------------------------------------------------------------------------------------------------


def test_predictions_of_both(network, photos):
    spec = ExtractionSpec(backbone=network, layers=LAYERS[1:], image_statistics=False)
    predictor = Predictor(resolve(spec), values=lambda features: features[:, :3], classes=("a", "b", "c"))
    ours, theirs = (predictor.predict_proba(photos, engine=engine) for engine in ("onnxruntime", "jax"))
    assert ours.shape == (11, 3)
    assert greatest_gap(ours, theirs) < ROUNDING
    assert [each.id for each in predictor.predict(photos, engine="onnxruntime")] == [
        each.id for each in predictor.predict(photos, engine="jax")
    ]
    with pytest.raises(UsageError, match="no engine 'fast'"):
        predictor.predict(photos, engine="fast")


@pytest.mark.filterwarnings("ignore::featcache.errors.FeatcacheWarning")  # few photos: no calibration
def test_a_classifier_is_scored_and_asked_with_either(run, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    classifier = train_head(run(layers=LAYERS[1:]).path, head="ridge", output=None)
    others = photo_folder(tmp_path / "others", {"cat/new": 3, "dog/new": 3})
    scores = classifier.evaluate(str(others), engine="onnxruntime")
    (made,) = (tmp_path / "home" / "caches").glob("*.h5")
    assert FeatureCache(made).identity["provenance"]["engine"].startswith("onnxruntime ")
    made.unlink()
    again = classifier.evaluate(str(others), engine="jax")
    assert scores.accuracy == again.accuracy
    ours, theirs = (classifier.predict(others, engine=engine) for engine in ("onnxruntime", "jax"))
    for own, other in zip(ours, theirs, strict=True):
        assert (own.id, own.classes) == (other.id, other.classes)
        np.testing.assert_allclose(own.probabilities, other.probabilities, rtol=0, atol=1e-4)


def test_an_open_session_stays_in_its_process(asked):
    chosen_engine("onnxruntime", asked, None)
    there = pickle.loads(pickle.dumps(asked.network))
    again = replace(asked, network=there)
    assert not there.remembers(engines._key(again)), (
        "a session cannot travel; the other process opens its own"
    )
    assert chosen_engine("onnxruntime", again, None).name == "onnxruntime"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_a_fork_is_refused_as_with_jax(run):
    run()
    told = in_a_child(lambda: str(run(output="b.h5")))
    assert "this process was forked after JAX had started" in told
