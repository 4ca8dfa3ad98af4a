"""What four devices compute and what one does, in a process of its own: ``python -m helpers.four_devices PART FILE``.

The devices are JAX's virtual ones of a CPU, and are taken for accelerators, because on a CPU featcache shares work out
among cores and not devices. ``FILE.npz`` then holds arrays named ``four/…``, ``one/…`` and ``third/…``.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

DEVICES = 4


def computed(part: str, folder: Path) -> dict[str, np.ndarray]:
    """Run a part in a process with four devices."""
    target = folder / f"{part}.npz"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES}",
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
        ),
    }
    command = [sys.executable, "-m", "helpers.four_devices", part, str(target)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=280, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    with np.load(target) as stored:
        return dict(stored)


def each_choice(*names: str) -> Iterator[str]:
    """Have all four used (``four``), the first alone (``one``), or the third alone (``third``)."""
    import jax

    from featcache.core.devices import choice

    choice.platform = lambda: "gpu"
    devices = jax.devices()
    assert len(devices) == DEVICES
    chosen = {"four": None, "one": devices[0], "third": devices[2]}
    for name in names:
        jax.config.update("jax_default_device", chosen[name])
        yield name


def spied(found: list[list[int]]) -> None:
    """Note the devices on which each array lies that is shared out by its rows, or that all of them have."""
    from featcache.core.devices.sharding import DeviceMesh

    shard, replicate = DeviceMesh.shard, DeviceMesh.replicate

    def copied(self, tree):
        found.append(sorted(device.id for device in self.mesh.devices.flat))
        return replicate(self, tree)

    def noted(self, array):
        placed = shard(self, array)
        assert len({len(part.data) for part in placed.addressable_shards}) == 1
        found.append(sorted(part.device.id for part in placed.addressable_shards))
        return placed

    DeviceMesh.shard, DeviceMesh.replicate = noted, copied


# Photos -----------------------------------------------------------------------------------------------------


def photos(folder: Path) -> dict[str, np.ndarray]:
    """Features by `extract`, of views and where memory runs out, too, and probabilities by `predict_proba`."""
    from featcache import extract
    from featcache.backbones.loaded import LoadedBackbone
    from helpers.tiny_finetuning import tiny_classifier, tiny_network, tiny_photos

    used: list[list[int]] = []
    spied(used)
    root, found = tiny_photos(folder / "photos", train=3), {}
    function = LoadedBackbone.function

    def small(*args, **options):
        compiled = function(*args, **options)

        def run(state, images):
            if len(images) > 8:
                raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")
            return compiled(state, images)

        return run

    def features(target: str, layer: str = "pool", **options) -> np.ndarray:
        (folder / target).parent.mkdir(parents=True)  # alone, so that no other's features are copied
        done = extract(root, output=folder / target, backbone=network, layers=(layer,), **options).cache
        return done.features(range(len(done)), layer, view="all" if done.views > 1 else 0)

    for name in each_choice("four", "one", "third"):
        network = tiny_network()
        del used[:]
        found[f"{name}/map"] = features(f"{name}/map/x.h5", "block_2:map", batch_size=6)
        found[f"{name}/devices"] = np.array(used)
        if name == "third":
            break
        found[f"{name}/views"] = features(f"{name}/views/x.h5", views=3, batch_size=5)
        LoadedBackbone.function = small
        found[f"{name}/tight"] = features(f"{name}/tight/x.h5", batch_size=18)
        LoadedBackbone.function = function
        files = sorted(str(path) for path in root.rglob("*.*"))[:7]
        if name == "four":
            classifier = tiny_classifier(network, root)
        found[f"{name}/probabilities"] = classifier.predict_proba(files)
    return found


# Heads ------------------------------------------------------------------------------------------------------


def swept(folder: Path) -> dict[str, np.ndarray]:
    """Scores and the best head of a sweep of seven, which no number of devices divides."""
    from featcache import Classifier, sweep
    from helpers.feature_caches import blobs, feature_cache

    used: list[list[int]] = []
    spied(used)
    features, labels = blobs(90)
    splits = np.where(np.arange(90) % 5 < 3, "train", np.where(np.arange(90) % 5 == 3, "val", "test"))
    cache, found = feature_cache(folder / "x.h5", features, labels, splits.tolist()), {}
    for name in each_choice("four", "one"):
        axes = {
            "head": "linear",
            "learning_rate": [k / 100 for k in range(1, 8)],
            "optimizer": "sgd",
            "epochs": 6,
        }
        done = sweep(cache, output=folder / name, folds=0, refit=False, **axes)
        assert done.fitted == 7
        found[f"{name}/devices"] = np.array([len(each) for each in used])
        del used[:]
        found[f"{name}/order"] = np.array([str(entry.key) for entry in done.leaderboard])
        found[f"{name}/losses"] = np.array([entry.loss for entry in done.leaderboard])
        best = Classifier.load(done.classifier)
        found |= {f"{name}/best {key}": value for key, value in best.parameters.items()}
    return found


def heads(folder: Path) -> dict[str, np.ndarray]:
    """Seven heads of each kind: whose rows are the same or differ, in memory and streamed."""
    del folder
    used: list[list[int]] = []
    spied(used)
    from featcache.heads.feature_table import ArrayTable, FeatureRows, StreamedTable
    from featcache.heads.settings import Settings
    from featcache.solvers.fit import fit_heads

    draw, numbers = np.random.default_rng(3), np.arange(130)
    labels = numbers % 3
    x = (np.eye(3, 12)[labels] * 3 + draw.normal(size=(130, 12)) + 2).astype(np.float32)
    folds = (numbers[None] % 7 != np.arange(7)[:, None]).astype(np.float32)
    whole = np.ones_like(folds)

    def rows(part: np.ndarray, weight: np.ndarray, streamed: bool) -> FeatureRows:
        own = x[part]
        table = StreamedTable(lambda rows: own[rows], *own.shape) if streamed else ArrayTable(own)
        return FeatureRows(table, labels[part], weight)

    # Not by Adam: what it divides by is next to nothing where gradients are, and rounding becomes a step.
    descent = {"optimizer": "sgd", "patience": 3, "batch_size": 16, "seed": 5}
    mlp = descent | {
        "epochs": 6,
        "hidden": (8,),
        "batch_norm": True,
        "dropout": 0.3,
        "mixup": 0.4,
        "noise": 0.1,
    }
    cases: dict[str, tuple[str, dict, np.ndarray, bool]] = {
        "with all": ("mlp", mlp, folds, False),
        "streamed": ("linear", descent | {"epochs": 12}, whole, True),
        "streamed folds": ("linear", descent | {"epochs": 12}, folds, True),
        "logistic": ("logistic", {}, folds, False),
    }
    found = {}
    for name in each_choice("four", "one"):
        for case, (head, more, weight, streamed) in cases.items():
            varied = [
                {"c": (k + 1) / 10} if head == "logistic" else {"learning_rate": (k + 1) / 100}
                for k in range(7)
            ]
            train, val = numbers[:100], numbers[100:]
            done = fit_heads(
                [Settings(head=head, **own, **more) for own in varied],
                rows(train, weight[:, train], streamed),
                rows(val, whole[:, val], streamed),
                classes=3,
                memory=12_000 if streamed else 1 << 30,
            )
            found[f"{name}/{case}/devices"] = np.array(max([len(each) for each in used], default=1))
            del used[:]
            for key in done[0].parameters:
                found[f"{name}/{case}/{key}"] = np.stack([each.parameters[key] for each in done])
            found[f"{name}/{case}/epochs"] = np.array([each.best_epoch for each in done])
            found[f"{name}/{case}/loss"] = np.array([each.val_loss for each in done])
    return found


# Fine-tuning ------------------------------------------------------------------------------------------------


def finetuning(folder: Path) -> dict[str, np.ndarray]:
    """The last parameters: of batches that the devices do not divide, with batch statistics and mixup; and others."""
    from featcache.finetuning.settings import tune_settings
    from featcache.finetuning.setup import prepare_setup
    from helpers.tiny_finetuning import tiny_classifier, tiny_network, tiny_photos

    used: list[list[int]] = []
    spied(used)
    network, root, found = tiny_network(), tiny_photos(folder / "photos", train=7), {}
    head = tiny_classifier(network, root)
    common = {
        "train_from": "block_2",
        "learning_rate": 1e-2,
        "optimizer": "sgd",
        "epochs": 2,
        "head_epochs": 0,
    }
    cases = {
        "uneven": {"batch_size": 5, "batch_norm": "update", "mixup": 0.3, "augment": "none"},
        "even": {"batch_size": 8, "batch_norm": "frozen", "augment": "flip"},
    }
    for name in each_choice("four", "one"):
        for case, own in cases.items():
            del used[:]
            setup = prepare_setup(
                head,
                str(root),
                tune_settings(head, cached=False, **common, **own),
                cache=None,
                layer=None,
                report=lambda progress: None,
                workers=2,
            )
            loop = setup.loop()
            start = dict(loop.values)
            loop.run()
            found |= {f"{name}/{case}/{key}": np.asarray(value) for key, value in loop.changed.items()}
            found |= {f"start/{case}/{key}": np.asarray(start[key]) for key in loop.changed}
            found[f"{name}/devices of {case}"] = np.array([len(each) for each in used])
    return found


PARTS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    "photos": photos,
    "swept": swept,
    "heads": heads,
    "finetuning": finetuning,
}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        np.savez(sys.argv[2], **PARTS[sys.argv[1]](Path(place)))
