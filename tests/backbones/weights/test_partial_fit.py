"""Files with a classifier of their own, or cut: what fits up to the features is taken and said."""

import jax
import numpy as np
import pytest
from helpers.near_network import (
    Tensors,
    assert_features_of,
    load_quietly,
    loaded,
    ones,
    prefixed,
    saved,
    torch_tensors,
)

from featcache.backbones import load
from featcache.classifier.prediction import backbone_predictor
from featcache.errors import UsageError, WeightsError

pytestmark = pytest.mark.usefixtures("near_is_known")

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


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.bool_])
def test_quantised_weights_are_refused_whole_or_in_part(tmp_path, kind):
    for names in (torch_tensors(), ["features.2.0.weight"]):
        tensors = torch_tensors()
        tensors |= {name: tensors[name].astype(kind) for name in names if "tracked" not in name}
        with pytest.raises(
            WeightsError, match=r"tensors are whole numbers \(.* is (int8|uint8|bool).* quantisation"
        ):
            load("near", weights=saved(tmp_path, tensors))


@pytest.mark.parametrize(
    "name",
    [
        "features.2.2.fc.weight",
        "features.1.0.lora_A.weight",
        "features.3.1.weight_mask",
        "features.2._orig_mod.0.weight",
    ],
)
def test_layers_of_its_own_inside_of_the_blocks_are_refused_by_name(tmp_path, name):
    """What stands before the features makes them other features; only what lies behind is left out."""
    with pytest.raises(WeightsError, match=rf"does not fit this network: 1 unknown \({name}\)"):
        load("near", weights=saved(tmp_path, {**FEATURES, name: np.ones((2, 2), np.float32)}))


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_precisions_are_taken(tmp_path, kind):
    tensors = {
        name: value.astype(kind) if value.dtype.kind == "f" else value for name, value in FEATURES.items()
    }
    _, told = loaded("near", saved(tmp_path, tensors))
    assert told == []


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


def test_predicting_the_classes_of_such_a_model_says_why_there_are_none(tmp_path):
    network = load_quietly("near", str(saved(tmp_path, {**FEATURES, **ones(fc__weight=(5, 8))})))
    with pytest.raises(
        UsageError, match=r"only features \(the classifier in .* is its own \(fc\.weight\).*\): train a head"
    ):
        backbone_predictor(network)


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
