"""Networks with shapes in the place of parameters: each asks for one of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from featcache.backbones.registry import families, family_of, resolve


def abstract(name: str):
    weights = resolve(name)
    return family_of(weights).abstract(weights.config)


QUICK = ("convnext", "mobilenet_v3", "vit")


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, id=family.name, marks=[] if family.name in QUICK else [pytest.mark.slow])
        for family in families()
    ],
)
def test_a_network_that_was_built_before_is_the_one_that_is_built(family):
    config = family.pretrained[0].config
    built = nnx.eval_shape(lambda: family.build(config, None))
    for _ in range(2):
        assert nnx.split(family.abstract(config)) == nnx.split(built)


def test_a_network_that_was_changed_changes_no_other():
    changed = abstract("alexnet")
    state = nnx.state(changed)
    nnx.update(changed, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.bfloat16), state))
    del changed.stages[changed.order[-1]]
    other = abstract("alexnet")
    assert other.stages.keys() - changed.stages.keys() == {changed.order[-1]}
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(other))} == {np.dtype("float32")}


def test_parameters_have_the_precision_that_is_set_when_they_are_asked_for():
    for doubles, dtype in ((False, "float32"), (True, "float64"), (False, "float32")):
        with jax.enable_x64(doubles):
            assert {str(leaf.dtype) for leaf in jax.tree.leaves(nnx.state(abstract("alexnet")))} == {dtype}
