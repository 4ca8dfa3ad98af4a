"""Learning rates by pattern: the first that matches decides, and nothing is left over."""

import pytest

from featcache.errors import UsageError
from featcache.finetuning.learning_rates import learning_rates
from featcache.finetuning.settings import read_rates

NAMES = {
    "block_1.conv.kernel": "block_1",
    "block_1.norm.scale": "block_1",
    "block_13.conv.kernel": "block_13",
    "head.kernel": "head",
    "head.bias": "head",
}


def test_without_patterns_everybody_learns_alike():
    assert learning_rates(NAMES, (), default=0.1) == dict.fromkeys(NAMES, 0.1)


def test_the_first_match_decides():
    rates = learning_rates(NAMES, (("head", 1.0), ("block_1", 0.5), ("block_*", 0.25)), default=9)
    assert rates == {
        "block_1.conv.kernel": 0.5,
        "block_1.norm.scale": 0.5,
        "block_13.conv.kernel": 0.25,
        "head.kernel": 1.0,
        "head.bias": 1.0,
    }


def test_a_pattern_may_be_one_of_whole_names():
    rates = learning_rates(NAMES, (("*.norm.*", 0.0), ("*", 1.0)), default=9)
    assert rates["block_1.norm.scale"] == 0.0
    assert rates["block_1.conv.kernel"] == 1.0


def test_a_stage_may_have_a_dot_in_its_name():
    names = {"blocks.1.mlp.kernel": "blocks.1", "blocks.11.mlp.kernel": "blocks.11"}
    rates = learning_rates(names, (("blocks.1", 1.0), ("blocks.*", 0.5)), default=9)
    assert rates == {"blocks.1.mlp.kernel": 1.0, "blocks.11.mlp.kernel": 0.5}


def test_a_parameter_without_a_rate_is_refused():
    with pytest.raises(
        UsageError, match=r"2 of 5 parameters have no learning rate, in head; end with .*'\*=1e-5'"
    ):
        learning_rates(NAMES, (("block_*", 0.1),), default=9)


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(
        UsageError, match=r"rate 'block_31' matches nothing that trains; did you mean 'block_1' or 'block_13'"
    ):
        learning_rates(NAMES, (("block_31", 0.1), ("*", 0.2)), default=9)


def test_a_repeated_pattern_counts_where_it_stands_first():
    assert learning_rates(NAMES, (("*", 0.1), ("*", 0.2)), default=9)["head.bias"] == 0.1


def test_rates_are_read_from_texts_and_mappings():
    assert read_rates(["head=1e-3", " block_1* = 2"]) == (("head", 1e-3), ("block_1*", 2.0))
    assert read_rates({"head": 1}) == (("head", 1.0),)


@pytest.mark.parametrize("text", ["head", "head=", "=0.1", "head=fast"])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(UsageError, match="expected PATTERN=RATE, such as 'block_1"):
        read_rates([text])
