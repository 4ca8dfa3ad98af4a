"""A network's vectors travel as one, and nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from featcache.backbones import load
from featcache.backbones.packed_state import LONGEST, PackedProgram


@pytest.fixture(scope="module")
def network():
    return load("mobilenet_v1_025", weights="random")


@pytest.fixture
def images(network):
    size = network.transforms.input_size
    return np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)


def features(state, images):
    total = sum((leaf.astype(jnp.float32) ** 2).sum() for leaf in jax.tree.leaves(state))
    return {"sum": images.astype(jnp.float32).sum() + total * state["kernel"][0, 0] + state["a"][1]}


def small_state(seed: int = 0) -> dict[str, jax.Array]:
    draw = np.random.default_rng(seed)
    return {
        "a": jnp.asarray(draw.normal(size=3), jnp.float32),
        "b": jnp.asarray(draw.normal(size=5), jnp.float32),
        "count": jnp.arange(4),
        "kernel": jnp.asarray(draw.normal(size=(2, 2)), jnp.float32),
        "long": jnp.ones(LONGEST + 1),
        "scale": jnp.asarray(2.0),
    }


def test_features_are_those_of_the_plain_program_to_the_bit(network, images):
    layers = network.layers(["pool"])
    plain = jax.jit(network.uncompiled(layers), compiler_options={})
    program = network.function(layers)
    expected = np.asarray(plain(network.state, images)["pool"])
    # Other compiler options may change the order of sums: 1e-6 of the largest value.
    np.testing.assert_allclose(
        np.asarray(program(network.state, images)["pool"]), expected, atol=1e-6 * np.abs(expected).max()
    )
    same = jax.jit(network.uncompiled(layers), compiler_options=program._options)
    np.testing.assert_array_equal(
        np.asarray(program(network.state, images)["pool"]), np.asarray(same(network.state, images)["pool"])
    )


def test_few_arguments_are_left(network):
    layout = network.function(network.layers(["pool"]))._pack(network.state)[1]
    leaves = jax.tree.leaves(network.state)
    # Four vectors of each of 27 normalisations, and the bias of its own classes; kernels are by themselves.
    assert len(layout.joined) == 4 * 27 + 1
    assert len(layout.alone) == len(leaves) - len(layout.joined) == 28


def test_vectors_are_cut_out_where_they_were():
    state = small_state()
    _, layout, arrays, vector = PackedProgram(features, {})._pack(state)
    assert vector.shape == (8,)
    again = layout.state(arrays, vector)
    jax.tree.map(np.testing.assert_array_equal, again, state)


def test_another_state_is_not_taken_for_the_last():
    program, image = PackedProgram(features, {}), np.ones((1, 2), np.uint8)
    states = [small_state(0), small_state(1), small_state(0)]
    for state in (*states, states[1]):
        assert program(state, image)["sum"] == pytest.approx(float(features(state, image)["sum"]), rel=1e-6)
    wider = small_state(0) | {"a": jnp.ones(9), "another": jnp.ones(2)}
    assert program(wider, image)["sum"] == pytest.approx(float(features(wider, image)["sum"]), rel=1e-6)
    assert len(program._layouts) == 2


def test_gradients_go_through_a_state_that_is_traced():
    program, image = PackedProgram(features, {}), np.ones((1, 2), np.uint8)
    held = small_state()
    program(held, image)
    last = program._last

    def loss(a):
        return program(held | {"a": a}, image)["sum"]

    found = jax.grad(loss)(held["a"])
    # d/da of Σ a² · k + a[1].
    expected = 2 * held["a"] * held["kernel"][0, 0] + jnp.array([0, 1, 0])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert program._last is last


def test_state_with_nothing_to_join_is_taken_as_it_is():
    program = PackedProgram(lambda state, images: {"sum": state["kernel"].sum()}, {})
    assert program._pack({"kernel": jnp.ones((2, 2))}) is None
    assert program({"kernel": jnp.ones((2, 2))}, np.zeros(1))["sum"] == 4


def test_layouts_of_states_that_are_alike_are_one_to_a_compiled_program():
    first, second = (PackedProgram(features, {})._pack(small_state(seed)) for seed in (0, 1))
    assert first is not None
    assert second is not None
    assert first[1] is not second[1]
    assert (first[1], hash(first[1])) == (second[1], hash(second[1]))
    other = PackedProgram(features, {})._pack({**small_state(), "b": jnp.ones(6)})
    assert other is not None
    assert other[1] != first[1]
