"""Weights that agree as far as a layer give the same features: what lies behind it decides nothing."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.photo_folders import photo_folder
from helpers.tiny_weights import Tensors, drawn, registered, write
from helpers.weights_server import use_own_home

from featcache import Classifier, extract, load_backbone, train_head
from featcache.backbones.loaded import LoadedBackbone
from featcache.cache import FeatureCache
from featcache.cli import main
from featcache.errors import IdentityError
from featcache.extraction.planning.plan import serves
from featcache.extraction.resolved import resolve
from featcache.extraction.spec import ExtractionSpec
from featcache.finetuning.data import from_cut

pytestmark = pytest.mark.filterwarnings("ignore:image size .* was trained on:RuntimeWarning")

LAYERS = ("early:avg", "early:map", "late:avg", "late:map", "pool", "logits")
STAGES = ("early", "late", "pool", "logits")


@pytest.fixture(autouse=True)
def _own_world(tmp_path, monkeypatch):
    use_own_home(tmp_path / "home", monkeypatch)
    monkeypatch.setenv("FEATCACHE_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    with registered():
        yield


@pytest.fixture
def photos(tmp_path) -> Path:
    return photo_folder(tmp_path / "photos", {"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 2})


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    """The same backbone with its classifier, without it, and with two other ones."""
    whole = drawn()
    forms = {
        "top": whole,
        "notop": drawn(top=False),
        "own": {**drawn(top=False), **logits_of(drawn(seed=1, classes=3))},
        "tuned": {**drawn(top=False), **logits_of(drawn(seed=2))},
    }
    return {name: write(tmp_path / f"{name}.safetensors", tensors) for name, tensors in forms.items()}


def logits_of(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name.startswith("logits")}


def bytes_of(cache: FeatureCache, layer: str = "pool") -> bytes:
    return cache.features(range(len(cache)), layer).tobytes()


# ---- never a false match


def changed(name: str, place: int) -> Tensors:
    """The tensors with the last bit of one value changed."""
    tensors = drawn()
    values = tensors[name].reshape(-1)
    values[place] = np.nextafter(values[place], np.float32(9))
    return tensors


@pytest.mark.parametrize("place", [0, -1], ids=["first", "last"])
@pytest.mark.parametrize("name", sorted(drawn()))
def test_one_value_decides_exactly_where_it_lies_before_the_layer_or_at_it(tmp_path, name, place):
    first = resolve(spec(write(tmp_path / "a.safetensors", drawn()), *LAYERS))
    other = resolve(spec(write(tmp_path / "b.safetensors", changed(name, place)), *LAYERS))
    assert other.recipe != first.recipe
    for layer in first.specs:
        held, asked = first.specs[layer], other.specs[layer]
        identity = {"recipe": first.recipe, "layers": [{"name": layer, **held.to_json()}]}
        behind = STAGES.index(name.partition(".")[0]) > STAGES.index(layer.partition(":")[0])
        assert serves(identity, other.recipe, {layer: asked}) == behind
        assert serves(identity, first.recipe, {layer: held})


def spec(weights: Path, *layers: str) -> ExtractionSpec:
    return ExtractionSpec(backbone="narrow", layers=layers, weights=weights, image_statistics=False)


@pytest.mark.parametrize(
    "other",
    [{"image_size": 24}, {"dtype": "float16"}, {"compute_dtype": "bfloat16"}],
    ids=lambda each: next(iter(each)),
)
def test_all_else_in_the_recipe_still_decides(files, photos, other):
    extract(photos, backbone="narrow", weights=files["top"], output="a.h5")
    value = next(iter(other.values()))
    with pytest.raises(IdentityError, match=rf"holds other features than asked for:\n(.*\n)*.*{value}"):
        extract(photos, backbone="narrow", weights=files["notop"], output="b.h5", reuse=["a.h5"], **other)


# ---- they serve each other


@pytest.mark.parametrize(
    ("first", "second"),
    [("top", "notop"), ("notop", "top"), ("top", "own"), ("own", "notop"), ("own", "tuned")],
)
def test_a_named_cache_is_copied_whatever_lies_behind_the_layer(files, photos, first, second):
    made = extract(
        photos, backbone="narrow", weights=files[first], layers=("pool", "early:avg"), output="a.h5"
    )
    assert made.computed == 12
    again = extract(photos, backbone="narrow", weights=files[second], output="b.h5", reuse=["a.h5"])
    assert (again.computed, again.reused) == (0, 12)
    assert bytes_of(FeatureCache(again.path)) == bytes_of(FeatureCache(made.path))
    same = load_backbone("narrow", weights=files[second]).recipe().fingerprint("pool")
    assert FeatureCache(again.path).layers["pool"].fingerprint == same
    assert FeatureCache(again.path).verify().ok


def test_a_cache_beside_the_target_is_found(files, photos):
    extract(photos, backbone="narrow", weights=files["notop"], output="a.h5")
    assert extract(photos, backbone="narrow", weights=files["top"], output="b.h5").computed == 0


def test_the_target_itself_is_finished_and_stays_as_it_is(files, photos):
    extract(photos, backbone="narrow", weights=files["top"], output="a.h5")
    before = Path("a.h5").read_bytes()
    again = extract(photos, backbone="narrow", weights=files["notop"], output="a.h5")
    assert (again.computed, again.reused) == (0, 12)
    assert Path("a.h5").read_bytes() == before


def test_an_image_is_added_by_weights_without_a_top(files, photos):
    extract(photos, backbone="narrow", weights=files["top"], layers=("pool", "early:avg"), output="a.h5")
    photo_folder(photos, {"train/owl": 3})
    added = extract(photos, backbone="narrow", weights=files["notop"], output="a.h5")
    assert (added.computed, added.reused) == (3, 12)
    assert [*FeatureCache(added.path).layers][:2] == ["pool", "early:avg"]
    fresh = extract(photos, backbone="narrow", weights=files["top"], output=photos / "../other/b.h5")
    assert bytes_of(FeatureCache(added.path)) == bytes_of(FeatureCache(fresh.path))


@pytest.mark.parametrize("weights", ["notop", "own"])
def test_a_layer_that_would_be_mixed_up_is_refused(files, photos, weights):
    """The target holds the classifier's outputs, which the other weights do not have, or have otherwise."""
    extract(photos, backbone="narrow", weights=files["top"], layers=("pool", "logits"), output="a.h5")
    ask = {"backbone": "narrow", "weights": files[weights], "output": "a.h5"}
    text = r"holds other features than asked for:\n(.*\n)*  backbone\.weights_sha256: .* in the cache, .* asked for\n"
    with pytest.raises(
        IdentityError, match=text + r"write to another file with --output, or replace it with"
    ):
        extract(photos, **ask)
    replaced = extract(photos, **ask, overwrite=True)
    assert next(iter(FeatureCache(replaced.path).layers)) == "pool"
    assert "logits" not in FeatureCache(replaced.path).layers
    with pytest.raises(IdentityError, match=r"weights_sha256"):
        extract(
            photos,
            backbone="narrow",
            weights=files["tuned"],
            layers=("logits",),
            output="b.h5",
            reuse=["a.h5"],
        )


def test_a_cache_of_several_views_is_copied_too(files, photos):
    made = extract(photos, backbone="narrow", weights=files["top"], output="a.h5", views=3)
    again = extract(photos, backbone="narrow", weights=files["notop"], output="b.h5", reuse=["a.h5"], views=3)
    assert (again.computed, again.reused) == (0, 12)
    with pytest.raises(IdentityError, match=r"views"):
        extract(photos, backbone="narrow", weights=files["notop"], output="c.h5", reuse=["a.h5"])
    classifier = train_head(made.path, epochs=1, output=None)
    plain = extract(photos, backbone="narrow", weights=files["notop"], output="plain.h5")
    assert classifier.evaluate(plain.path).accuracy == classifier.evaluate(made.path).accuracy


# ---- caches and classifiers of earlier versions


@pytest.fixture
def earlier(monkeypatch):
    """Write as earlier versions did, which did not say which weights lie behind a layer."""

    def scope(write):
        with monkeypatch.context() as patch:
            patch.setattr(LoadedBackbone, "weights_sha256_to", lambda self, layer: None)
            return write()

    return scope


def test_a_cache_of_an_earlier_version_serves_its_own_weights(files, photos, earlier):
    ask = {"backbone": "narrow", "weights": files["top"]}
    made = earlier(lambda: extract(photos, **ask, output="a.h5"))
    assert "weights_sha256" not in FeatureCache(made.path).identity["layers"][0]
    assert extract(photos, **ask, output="a.h5").computed == 0
    now = extract(photos, **ask, output="b.h5", reuse=["a.h5"])
    assert (now.computed, now.reused) == (0, 12)
    assert (
        FeatureCache(now.path).layers["pool"].fingerprint
        == FeatureCache(made.path).layers["pool"].fingerprint
    )
    with pytest.raises(IdentityError, match=r"weights_sha256"):
        extract(photos, backbone="narrow", weights=files["notop"], output="c.h5", reuse=["a.h5"])
    classifier = train_head("a.h5", epochs=1, output="head")
    assert classifier.evaluate("b.h5").accuracy == classifier.evaluate("a.h5").accuracy
    assert Classifier.load("head").predict([next(photos.rglob("*.png"))])


# ---- heads, and fine-tuning


@pytest.mark.parametrize(("trained", "here"), [("top", "notop"), ("notop", "top"), ("notop", "own")])
def test_a_head_is_used_on_whatever_lies_behind_its_layer(files, photos, trained, here):
    cache = extract(photos, backbone="narrow", weights=files[trained], output="a.h5").path
    other = extract(photos, backbone="narrow", weights=files[here], output="b.h5").path
    train_head(cache, epochs=2, output="head")
    expected = Classifier.load("head").evaluate(cache).accuracy
    assert Classifier.load("head").evaluate(other).accuracy == expected
    shutil.copy(files[here], files[trained])  # the path that the classifier knows
    assert Classifier.load("head").evaluate(photos).accuracy == expected
    assert load_backbone("head").name == "narrow.custom"
    assert extract(photos, backbone="./head", output="c.h5").computed == 0


@pytest.mark.parametrize("name", ["early.conv.kernel", "late.norm.scale", "late.norm.var"])
def test_a_head_is_refused_where_a_value_before_its_layer_differs(tmp_path, files, photos, name):
    cache = extract(photos, backbone="narrow", weights=files["top"], output="a.h5").path
    train_head(cache, epochs=1, output="head")
    other = write(tmp_path / "other.safetensors", changed(name, 0))
    elsewhere = extract(photos, backbone="narrow", weights=other, output="b.h5")
    assert elsewhere.computed == 12
    with pytest.raises(IdentityError, match="holds other features than this classifier was trained on"):
        Classifier.load("head").evaluate("b.h5")
    shutil.copy(other, files["top"])
    with pytest.raises(IdentityError, match="gives other features than the classifier was trained on"):
        Classifier.load("head").predict([next(photos.rglob("*.png"))])
    with pytest.raises(IdentityError, match="the backbone here is not the one"):
        load_backbone("head")


@pytest.fixture
def cuts(tmp_path, files, photos) -> Classifier:
    """A head, and cuts of the same weights without a top and of others."""
    extract(photos, backbone="narrow", weights=files["top"], output="a.h5")
    other = write(tmp_path / "other.safetensors", changed("early.conv.kernel", 0))
    behind = write(tmp_path / "behind.safetensors", changed("late.conv.kernel", 0))
    for name, weights in {"cut": files["notop"], "other": other, "behind": behind}.items():
        extract(photos, backbone="narrow", weights=weights, layers=("early:map",), output=f"{name}.h5")
    train_head("a.h5", epochs=1, output="head")
    return Classifier.load("head")


@pytest.mark.parametrize("name", ["cut", "behind"])
def test_fine_tuning_begins_from_a_cut_of_weights_that_agree_as_far_as_it(cuts, name):
    network = load_backbone("head")
    assert from_cut(cuts, network, FeatureCache(f"{name}.h5"), None).cut == "early"


def test_fine_tuning_refuses_a_cut_of_other_weights(cuts):
    with pytest.raises(IdentityError, match=r"other\.h5 was made by another network than the classifier's"):
        from_cut(cuts, load_backbone("head"), FeatureCache("other.h5"), None)


@pytest.mark.slow
@pytest.mark.usefixtures("cuts")
def test_fine_tuning_from_a_cut_gives_a_classifier(tmp_path, capsys):
    tune = ["finetune", "head", "--cache", "cut.h5", "--epochs", "1", "--output", "tuned"]
    assert main(tune) == 0, capsys.readouterr().err
    tuned = Classifier.load(tmp_path / "tuned")
    assert tuned.layer_weights_sha256 == tuned.recipe["backbone"]["weights_sha256"]  # it ends at the layer
