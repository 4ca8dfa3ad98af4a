"""The chain runs from any stage to any stage and returns what it is asked for, under every name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers.configs import abstract_network, all_weights
from helpers.support import lite0, scaled_error

from featcache.backbones.chain import Backbone, record_nothing
from featcache.backbones.families.mobilenet_v2 import FAMILY, Config, InvertedResidual
from featcache.backbones.layer import Layer, make_layer, split_layer
from featcache.errors import UnknownNameError, UsageError


class Affine(nnx.Module):
    """A stage whose effect and number of runs can be told."""

    def __init__(self, factor: float, offset: float, runs: list[float] | None = None) -> None:
        self.factor = factor
        self.offset = offset
        self.runs = nnx.static(runs)

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.runs is not None:
            self.runs.append(self.factor)
        return x * self.factor + self.offset


class TwoSteps(nnx.Module):
    """A stage with two values inside."""

    points = ("doubled", "raised")

    def __call__(self, x: jax.Array, record=record_nothing) -> jax.Array:
        doubled = record("doubled", 2 * x)
        return record("raised", doubled + 10) ** 2


def arithmetic(runs: list[float] | None = None) -> Backbone:
    # In the order of the data, which is not the order of the alphabet.
    stages = {
        "stem": Affine(3, 1, runs),
        "block": TwoSteps(),
        "b": Affine(5, 0, runs),
        "a": Affine(7, 2, runs),
    }
    return Backbone(stages, {"features.1": "block", "block_inner": "block_raised"})


def residuals() -> Backbone:
    # All of one shape, so that each operation is compiled once for the three.
    def block():
        return InvertedResidual(4, 4, expansion=2, strides=1, padding="same", epsilon=1e-3, rngs=rngs)

    rngs = nnx.Rngs(0)
    return Backbone({"first": block(), "second": block(), "third": block()})


def abstract_mobilenet() -> Backbone:
    return nnx.eval_shape(lambda: FAMILY.build(Config(), None))


# ---- running


def test_every_point_has_its_value():
    x = jnp.array([1.0])
    values = arithmetic()(x, taps=("a", "block_doubled", "stem", "block_raised", "block", "b"))
    assert {tap: float(value[0]) for tap, value in values.items()} == {
        "a": (18**2 * 5) * 7 + 2,
        "block_doubled": 8,
        "stem": 4,
        "block_raised": 18,
        "block": 18**2,
        "b": 18**2 * 5,
    }
    assert list(values) == ["a", "block_doubled", "stem", "block_raised", "block", "b"]


def test_run_ends_at_the_last_tap():
    runs: list[float] = []
    arithmetic(runs)(jnp.array([1.0]), taps=("block_doubled", "stem"))
    assert runs == [3]


def test_run_after_a_stage_skips_what_came_before():
    runs: list[float] = []
    values = arithmetic(runs)(jnp.array([18.0]), taps=("b",), after="block")
    assert float(values["b"][0]) == 90
    assert runs == [5]


def test_run_after_a_stage_continues_bit_for_bit():
    chain = residuals()
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 4)), jnp.float32)
    whole = chain(x, taps=chain.points)
    for number, stage in enumerate(chain.order[:-1]):
        taps = [p for p in chain.points if chain.order.index(chain.stage_of(p)) > number]
        rest = chain(whole[stage], taps=taps, after=stage)
        for tap in taps:
            # The same operations one by one on the same arrays.
            np.testing.assert_array_equal(rest[tap], whole[tap], err_msg=tap)


def test_cut_of_a_real_network_continues_the_run():
    loaded = lite0()
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 64, 64, 3)), jnp.float32)

    def run(state, x, taps, after):
        return nnx.merge(loaded.graphdef, state)(x, taps=taps, after=after)

    jitted = jax.jit(run, static_argnums=(2, 3))
    whole = jitted(loaded.state, images, ("block5a", "block6a_expand_relu", "logits"), None)
    rest = jitted(loaded.state, whole["block5a"], ("block6a_expand_relu", "logits"), "block5a")
    for tap, value in rest.items():
        # Two programs: XLA may fuse, and so round, the 24 layers differently. 1e-5 is 168 roundings.
        assert scaled_error(value, whole[tap]) < 1e-5, tap


def test_tap_under_an_alias_keeps_the_name_it_was_asked_by():
    values = arithmetic()(jnp.array([1.0]), taps=("features.1", "block_inner"))
    assert {tap: float(value[0]) for tap, value in values.items()} == {"features.1": 324, "block_inner": 18}


def test_run_after_an_alias():
    values = arithmetic()(jnp.array([1.0]), taps=("b",), after="features.1")
    assert float(values["b"][0]) == 5


@pytest.mark.parametrize("tap", ["stem", "block", "block_doubled", "features.1"])
def test_tap_at_or_before_the_start_is_refused(tap):
    with pytest.raises(
        UnknownNameError, match=rf"\['{tap}'\] lie at or before 'block', where the run starts"
    ):
        arithmetic()(jnp.array([1.0]), taps=(tap,), after="block")
    with pytest.raises(UnknownNameError, match="lie at or before 'block'"):
        arithmetic()(jnp.array([1.0]), taps=(tap, "a"), after="block")


def test_start_inside_a_stage_is_refused():
    """`second_project_BN` has the shape of `second`, but lacks the skip: the numbers would be wrong."""
    chain = residuals()
    with pytest.raises(
        UsageError, match=r"'second_project_BN' lies inside stage 'second'.*after 'second' or"
    ):
        chain(jnp.ones((2, 4, 4, 4)), taps=("third",), after="second_project_BN")


def test_run_without_a_tap_is_refused():
    with pytest.raises(UsageError, match="no layer was asked for; name at least one, such as 'a'"):
        arithmetic()(jnp.array([1.0]), taps=())


@pytest.mark.parametrize("argument", ["tap", "after"])
def test_unknown_stage_names_the_nearest(argument):
    arguments = {"taps": ("blok",)} if argument == "tap" else {"taps": ("a",), "after": "blok"}
    with pytest.raises(UnknownNameError, match="no stage 'blok' in this network; did you mean 'block'"):
        arithmetic()(jnp.array([1.0]), **arguments)


def test_split_and_merge_keep_order_names_and_numbers():
    chain = residuals()
    merged = nnx.merge(*nnx.split(chain))
    assert merged.order == chain.order == ("first", "second", "third")
    assert merged.points == chain.points
    x = jnp.ones((2, 4, 4, 4))
    for tap, value in chain(x, taps=chain.points).items():
        np.testing.assert_array_equal(merged(x, taps=(tap,))[tap], value)


def test_split_and_merge_keep_an_order_that_is_not_alphabetic():
    merged = nnx.merge(*nnx.split(arithmetic()))
    assert merged.order == ("stem", "block", "b", "a")
    assert merged.resolve("features.1") == "block"
    assert float(merged(jnp.array([1.0]), taps=("a",))["a"][0]) == 11342


# ---- names of the real networks


def test_points_of_mobilenet_in_order_of_the_data():
    points = abstract_mobilenet().points
    blocks = [f"block_{n}" for n in range(1, 17)]
    expected = ["Conv1_relu", "expanded_conv_depthwise_relu", "expanded_conv_project_BN", "expanded_conv"]
    for block in blocks:
        expected += [f"{block}_expand_relu", f"{block}_depthwise_relu", f"{block}_project_BN", block]
    assert list(points) == [*expected, "out_relu", "pool", "logits"]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("features.0", "Conv1_relu"),
        ("features.1", "expanded_conv"),
        ("features.14", "block_13"),
        ("features.18", "out_relu"),
        ("block_15_add", "block_15"),
        ("blocks.6.0", "block_16"),
        ("avg_pool", "pool"),
        ("global_average_pooling2d", "pool"),
        ("predictions", "logits"),
        ("classifier", "logits"),
        ("block_13_expand_relu", "block_13_expand_relu"),
    ],
)
def test_other_frameworks_names_of_mobilenet(theirs, ours):
    assert abstract_mobilenet().resolve(theirs) == ours


def test_stage_of_an_inner_point():
    network = abstract_mobilenet()
    assert network.stage_of("block_13_expand_relu") == "block_13"
    assert network.stage_of("block_1_depthwise_relu") == "block_1"  # and not block_16's
    with pytest.raises(UnknownNameError, match="did you mean 'block_13_expand_relu'"):
        network.stage_of("block_13_expand_rel")


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("block_13_expand_rleu", "block_13_expand_relu"), ("BLOCK_6", "block_6"), ("conv1_relu", "Conv1_relu")],
)
def test_unknown_stage_of_mobilenet_names_the_nearest(wrong, near):
    with pytest.raises(UnknownNameError, match=f"no stage '{wrong}'.*did you mean .*'{near}'"):
        abstract_mobilenet().resolve(wrong)


@pytest.mark.one_by_default
@pytest.mark.parametrize("weights", all_weights())
def test_aliases_of_every_network_lead_to_a_point(weights):
    network = abstract_network(weights)
    assert len(set(network.points)) == len(network.points)
    for alias, ours in network.aliases:
        assert ours in network.points, alias
        assert alias not in network.points, alias
    assert "pool" in network.points or "pool" in dict(network.aliases)


# ---- layers


def test_layer_is_split_at_its_colon():
    assert split_layer("features.14:flatten") == ("features.14", "flatten")
    assert split_layer("pool") == ("pool", None)


@pytest.mark.parametrize(
    ("text", "hint"), [("b:avgg", "did you mean 'avg'"), ("b:", "known: avg, max, cls, flatten")]
)
def test_unknown_pooling_is_refused(text, hint):
    with pytest.raises(UsageError, match=f"layer '{text}': no pooling.*{hint}"):
        split_layer(text)


@pytest.mark.parametrize(
    ("pooling", "shape", "expected"),
    [
        (None, (7, 7, 8), "b:avg"),
        ("max", (7, 7, 8), "b:max"),
        ("map", (7, 7, 8), "b:map"),
        (None, (8,), "b"),
        ("flatten", (8,), "b"),
        ("map", (8,), "b"),
    ],
)
def test_default_pooling_follows_the_shape(pooling, shape, expected):
    assert str(make_layer("b", pooling, shape)) == expected


def test_pooling_that_does_not_fit_is_refused():
    with pytest.raises(UsageError, match=r"layer b:max: its output is a vector of 8 already; ask for b$"):
        make_layer("b", "max", (8,))
    with pytest.raises(UsageError, match=r"layer b:none: its output is a map \(7, 7, 8\); ask for b:map"):
        make_layer("b", "none", (7, 7, 8))


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("avg", lambda x: x.mean((1, 2))),
        ("max", lambda x: x.max((1, 2))),
        # Rows, columns, channels, as Keras' Flatten.
        ("flatten", lambda x: np.stack([image.ravel() for image in x])),
        ("map", lambda x: x),
    ],
)
def test_poolings_equal_numpy(pooling, expected):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    # The mean of 12 numbers below 4 by float32 sums: 12 · 2⁻²⁴ · 4.
    np.testing.assert_allclose(Layer("b", pooling).apply(jnp.asarray(x)), expected(x), rtol=0, atol=3e-6)


def test_average_of_bfloat16_is_summed_in_float32():
    x = jnp.full((1, 64, 64, 1), 1.0078125, jnp.bfloat16)
    assert Layer("b", "avg").apply(x).tolist() == [[1.0078125]]
