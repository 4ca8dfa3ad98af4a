"""Weights as people saved them: what fits up to the features is taken and said, what is unclear is refused."""

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy
from helpers import near_network
from helpers.near_network import WIDTHS, dense, keras_base, torch_tensors
from helpers.support import keras
from helpers.torch_writer import Checkpoint, checkpoint, legacy, zipped

from featcache.backbones import load
from featcache.backbones.loaded import LoadedBackbone
from featcache.errors import FeatcacheWarning, WeightsError

Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    with near_network.registered():
        yield


def loaded(name: str, path: Path | str) -> tuple[LoadedBackbone, list[str]]:
    """The network and what was said, without the folder."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network = load(name, weights=path)
    assert all(issubclass(each.category, FeatcacheWarning) for each in caught)
    return network, [str(each.message).replace(f"{Path(path).parent}/", "") for each in caught]


def saved(folder: Path, tensors: Tensors, name: str = "w.safetensors") -> Path:
    path = folder / name
    safetensors.numpy.save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, path)
    return path


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: value for name, value in tensors.items()}


def ones(**shapes: tuple[int, ...]) -> Tensors:
    return {name.replace("__", "."): np.ones(shape, np.float32) for name, shape in shapes.items()}


def assert_features_of(network: LoadedBackbone, original: LoadedBackbone) -> None:
    """Every tensor up to the pooling is the original's, bit for bit."""
    names = [name for name in original.tensors if not name.startswith("logits.")]
    assert names == [name for name in network.tensors if not name.startswith("logits.")]
    assert len(names) == 5 * len(WIDTHS)
    for name in names:
        assert network.tensors[name].tobytes() == original.tensors[name].tobytes(), name


# PyTorch: prefixes and classifiers

HEAD = "left out: {} (no part of near up to 'pool')"
MLP = {
    **ones(classifier__1__bias=(6,), classifier__4__weight=(5, 6)),
    "classifier.1.weight": np.ones((6, 8), np.float32),
}
COUNT = len(torch_tensors())
FEATURES = torch_tensors(None)


@pytest.mark.parametrize(
    ("tensors", "said", "last"),
    [
        (
            prefixed("module.", torch_tensors()),
            f"the prefix 'module.' is taken off all {COUNT} names",
            "logits",
        ),
        (
            prefixed("model.", torch_tensors(5)),
            f"the prefix 'model.' is taken off all {COUNT} names",
            "logits",
        ),
        (prefixed("_orig_mod.", FEATURES), "the prefix '_orig_mod.' is taken off all 18 names", "pool"),
        (
            prefixed("module.backbone.", torch_tensors(3)),
            f"the prefix 'module.backbone.' is taken off all {COUNT} names",
            "logits",
        ),
        (prefixed("net.a.b.", FEATURES), "the prefix 'net.a.b.' is taken off all 18 names", "pool"),
        (
            {**prefixed("encoder.", FEATURES), **ones(fc__weight=(5, 8), fc__bias=(5,))},
            "the prefix 'encoder.' is taken off 18 of 20 names; " + HEAD.format("fc.weight, fc.bias"),
            "pool",
        ),
        (  # torch.optim.swa_utils.AveragedModel
            {**prefixed("module.", torch_tensors()), "n_averaged": np.array(3)},
            f"the prefix 'module.' is taken off {COUNT} of {COUNT + 1} names; "
            "left out: n_averaged (no part of near up to 'logits')",
            "logits",
        ),
        (  # nn.Sequential(backbone, head)
            {**prefixed("0.", FEATURES), "1.weight": np.ones((5, 8), np.float32)},
            "the prefix '0.' is taken off 18 of 19 names; " + HEAD.format("1.weight"),
            "pool",
        ),
        (
            {**FEATURES, **MLP},
            HEAD.format("classifier.1.bias, classifier.4.weight, classifier.1.weight"),
            "pool",
        ),
        (
            {**FEATURES, **ones(fc__0__weight=(9, 8), fc__3__weight=(5, 9))},
            HEAD.format("fc.0.weight, fc.3.weight"),
            "pool",
        ),
        (
            {**FEATURES, "classifier.1.weight": np.ones((5, 99), np.float32)},
            HEAD.format("classifier.1.weight"),
            "pool",
        ),
        (
            {**FEATURES, **{f"head.{n}.weight": np.ones(2, np.float32) for n in range(7)}},
            HEAD.format(
                "head.0.weight, head.1.weight, head.2.weight, head.3.weight, head.4.weight, … (7 in all)"
            ),
            "pool",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "-",
)
def test_state_dicts_with_a_prefix_or_a_classifier_of_their_own(tmp_path, tensors, said, last):
    network, told = loaded("near", saved(tmp_path, tensors))
    assert [sorted(line.replace(",", "").split()) for line in told] == [
        sorted(f"w.safetensors: {said}".replace(",", "").split())
    ]
    assert network.network.order[-1] == last
    assert_features_of(network, load("near", weights=saved(tmp_path, torch_tensors(), "original")))


def test_files_that_fit_as_they_are_say_nothing(tmp_path):
    for tensors, last in ((torch_tensors(), "logits"), (torch_tensors(5), "logits"), (FEATURES, "pool")):
        network, told = loaded("near", saved(tmp_path, tensors))
        assert (told, network.network.order[-1], network.ends_because) == ([], last, "")


def test_a_partly_used_file_has_the_recipe_of_the_file_without_classifier(tmp_path):
    """The digest is over the tensors that are used, so that the same features are the same features."""
    plain, _ = loaded("near", saved(tmp_path, FEATURES, "plain"))
    for tensors in ({**FEATURES, **MLP}, prefixed("module.", FEATURES)):
        network, _ = loaded("near", saved(tmp_path, tensors))
        assert network.recipe() == plain.recipe()
        layers = network.layers(["pool", "block_2"])
        images = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 3), np.uint8)
        ours, theirs = (each.function(layers)(each.state, images) for each in (network, plain))
        assert jax.tree.map(lambda value: np.asarray(value).tobytes(), ours) == jax.tree.map(
            lambda value: np.asarray(value).tobytes(), theirs
        )


# PyTorch: levels of checkpoints


def levels(**of: Tensors | Any) -> bytes:
    """A checkpoint with a state dict under each name; what is no dict of arrays stays as it is."""
    content: dict[str, Any] = {}
    storages: dict[str, np.ndarray] = {}
    for level, value in of.items():
        if not (isinstance(value, dict) and any(isinstance(each, np.ndarray) for each in value.values())):
            content[level] = value
            continue
        one = checkpoint({f"{level}/{name}": array for name, array in value.items()})
        renamed = {key: f"{level}{key}" for key in one.storages}
        for key, call in one.content.items():
            storage = call.arguments[0]
            identity = storage.identity
            storage.identity = (*identity[:2], renamed[identity[2]], *identity[3:])
            content.setdefault(level, {})[key.partition("/")[2]] = call
        storages |= {renamed[key]: array for key, array in one.storages.items()}
    return zipped(Checkpoint(content, storages))


LIGHTNING = {
    "epoch": 3,
    "global_step": 40,
    "pytorch-lightning_version": "2.4.0",
    "loops": {"fit_loop": {"state_dict": {}}},
    "callbacks": {},
    "optimizer_states": [{"state": {0: {"step": 1.0}}, "param_groups": [{"lr": 0.1, "params": [0]}]}],
    "lr_schedulers": [],
    "hparams_name": "kwargs",
    "hyper_parameters": {"lr": 0.1, "arch": "near"},
}
OTHER = torch_tensors(seed=1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"state_dict": torch_tensors(), "epoch": 1}, []),
        (
            {"state_dict": prefixed("module.", torch_tensors())},
            [f"the prefix 'module.' is taken off all {COUNT} names"],
        ),
        ({"ema": torch_tensors()}, ["the weights under 'ema' are taken"]),
        ({"net": torch_tensors(), "acc": 93.1, "epoch": 9}, ["the weights under 'net' are taken"]),
        (
            {"model_state_dict": FEATURES, "optimizer": {"state": {}}},
            ["the weights under 'model_state_dict' are taken"],
        ),
        (
            {**LIGHTNING, "state_dict": {**prefixed("model.", torch_tensors(5)), **ones(loss__weight=(5,))}},
            [
                f"the prefix 'model.' is taken off {COUNT} of {COUNT + 1} names; left out: loss.weight "
                "(no part of near up to 'logits')"
            ],
        ),
        (  # self-supervised: the centre of the loss is no other set of weights
            {"encoder": prefixed("backbone.", FEATURES), "loss": ones(center=(1, 8))},
            ["the weights under 'encoder' are taken; the prefix 'backbone.' is taken off all 18 names"],
        ),
        ({"model": torch_tensors(), "ema": torch_tensors()}, []),  # the same twice
        (
            {"state_dict": OTHER, "state_dict_ema": torch_tensors()},
            [
                "the weights under 'state_dict_ema' are taken; those of the last step are --weights w.pth#state_dict"
            ],
        ),
        (
            {"model": prefixed("module.", OTHER), "model_ema": prefixed("module.", torch_tensors())},
            [f"the prefix 'module.' is taken off all {COUNT} names"],
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "-",
)
def test_levels_of_checkpoints(tmp_path, content, said):
    path = tmp_path / "w.pth"
    path.write_bytes(levels(**content))
    network, told = loaded("near", path)
    assert told == [f"w.pth: {line}" for line in said]
    assert_features_of(network, load("near", weights=saved(tmp_path, torch_tensors(), "original")))


@pytest.mark.parametrize(
    ("content", "ways", "parts"),
    [
        (
            {"model": OTHER, "ema": torch_tensors()},
            "those under 'model' or those under 'ema'",
            ["model", "ema"],
        ),
        (
            {"student": OTHER, "teacher": prefixed("backbone.", torch_tensors())},
            "those under 'student' or those under 'teacher.backbone'",
            ["student", "teacher.backbone"],
        ),
        (
            {"state_dict": {**prefixed("teacher.", torch_tensors()), **prefixed("student.", OTHER)}},
            "those under 'state_dict.teacher' or those under 'state_dict.student'",
            ["state_dict.teacher", "state_dict.student"],
        ),
    ],
)
def test_several_sets_that_fit_are_refused_with_what_chooses_each(tmp_path, content, ways, parts):
    path = tmp_path / "w.pth"
    path.write_bytes(levels(**content))
    with pytest.raises(WeightsError) as caught:
        load("near", weights=path)
    options = " or ".join(f"--weights {path}#{part}" for part in parts)
    assert (
        str(caught.value) == f"{path} holds several sets of weights that fit: {ways}; choose one: {options}"
    )
    found = {part: load_quietly("near", f"{path}#{part}") for part in parts}
    for seed, tensors in enumerate((torch_tensors(), OTHER)):
        kernel = tensors["features.1.0.weight"].transpose(2, 3, 1, 0)
        matching = [
            part
            for part, each in found.items()
            if np.array_equal(each.tensors["block_1.conv.kernel"], kernel)
        ]
        assert len(matching) == 1, seed
        assert found[matching[0]].weights_path == f"{path}#{matching[0]}"


def load_quietly(name: str, path: str) -> LoadedBackbone:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FeatcacheWarning)
        return load(name, weights=path)


def test_names_with_and_without_a_prefix_are_two_sets(tmp_path):
    path = saved(tmp_path, {**FEATURES, **prefixed("ema.", torch_tensors(None, seed=1))})
    with pytest.raises(
        WeightsError, match=rf"under 'ema' or the names without a prefix; .*{path}#ema or .*{path}#\.$"
    ):
        load("near", weights=path)
    assert_features_of(
        load_quietly("near", f"{path}#."), load("near", weights=saved(tmp_path, FEATURES, "original"))
    )
    with pytest.raises(
        WeightsError, match=r"w\.safetensors has no weights under 'emma'; did you mean 'ema'\?$"
    ):
        load("near", weights=f"{path}#emma")


def test_a_file_whose_own_name_has_a_sign_is_that_file(tmp_path):
    network, told = loaded("near", saved(tmp_path, torch_tensors(), "run#7"))
    assert (told, network.weights_path) == ([], str(tmp_path / "run#7"))


# What stays an error


def without(*names: str) -> Tensors:
    return {name: value for name, value in FEATURES.items() if name not in names}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            without("features.2.1.bias"),
            r"does not fit this network: 1 missing \(block_2\.norm\.bias\)\. Give",
        ),
        (
            {**without("features.2.1.bias"), **ones(fc__weight=(5, 8))},
            r"does not fit this network: 1 missing \(block_2\.norm\.bias\)\. Give",
        ),
        (
            prefixed("module.", without("features.2.1.bias")),
            r"\(its names without 'module\.'\) does not fit this network: 1 missing \(block_2\.norm\.bias\)",
        ),
        (
            {**FEATURES, "features.2.0.weight": np.ones((6, 5, 1, 1), np.float32), **ones(fc__weight=(5, 8))},
            r"1 wrong shape \(block_2\.conv\.kernel is \(1, 1, 5, 6\), expected \(1, 1, 4, 6\)\)",
        ),
        (  # a deeper network
            {**FEATURES, "features.4.0.weight": np.ones((9, 8, 1, 1), np.float32)},
            r"does not fit this network: 1 unknown \(features\.4\.0\.weight\)",
        ),
        (
            {**FEATURES, "features.2.1.surplus": np.ones(3, np.float32)},
            r"1 unknown \(features\.2\.1\.surplus\)",
        ),
        (
            prefixed("module.", {**FEATURES, "features.2.1.surplus": np.ones(3, np.float32)}),
            r"without 'module\.'\) does not fit this network: 1 unknown \(features\.2\.1\.surplus\)",
        ),
        (ones(a__weight=(3,), b__bias=(3,)), r"does not fit this network: 2 unknown \(a\.weight, b\.bias\)"),
        (
            {**FEATURES, "fc.weight": np.full((5, 8), np.nan, np.float32)},
            r"1 of 19 tensors have NaN or infinite",
        ),
    ],
    ids=[
        "missing",
        "missing+head",
        "missing+prefix",
        "shape+head",
        "deeper",
        "surplus",
        "surplus+prefix",
        "other",
        "nan",
    ],
)
def test_what_is_missing_or_another_before_the_features_is_refused(tmp_path, tensors, message):
    with pytest.raises(WeightsError, match=message):
        load("near", weights=saved(tmp_path, tensors))


def test_the_classifier_of_another_model_cannot_be_asked_for(tmp_path):
    path = saved(tmp_path, {**FEATURES, **ones(fc__weight=(5, 8))})
    network = load_quietly("near", str(path))
    assert [str(layer) for layer in network.layers(["pool"])] == ["pool"]
    with pytest.raises(WeightsError) as caught:
        network.layers(["logits"])
    assert str(caught.value) == (
        f"no stage 'logits': the classifier in {path} is its own (fc.weight), not that of this network, which ends "
        "after 'pool'; ask for 'pool' or a stage before it"
    )


def test_a_network_cut_before_the_pooling_serves_the_stages_that_it_has(tmp_path):
    cut = {
        name: value
        for name, value in FEATURES.items()
        if not name.startswith("features.3.") or "tracked" in name
    }
    path = saved(tmp_path, {**cut, **ones(fc__weight=(5, 6))})
    network, told = loaded("near", path)
    missing = [f"block_3.norm.{leaf}" for leaf in ("bias", "mean", "scale", "var")]
    assert told == [
        f"w.safetensors: the network ends after 'block_2', as {', '.join(['block_3.conv.kernel', *missing])} are "
        "missing; left out: fc.weight (no part of near up to 'block_2')"
    ]
    assert [str(layer) for layer in network.layers(["block_2"])] == ["block_2:avg"]
    with pytest.raises(
        WeightsError, match=r"^no stage 'pool': .*w\.safetensors lacks block_3\.conv\.kernel, .*, so that "
    ):
        network.layers(["pool"])


def test_a_layer_of_its_own_that_takes_images_is_pointed_out(tmp_path):
    _, told = loaded(
        "near", saved(tmp_path, {**FEATURES, "adapter.weight": np.ones((3, 1, 1, 1), np.float32)})
    )
    assert told[0].endswith(
        "adapter.weight: a layer that takes images; if it stands before the network, its features are not those of "
        "that model"
    )


# Keras: models with heads of their own


def _tutorial() -> Any:
    """As Keras' tutorial on transfer learning builds it."""
    layers, image = keras().layers, keras().Input((8, 8, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(layers.RandomFlip("horizontal")(image))
    x = layers.GlobalAveragePooling2D()(keras_base()(x, training=False))
    return keras().Model(image, dense(5, name="dense")(layers.Dropout(0.2)(x)))


def _sequential() -> Any:
    layers = keras().layers
    return keras().Sequential(
        [
            keras().Input((8, 8, 3)),
            keras_base(),
            layers.GlobalAveragePooling2D(),
            dense(9, name="d1"),
            dense(5, name="d2"),
        ]
    )


def _flat() -> Any:
    base, layers = keras_base(), keras().layers
    x = layers.BatchNormalization(name="head_bn")(layers.GlobalAveragePooling2D()(base.output))
    return keras().Model(base.input, dense(5, name="out")(layers.Dropout(0.5)(x)))


def _two_models() -> Any:
    """Augmentation and head are models inside too."""
    layers = keras().layers
    augment = keras().Sequential([layers.RandomFlip()], name="augment")
    head = keras().Sequential(
        [layers.GlobalAveragePooling2D(), dense(9, name="h1"), dense(5, name="h2")], name="head"
    )
    return keras().Sequential([keras().Input((8, 8, 3)), augment, keras_base(), head])


def _same_names() -> Any:
    """A second model, of another architecture, has a layer of a name that the base has too."""
    image = keras().Input((8, 8, 3))
    conv = {"kernel_initializer": "zeros", "name": "block_1_conv", "use_bias": False}
    other = keras().Input((8, 8, 3))
    x = keras().layers.Conv2D(2, 1, **conv)(other)
    side = keras().Model(
        other, keras().layers.BatchNormalization(name="bn", scale=False, center=False)(x), name="side"
    )
    pooled = [keras().layers.GlobalAveragePooling2D()(each(image)) for each in (keras_base(), side)]
    return keras().Model(image, dense(5, name="dense")(keras().layers.Concatenate()(pooled)))


DENSE = "dense.kernel, dense.bias"
TUTORIAL = (_tutorial, f"left out: {DENSE}")
SIDE_BN = ", ".join(f"side.bn.{leaf}" for leaf in ("moving_mean", "moving_variance"))
SIDE = (
    _same_names,
    f"the weights under 'base' are taken; left out: {DENSE}, side.block_1_conv.kernel, {SIDE_BN}",
)
FLAT = (
    _flat,
    "left out: head_bn.gamma, head_bn.beta, head_bn.moving_mean, head_bn.moving_variance, out.kernel, … (6 in all)",
)


@pytest.mark.filterwarnings("ignore:You are saving your model")
@pytest.mark.parametrize(
    ("build", "said", "name"),
    [
        (*TUTORIAL, "w.keras"),
        (*TUTORIAL, "w.h5"),
        (*TUTORIAL, "w.weights.h5"),
        (_sequential, "left out: d1.kernel, d1.bias, d2.kernel, d2.bias", "w.keras"),
        (_sequential, "left out: d1.kernel, d1.bias, d2.kernel, d2.bias", "w.h5"),
        (*FLAT, "w.h5"),
        (*FLAT, "w.weights.h5"),
        (_two_models, "left out: h1.kernel, h1.bias, h2.kernel, h2.bias", "w.weights.h5"),
        (*SIDE, "w.keras"),
        (*SIDE, "w.h5"),
    ],
)
def test_keras_models_with_heads_of_their_own(tmp_path, build, said, name):
    path = tmp_path / name
    model = build()
    model.save_weights(path) if name.endswith(".weights.h5") else model.save(path)
    network, told = loaded("near.keras", path)
    (shown,) = (line.removeprefix(f"{path.name}: ").partition(" (no part")[0] for line in told)
    # The order is that of the file's format.
    assert sorted(re.split("[, ]+", shown)) == sorted(re.split("[, ]+", said))
    assert network.network.order[-1] == "pool"
    by_name = {weight.path: np.asarray(weight) for weight in keras_base().weights}
    for number in range(1, len(WIDTHS) + 1):
        for theirs, ours in (
            ("conv/kernel", "conv.kernel"),
            ("bn/gamma", "norm.scale"),
            ("bn/moving_variance", "norm.var"),
        ):
            expected = by_name[f"block_{number}_{theirs}"]
            assert network.tensors[f"block_{number}.{ours}"].tobytes() == expected.tobytes()


@pytest.mark.filterwarnings("ignore:You are saving your model")
def test_two_bases_that_fit_are_refused_with_what_chooses_each(tmp_path):
    image = keras().Input((8, 8, 3))
    bases = [keras_base("left", seed=1), keras_base("right", seed=2)]
    pooled = [keras().layers.GlobalAveragePooling2D()(each(image)) for each in bases]
    model = keras().Model(image, dense(5, name="dense")(keras().layers.Concatenate()(pooled)))
    for name in ("w.keras", "w.h5"):
        path = tmp_path / name
        model.save(path)
        with pytest.raises(
            WeightsError, match=rf"under 'left' or those under 'right'; choose one: --weights {path}#left"
        ):
            load("near.keras", weights=path)
        for base in bases:
            network = load_quietly("near.keras", f"{path}#{base.name}")
            kernel = np.asarray(base.get_layer("block_2_conv").kernel)
            assert network.tensors["block_2.conv.kernel"].tobytes() == kernel.tobytes()


def test_a_keras_model_named_by_the_default_of_another_layout(tmp_path):
    path = tmp_path / "w.h5"
    _sequential().save_weights(path.with_suffix(".weights.h5"))
    with pytest.raises(
        WeightsError,
        match=r"has the layout of near\.keras, not of near\.torch; name it as the backbone: near\.k",
    ):
        load("near", weights=path.with_suffix(".weights.h5"))


# Keras: networks that normalise inside


def _normalising(mean: float, variance: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        image, base = keras().Input((8, 8, 3)), keras_base()
        layer = keras().layers.Normalization(name="normalization")
        x = keras().layers.GlobalAveragePooling2D()(base(layer(image)))
        model = keras().Model(image, dense(5, name="dense")(x))
        layer.adapt_mean.assign(np.full(layer.adapt_mean.shape, mean))
        layer.adapt_variance.assign(np.full(layer.adapt_variance.shape, variance))
        model.save_weights(path)

    return write


@dataclass
class Constants:
    mean: float
    variance: float
    part: str
    expected: tuple[float, float]
    said: str


@pytest.mark.parametrize(
    "case",
    [
        Constants(0.5, 0.25, "", (0.5, 0.25), ""),
        Constants(0, 1, "", (0, 1), "taken as the transforms (mean 0, 0, 0, std 1, 1, 1 of 0..1)"),
        Constants(0.3, 0.04, "#normalization", (0.3, 0.2), "(mean 0.3, 0.3, 0.3, std 0.2, 0.2, 0.2 of 0..1)"),
        Constants(
            0.3,
            0.04,
            "#normalization.imagenet",
            (0.3, 0.1),
            "(mean 0.3, 0.3, 0.3, std 0.1, 0.1, 0.1 of 0..1)",
        ),
    ],
)
def test_constants_of_a_normalising_network_are_transforms(tmp_path, case):
    path = tmp_path / "w.weights.h5"
    _normalising(case.mean, case.variance)(path)
    network, told = loaded("near.keras", f"{path}{case.part}")
    assert case.said in told[0]
    assert len(told) == 1 + bool(case.said)
    np.testing.assert_allclose(
        (network.transforms.mean[0], network.transforms.std[0]), case.expected, rtol=1e-6
    )


def test_other_constants_are_refused_with_both_meanings(tmp_path):
    path = tmp_path / "w.weights.h5"
    _normalising(0.3, 0.04)(path)
    with pytest.raises(WeightsError) as caught:
        load("near.keras", weights=path)
    assert str(caught.value) == (
        f"{path} normalises its input by values of its own (normalization.mean is 0.3, 0.3, 0.3; "
        "normalization.variance is 0.04, 0.04, 0.04), not by those of near.keras. To take them as the transforms, "
        f"choose how the network was built: with weights=None, --weights {path}#normalization; with "
        "weights='imagenet', which divides by the root of ImageNet's deviation once more, "
        f"--weights {path}#normalization.imagenet"
    )


# Names of other frameworks


def test_a_legacy_checkpoint_with_a_prefix(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(legacy(checkpoint(prefixed("module.", torch_tensors()))))
    assert loaded("near", path)[1] == [f"w.pth: the prefix 'module.' is taken off all {COUNT} names"]


def test_a_name_in_the_spelling_of_keras_says_whose_weights_are_taken(tmp_path):
    path = saved(tmp_path, torch_tensors())
    assert loaded("Near", path)[1] == [
        f"Near: taken as near.torch, the weights of {near_network.PRETRAINED[0].source}; those of Keras are near.keras"
    ]
    assert loaded("near", path)[1] == loaded("near.torch", path)[1] == []
