"""What the tests share: compiled programs, a network that compiles in seconds, and a head trained on its features."""

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from helpers.photo_folders import photo_folder
from hypothesis import settings

KEPT_PROGRAMS = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0.0,
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": -1,
}
UNOPTIMISED = "JAX_DISABLE_MOST_OPTIMIZATIONS"
OLDER_LOOPS = "--xla_cpu_use_fusion_emitters=false"
SPLITS = {"train": 6, "val": 3, "test": 4}

# An example that takes more than 0.2 s says that the machine is busy, and nothing of the code.
settings.register_profile("featcache", deadline=None)
settings.load_profile("featcache")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("soak", "hours of random work: pytest -m soak tests/soak")
    group.addoption("--soak-minutes", type=float, default=60.0, help="how long it takes")
    group.addoption("--soak-seed", type=int, help="the seed of a fault, to see it again")


def pytest_configure(config: pytest.Config) -> None:
    # Slow suites run when they are asked for: pytest -m slow, or -m "" for everything (but for the soak).
    asked = any(argument.startswith("-m") for argument in config.invocation_params.args)
    if not asked and not config.option.markexpr:
        config.option.markexpr = "not slow and not torch and not soak"
        _compile_without_optimising(config)
    _share_compiled_programs(config)
    if getattr(config.option, "numprocesses", None):
        # Each of several workers would let BLAS keep all cores busy, waiting for the others: a quarter of what
        # scikit-learn's grid searches cost.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a parametrized test that is marked ``one_by_default`` all cases but the first run with the slow suites.

    What takes hours runs only where it is named, and not with ``-m ""``.
    """
    begun: set[str] = set()
    for item in items:
        if item.get_closest_marker("soak") and "soak" not in config.option.markexpr:
            item.add_marker(pytest.mark.skip(reason="takes hours: pytest -m soak"))
        if item.get_closest_marker("one_by_default"):
            test = item.nodeid.partition("[")[0]
            if test in begun:
                item.add_marker(pytest.mark.slow)
            begun.add(test)


def _compile_without_optimising(config: pytest.Config) -> None:
    """The default suite compiles hundreds of programs and runs each for moments, so it compiles them quickly.

    LLVM optimises no machine code, and the older of XLA's two generators writes the code of fused loops, which halves
    what compiling takes (36 s of processor time become 21 for the tests of gradients, heads and optimizers). XLA's own
    passes, which fuse and reorder, are those of every run. The slow suites compile as users do, and so does everything
    after ``JAX_DISABLE_MOST_OPTIMIZATIONS=0``. Workers inherit what the process that starts them says.
    """
    if hasattr(config, "workerinput"):
        return
    said = os.environ.setdefault(UNOPTIMISED, "1").lower() in ("1", "true", "yes", "on", "y", "t")
    if "jax" in sys.modules:
        sys.modules["jax"].config.update(UNOPTIMISED.lower(), said)
    flags = (
        f"{OLDER_LOOPS} {os.environ.get('XLA_FLAGS', '')}".strip()
    )  # what was asked for comes last and wins
    if said and _xla_knows(flags):
        os.environ["XLA_FLAGS"] = flags


def _xla_knows(flags: str) -> bool:
    """Ask in a process of its own: XLA ends a process that gives it a flag which its version does not have."""
    program = "from jaxlib import _jax; _jax.CompileOptions().executable_build_options.debug_options"
    asked = [sys.executable, "-c", program]
    environment = {**os.environ, "XLA_FLAGS": flags}
    return subprocess.run(asked, env=environment, capture_output=True, check=False).returncode == 0


def pytest_collection_finish() -> None:
    """Let Python's collector pass over what lives as long as the suite: modules and thousands of tests."""
    gc.collect()
    gc.freeze()


def _share_compiled_programs(config: pytest.Config) -> None:
    """Whatever is compiled is compiled once a run: workers, and processes that tests start, inherit the folder.

    A ``JAX_COMPILATION_CACHE_DIR`` that is set stays, so that programs can be kept from one run to the next.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="featcache-compiled-")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    options = {name: os.environ.setdefault(name, str(value)) for name, value in KEPT_PROGRAMS.items()}
    if "jax" in sys.modules:  # a plugin or a folder's conftest imported it: it has read its environment
        update = sys.modules["jax"].config.update
        update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
        for name, value in options.items():
            update(name.lower(), type(KEPT_PROGRAMS[name])(value))


@pytest.fixture(autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read from or written to the user's own folders, and nothing is downloaded."""
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path_factory.getbasetemp() / "home"))
    monkeypatch.setenv("FEATCACHE_OFFLINE", "1")


@pytest.fixture
def compiled_in_haste() -> Iterator[None]:
    """Let LLVM optimise nothing in the heavier suites, either: for many programs whose numbers have a tolerance."""
    import jax

    before = jax.config.values[UNOPTIMISED.lower()]
    jax.config.update(UNOPTIMISED.lower(), True)
    yield
    jax.config.update(UNOPTIMISED.lower(), before)


@pytest.fixture
def memory_path(tmp_path: Path) -> Iterator[Path]:
    """An empty folder in memory, where there is room; else it is `tmp_path`.

    For thousands of simulated disks: a real one spends twice their computing on what is deleted a moment later.
    """
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < 2**28:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="featcache-", dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
def without_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """HEIC and JPEG XL as where nothing that opens them is installed."""
    for name in ("pillow_heif", "pillow_jxl"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture(scope="session")
def network():
    """EfficientNet-Lite0 on 64×64 pixels, so that compiling and running it take seconds."""
    from featcache.backbones import load
    from featcache.errors import WeightsError

    try:
        loaded = load("efficientnet_lite0")
    except WeightsError:
        loaded = load("efficientnet_lite0", weights="random")
    small = replace(loaded.pretrained, transforms=loaded.transforms.with_size(64, 64))
    return replace(loaded, pretrained=small)


@pytest.fixture
def small_backbone(network, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let whoever loads the default backbone by its name get `network`; other names load what they mean."""
    from featcache import backbones
    from featcache.backbones.registry import DEFAULT

    real = backbones.load

    def load(name: str = DEFAULT, *, weights: str | Path | None = None):
        mine = weights in (None, "random") and name in ("efficientnet_lite0", network.name)
        return network if mine else real(name, weights=weights)

    monkeypatch.setattr(backbones, "load", load)


@dataclass(frozen=True)
class Trained:
    """Photos, their features, and a classifier trained on them; tests only read it."""

    photos: Path
    cache: Path
    folder: Path
    classifier: object


@pytest.fixture(scope="session")
def trained(network, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    from featcache import extract, train_head

    root = tmp_path_factory.mktemp("trained")
    tree = {f"{split}/{name}": count for split, count in SPLITS.items() for name in ("cat", "dog", "owl")}
    photos = photo_folder(root / "photos", tree)
    cache = extract(photos, backbone=network, output=root / "photos.h5").path
    classifier = train_head(cache, output=root / "classifier", epochs=30)
    return Trained(photos, cache, root / "classifier", classifier)
