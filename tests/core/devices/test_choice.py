"""Devices are chosen before JAX starts, or among those that it has; what cannot be is refused with both readings."""

import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest

from featcache import use_device
from featcache.core.devices import choice
from featcache.core.devices.choice import Wanted, on_cpu, parsed, used_devices
from featcache.errors import UsageError

CARDS = [SimpleNamespace(platform="gpu", device_kind="NVIDIA H200", id=number) for number in range(4)]
PROCESSOR = [SimpleNamespace(platform="cpu", device_kind="cpu", id=0)]
VARIABLES = ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES", "JAX_CUDA_VISIBLE_DEVICES")


class Machine:
    """A machine with cards, as far as JAX is asked for it; notes how JAX was configured."""

    def __init__(self, monkeypatch, *, cards, started: bool) -> None:
        self.settings: dict[str, object] = {}
        self.cards = list(cards)
        monkeypatch.setattr(choice, "jax_has_started", lambda: started)
        monkeypatch.setattr(jax.config, "update", self.settings.__setitem__)
        monkeypatch.setattr(type(jax.config), "jax_platforms", None)
        monkeypatch.setattr(jax, "devices", self.devices)
        monkeypatch.setattr(jax, "local_devices", self.devices)
        monkeypatch.setattr(jax, "default_backend", lambda: self.devices()[0].platform)
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)

    def devices(self, backend=None):
        visible = str(self.settings.get("jax_cuda_visible_devices", "all"))
        cards = self.cards if visible == "all" else [c for c in self.cards if str(c.id) in visible.split(",")]
        if backend == "cuda" and not cards:
            raise RuntimeError("Unknown backend cuda. Available backends are ['cpu']")
        only = self.settings.get("jax_platforms")
        if backend == "cpu" or only == "cpu":
            return PROCESSOR
        return cards or PROCESSOR


@pytest.fixture
def fresh(monkeypatch) -> Machine:
    """A machine of four cards, on which JAX has not started."""
    return Machine(monkeypatch, cards=CARDS, started=False)


@pytest.fixture
def running(monkeypatch) -> Machine:
    """A machine of four cards, all of which JAX has taken."""
    return Machine(monkeypatch, cards=CARDS, started=True)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("auto", Wanted("auto")),
        ("cpu", Wanted("cpu")),
        (" CUDA ", Wanted("cuda")),
        ("cuda:1", Wanted("cuda", (1,))),
        ("cuda:2,0", Wanted("cuda", (2, 0))),
        ("tpu", Wanted("tpu")),
    ],
)
def test_what_is_asked_for_is_read(text, wanted):
    assert parsed(text) == wanted
    assert parsed(str(wanted)) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no device ''; known: auto, cpu, cuda, tpu"),
        ("cud", "no device 'cud'; did you mean 'cuda'"),
        (
            "gpu:1,2",
            "no device 'gpu:1,2'; NVIDIA's cards are called cuda: say cuda:1,2, or auto for whatever",
        ),
        ("1", "no device '1'; NVIDIA's cards are called cuda: say cuda:1, or auto for whatever"),
        ("cuda:", "device 'cuda:': expected numbers of cards after the colon, as cuda:0 or cuda:0,1"),
        ("cuda:-1", "expected numbers of cards"),
        ("cuda:0,,1", "expected numbers of cards"),
        ("cuda:1,1", "device 'cuda:1,1' names a card twice; name each once"),
        ("cpu:0", "device 'cpu:0': only cuda takes numbers, as cuda:0,1; say cpu"),
        ("tpu:1", "only cuda takes numbers, as cuda:0,1; set TPU_VISIBLE_CHIPS"),
    ],
)
def test_what_is_no_device_is_refused(text, message):
    with pytest.raises(UsageError) as raised:
        use_device(text)
    assert message in str(raised.value)


# Before JAX has started -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "settings"),
    [
        ("auto", {}),
        ("cpu", {"jax_platforms": "cpu"}),
        ("cuda", {"jax_platforms": "cuda,cpu"}),
        ("cuda:0,3", {"jax_platforms": "cuda,cpu", "jax_cuda_visible_devices": "0,3"}),
    ],
)
def test_jax_is_told_to_start_with_these_devices_alone(fresh, device, settings):
    use_device(device)
    assert fresh.settings == settings


@pytest.mark.parametrize(("device", "cards"), [("cuda", 0), ("cuda:4", 4), ("cuda:0,5", 4)])
def test_a_device_that_is_not_there_leaves_jax_as_it_was(fresh, device, cards):
    fresh.cards = CARDS[:cards]
    there = "4 × gpu \\(NVIDIA H200\\)" if cards else "1 × cpu \\(cpu\\)"
    with pytest.raises(
        UsageError, match=f"device {device}: JAX does not find it; it finds {there}. Name one of"
    ):
        use_device(device)
    assert fresh.settings == {"jax_platforms": None, "jax_cuda_visible_devices": "all"}


@pytest.mark.parametrize(
    ("device", "name", "value", "meaning"),
    [
        ("cuda", "JAX_PLATFORMS", "cpu", "allows JAX nothing but cpu"),
        ("cpu", "JAX_PLATFORMS", "cuda", "allows JAX nothing but cuda"),
        ("tpu", "JAX_PLATFORMS", "cuda,cpu", "allows JAX nothing but cuda and cpu"),
        ("cuda", "CUDA_VISIBLE_DEVICES", "", "hides every card"),
        ("cuda:0", "CUDA_VISIBLE_DEVICES", "-1", "hides every card"),
        ("cuda:2", "CUDA_VISIBLE_DEVICES", "1,2", "leaves 2 of the cards, which are counted anew: cuda:0,1"),
        ("cuda:1", "JAX_CUDA_VISIBLE_DEVICES", "0", "allows JAX the cards 0"),
    ],
)
def test_a_variable_that_says_otherwise_is_told_with_both_readings(
    fresh, monkeypatch, device, name, value, meaning
):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as raised:
        use_device(device)
    assert str(raised.value) == (
        f"device {device} and {name}={value} contradict each other: the variable {meaning}; leave out device, or "
        f"unset {name}"
    )
    assert fresh.settings == {}


@pytest.mark.parametrize(
    ("device", "name", "value"),
    [
        ("auto", "JAX_PLATFORMS", "cpu"),
        ("cpu", "JAX_PLATFORMS", "cpu"),
        ("cpu", "CUDA_VISIBLE_DEVICES", ""),
        ("cuda", "JAX_PLATFORMS", "gpu,cpu"),
        ("cuda:1", "CUDA_VISIBLE_DEVICES", "GPU-5e,GPU-7f"),
        ("cuda:1", "JAX_CUDA_VISIBLE_DEVICES", "1"),
    ],
)
def test_a_variable_that_agrees_is_left_alone(fresh, monkeypatch, device, name, value):
    monkeypatch.setenv(name, value)
    use_device(device)
    assert (fresh.settings == {}) == (device == "auto")


def test_a_variable_that_allows_nothing_that_starts_is_told_of(fresh, monkeypatch):
    def nothing():
        raise AssertionError  # JAX's own, which says nothing

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    use_device("auto")
    monkeypatch.setattr(jax, "local_devices", nothing)
    with pytest.raises(
        UsageError,
        match=r"^JAX_PLATFORMS=cuda allows JAX nothing but cuda, and none of it starts here; unset it",
    ):
        use_device("auto")
    assert fresh.settings == {}


# Afterwards -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "default"),
    [("cpu", PROCESSOR[0]), ("cuda:2", CARDS[2]), ("cuda", None), ("cuda:0,1,2,3", None)],
)
def test_one_of_the_started_devices_can_be_chosen_or_all(running, device, default):
    use_device(device)
    assert running.settings == {"jax_default_device": default}


def test_several_of_the_started_devices_cannot(running):
    started = "JAX has started already in this process, on 4 × gpu .NVIDIA H200., and several of its devices"
    with pytest.raises(UsageError, match=f"{started} .* set CUDA_VISIBLE_DEVICES=1,3"):
        use_device("cuda:1,3")
    with pytest.raises(UsageError, match="device cuda:9: JAX does not find it; it finds 4 × gpu"):
        use_device("cuda:9")
    assert running.settings == {}


def test_the_choice_is_where_jax_keeps_it():
    first = jax.local_devices()[0]
    assert used_devices() == jax.local_devices()
    for chosen in (first, first.platform):
        with jax.default_device(chosen):
            assert used_devices() == [first]
            assert on_cpu() == (first.platform == "cpu")


# For good ---------------------------------------------------------------------------------------------------

PROGRAM = """
import jax
import featcache
try:
    featcache.use_device("cuda")
except featcache.FeatcacheError as error:
    print(error)
print(jax.numpy.ones(2).sum(), *{each.platform for each in jax.devices()})
"""


def test_without_a_card_cuda_is_refused_and_the_cpu_still_computes():
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    # A card that the machine may have is hidden from the driver, not from featcache.
    command = [sys.executable, "-c", f"import os; os.environ['NVIDIA_VISIBLE_DEVICES'] = 'void'{PROGRAM}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.stdout.strip().endswith("gpu"):
        pytest.skip("this machine has a card, which JAX uses")
    told, result = done.stdout.strip().splitlines()
    assert told.startswith("device cuda: JAX does not find it")
    assert "it finds 1 × cpu (cpu). Name one of these, or leave device out" in told
    assert result == "2.0 cpu"


@pytest.mark.parametrize("platforms", ["cuda", "nonsense"])
def test_a_platform_on_which_jax_does_not_start_is_told_of_by_its_variable(platforms):
    code = (
        "import jax.numpy, sys\n"
        "from featcache.core.devices.choice import why_not_started\n"
        "try:\n    jax.numpy.ones(1)\n"
        "except Exception as error:\n    print(why_not_started(error))\n"
    )
    environment = os.environ | {"JAX_PLATFORMS": platforms}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.startswith(f"JAX_PLATFORMS={platforms}: JAX does not start on it")
    assert done.stdout.endswith("; unset it, or set cpu; featcache doctor says more\n")


@pytest.mark.parametrize("device", [None, 1, ["cpu"]])
def test_a_device_is_a_text(device):
    with pytest.raises(UsageError, match=r"device .*: expected"):
        use_device(device)
