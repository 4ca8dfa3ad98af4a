"""What doctor says of devices, by facts that are made up: no machine has them all."""

import pytest

from featcache.core.devices.diagnosis import Facts, findings, gathered

LIBRARIES = {"jax": "0.10.2", "jaxlib": "0.10.2"}
CUDA = {**LIBRARIES, "jax-cuda12-plugin": "0.10.2"}
CARD = "/dev/nvidia0"


def odd(**facts) -> list[str]:
    """The notes about a machine that computes on its CPU, unless told otherwise."""
    given = {"platform": "cpu", "kinds": ["cpu"], "versions": LIBRARIES} | facts
    return [detail for topic, state, detail in findings(Facts(**given)) if state != "ok"]


def said(**facts) -> dict[str, str]:
    given = {"platform": "gpu", "kinds": ["NVIDIA H200"] * 2, "versions": CUDA, "card": CARD} | facts
    return {topic: detail for topic, state, detail in findings(Facts(**given)) if state == "ok"}


def test_a_processor_and_cards_are_told():
    assert list(findings(Facts("cpu", ["cpu"], cores=8, versions=LIBRARIES))) == [
        ("devices", "ok", "1 × cpu (cpu, 8 cores)")
    ]
    assert said()["devices"] == "2 × gpu (NVIDIA H200)"
    assert next(iter(findings(Facts("", failure="RuntimeError: no")))) == (
        "devices",
        "bad",
        "JAX cannot start: RuntimeError: no",
    )
    facts = Facts("", failure="AssertionError", environment={"JAX_PLATFORMS": "cuda"})
    assert next(iter(findings(facts)))[2] == (
        "JAX cannot start: AssertionError; JAX_PLATFORMS=cuda allows it nothing else: unset it"
    )


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "at most 105.0 GB of each, the share 0.75 taken at the start"),
        ({"XLA_PYTHON_CLIENT_MEM_FRACTION": ".4"}, "the share .4 taken at the start"),
        (
            {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
            "taken as it is needed (XLA_PYTHON_CLIENT_PREALLOCATE=false)",
        ),
        ({"XLA_PYTHON_CLIENT_ALLOCATOR": "platform"}, "taken and given back for each array"),
    ],
)
def test_the_memory_that_jax_takes_is_told(environment, told):
    found = said(memory=[105 * 10**9] * 2, environment=environment)
    assert told in found["memory"]
    assert ("settings" in found) == bool(environment)


def test_settings_are_told():
    found = said(environment={"CUDA_VISIBLE_DEVICES": "0,1", "JAX_PLATFORMS": "cuda"})
    assert found["settings"] == "CUDA_VISIBLE_DEVICES=0,1, JAX_PLATFORMS=cuda"


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        (
            {"card": CARD},
            "an NVIDIA card is here (/dev/nvidia0), and JAX has no CUDA: pip install 'featcache[cuda12]'",
        ),
        (
            {"versions": CUDA, "environment": {"JAX_PLATFORMS": "cpu"}},
            "jax-cuda12-plugin is installed, and JAX_PLATFORMS=cpu keeps JAX from using it; unset it",
        ),
        (
            {"versions": CUDA, "environment": {"CUDA_VISIBLE_DEVICES": ""}, "card": CARD},
            "jax-cuda12-plugin is installed, and CUDA_VISIBLE_DEVICES= hides every card; unset it",
        ),
        (
            {"versions": CUDA, "card": CARD},
            "JAX computes on the CPU all the same; JAX_PLATFORMS=cuda featcache doctor",
        ),
        ({"versions": CUDA}, "jax-cuda12-plugin is installed, and no NVIDIA card is seen (no /dev/nvidia0)"),
        ({"versions": {**LIBRARIES, "libtpu": "0.0.42"}}, "libtpu is installed, and JAX finds no TPU"),
        ({"versions": {**LIBRARIES, "jaxlib": "0.9.1"}}, "jax 0.10.2 and jaxlib 0.9.1 are of two releases"),
        (
            {"platform": "gpu", "versions": {**CUDA, "jax-cuda12-plugin": "0.10.1"}, "card": CARD},
            "jax-cuda12-plugin 0.10.1 and jaxlib 0.10.2 are of two releases, so JAX may leave the cards out; pip "
            "install -U 'featcache[cuda12]'",
        ),
        (
            {"platform": "gpu", "versions": {**CUDA, "jax-cuda13-plugin": "0.10.2"}, "card": CARD},
            "jax-cuda12-plugin and jax-cuda13-plugin are both installed",
        ),
    ],
)
def test_what_is_odd_is_told_with_what_to_do(facts, note):
    (found,) = odd(**facts)
    assert note in found


def test_nothing_is_odd_about_a_plain_processor_or_cards_that_are_used():
    assert odd() == []
    assert odd(platform="gpu", kinds=["NVIDIA H200"], versions=CUDA, card=CARD) == []
    # One release of jax goes with jaxlib of the one before it.
    assert odd(versions={"jax": "0.10.2", "jaxlib": "0.10.1"}) == []


def test_this_machine_is_examined():
    facts = gathered()
    assert (facts.platform, facts.failure) != ("", "")
    assert facts.versions["jax"]
    assert next(iter(findings(facts)))[0] == "devices"
