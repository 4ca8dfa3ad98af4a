"""Write ``before_packages/``: what featcache left on disk before its modules moved into packages.

Made once, on 28 November 2026, by the code of commit aba1d0f (the last in which all modules lay flat in
``featcache/``) with ``python tests/data/archives/make_before_packages.py``. Not to be run again: files that are
written anew prove nothing about old ones. ``tests/integration/test_archives_before_packages.py`` reads them.

- ``photos.tar``: 90 made-up photos of three classes and three tables over them, kept as bytes, so that another
  version of Pillow cannot change them.
- ``caches/``: every kind of cache, one of them unfinished; ``features/`` is the cache of a `FeatureExtractor`.
- ``classifiers/``: every kind of head and task; ``tuned`` has weights of its own, and ``tuned.run`` is its run.
- ``stopped.run/``: a fine-tuning that was interrupted after one of two epochs, of the settings of ``tuned``.
- ``sweeps/``: a finished sweep, and the same one interrupted after its first heads.
- ``pickles/``: scikit-learn estimators.
- ``answers.json``: what each command printed with ``--json``, in the order in which they ran.
- ``arrays.npz``: features, probabilities and the fine-tuned parameters, to compare with.

The backbone is MobileNet v1 of width 0.25 on 32×32 pixels, with weights drawn by numpy: nothing is downloaded.
"""

import contextlib
import csv
import io
import json
import os
import pickle
import shutil
import socket
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

HERE = Path(__file__).parent / "before_packages"
CLASSES = ("cat", "dog", "owl")
COUNTS = {"train": 6, "val": 20, "test": 4}  # 50 validation rows are needed to calibrate
BACKBONE = {"backbone": "mobilenet_v1_025", "weights": "random", "image_size": 32}
SWEEP = {"head": "logistic,ridge,prototype", "c": "0.1,1,10", "l2": "1,100", "seeds": 2}
TUNING = {
    "train_from": "conv_pw_13_relu",
    "epochs": 2,
    "batch_size": 6,
    "learning_rate": 1e-5,
    "augment": "flip",
    "optimizer": "nesterov",  # its steps are as long as gradients are: Adam's would be full ones on rounding noise
    "schedule": "cosine",
}
_NETWORK = "--backbone mobilenet_v1_025 --weights random --image-size 32"
_DESCENT = "--epochs 20 --lr 0.01 --batch-size 8"
COMMANDS = (
    f"extract photos {_NETWORK} --dtype float16 --layer pool --layer conv_pw_6_relu:avg --output caches/plain.h5",
    f"extract photos {_NETWORK} --views 3 --augment flip,colour --view-seed 5 --output caches/views.h5",
    f"extract photos {_NETWORK} --layer conv_pw_12_relu:map --no-image-statistics --dtype float16 "
    "--output caches/map.h5",
    f"extract csv:photos/groups.csv {_NETWORK} --test-fraction 0.25 --seed 3 --output caches/groups.h5",
    f"extract csv:photos/tags.csv?label=furry,first {_NETWORK} --output caches/tags.h5",
    f"extract csv:photos/numbers.csv {_NETWORK} --output caches/numbers.h5",
    f"extract photos {_NETWORK} --shard 1/3 --output caches/shard.h5",
    f"train-head caches/plain.h5 --head linear {_DESCENT} --reject-accuracy 0.8 --output classifiers/linear",
    f"train-head caches/plain.h5 --head mlp --hidden 8 {_DESCENT} --layer conv_pw_6_relu:avg --no-calibrate "
    "--output classifiers/mlp",
    "train-head caches/plain.h5 --head logistic --c 10 --output classifiers/logistic",
    "train-head caches/plain.h5 --head ridge --l2 10 --reject-accuracy 0.6 --output classifiers/ridge",
    "train-head caches/plain.h5 --head knn --neighbours 5 --output classifiers/knn",
    "train-head caches/plain.h5 --head prototype --metric euclidean --output classifiers/prototype",
    "train-head caches/plain.h5 --epochs 2 --lr 0.001 --batch-size 8 --output classifiers/start",
    f"train-head caches/views.h5 --head linear {_DESCENT} --views 2 --tta --output classifiers/views",
    f"train-head caches/groups.h5 --head linear {_DESCENT} --output classifiers/groups",
    f"train-head caches/tags.h5 {_DESCENT} --output classifiers/tags",
    "train-head caches/numbers.h5 --output classifiers/numbers",
    "finetune classifiers/start photos --output classifiers/tuned "
    + " ".join(f"--{name.replace('_', '-')} {value}" for name, value in TUNING.items()),
    "extract photos --backbone classifiers/tuned --dtype float16 --split test --output caches/tuned.h5",
    "sweep caches/plain.h5 --output sweeps/finished "
    + " ".join(f"--{name} {value}" for name, value in SWEEP.items()),
    *(
        f"cache info caches/{name}.h5"
        for name in ("plain", "views", "map", "groups", "tags", "numbers", "shard")
    ),
    "cache info caches/stopped.partial.h5",
    "cache ls caches",
    "cache verify caches/plain.h5 caches/views.h5 caches/map.h5",
    "cache gc caches",
    *(
        f"evaluate classifiers/{name} --cache caches/plain.h5"
        for name in ("linear", "mlp", "logistic", "ridge")
    ),
    *(f"evaluate classifiers/{name} --cache caches/plain.h5" for name in ("knn", "prototype")),
    *(
        f"evaluate classifiers/{name} --cache caches/{name}.h5"
        for name in ("views", "groups", "tags", "numbers")
    ),
    "evaluate classifiers/tuned --cache caches/tuned.h5 --split test",
    "evaluate sweeps/finished/classifier --cache caches/plain.h5",
    *(
        f"predict classifiers/{name} photos/test/owl"
        for name in ("linear", "knn", "views", "tags", "numbers", "tuned")
    ),
    "data check photos",
    "backbones show mobilenet_v1_025 --image-size 32",
    "finetune classifiers/start photos --train-from conv_pw_13_relu --dry-run",
    f"extract photos {_NETWORK} --output caches/planned.h5 --dry-run",
)
"""What was run, each with ``--json``."""


# Photos -----------------------------------------------------------------------------------------------------


def write_photos(root: Path) -> None:
    """Folders of photos, and three tables over all of them, next to the folders."""
    from photo_folders import photo

    names = [
        f"{part}/{name}/{number}.png"
        for part, count in COUNTS.items()
        for name in CLASSES
        for number in range(count)
    ]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(name, height=12, width=16)).save(root / name)
    (root / "train/cat/broken.png").write_bytes(b"no image")
    write_tables(root, names)


def write_tables(root: Path, names: list[str]) -> None:
    """Classes with groups and no split; two answers; a number that the colours decide."""
    rows = [(name, *name.split("/")) for name in names]
    tables: dict[str, list[list[Any]]] = {
        "groups": [["path", "label", "group"]],
        "tags": [["path", "split", "furry", "first"]],
        "numbers": [["path", "split", "label"]],
    }
    for path, part, name, file in rows:
        number = int(file.partition(".")[0])
        colour = np.random.default_rng(zlib.crc32(name.encode())).integers(40, 200, 3)
        tables["groups"].append([path, name, f"{part}-{name}-{number // 2}"])
        tables["tags"].append([path, part, int(name != "owl"), int(number % 2 == 0)])
        tables["numbers"].append([path, part, round(float(colour.mean()) / 255 + number / 100, 3)])
    for name, table in tables.items():
        with (root / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(table)


# What is made of them ---------------------------------------------------------------------------------------


def answer(command: str) -> dict[str, Any]:
    """Run a command as a user does and return its exit code and its JSON object."""
    from featcache.cli import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main([*command.split(), "--json"])
    return {"command": command, "code": code, "answer": json.loads(printed.getvalue())}


class Stopper:
    """Says stop once `enough` of a stage is done; both are told by its `report`."""

    def __init__(self, stage: str, enough: int) -> None:
        self.stage, self.enough, self.stopped = stage, enough, False

    def report(self, progress: Any) -> None:
        self.stopped = self.stopped or (progress.stage == self.stage and progress.done >= self.enough)

    def __call__(self) -> bool:
        return self.stopped


def interrupted(call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Call something that must not come to its end."""
    from featcache import FeatcacheError

    try:
        call(*arguments, **options)
    except (FeatcacheError, KeyboardInterrupt) as error:
        print("interrupted:", error)
        return
    raise SystemExit(f"{call.__name__} was not interrupted")


def interrupt_extraction() -> None:
    from featcache import extract

    stop = Stopper("compute", 12)
    interrupted(
        extract,
        "photos",
        **BACKBONE,
        batch_size=4,
        output="caches/stopped.h5",
        on_progress=stop.report,
        stop=stop,
    )


def interrupt_finetuning() -> None:
    """Stopped within the second epoch: what resumes it starts from the checkpoint after the first."""
    from featcache import finetune

    ended: list[Any] = []
    interrupted(
        finetune,
        "classifiers/start",
        "photos",
        output="stopped",
        **TUNING,
        on_epoch=ended.append,
        stop=lambda: any(record["epoch"] == 1 for record in ended),
    )


def interrupt_sweep() -> None:
    from featcache import sweep

    def report(progress: Any) -> None:
        if progress.done >= 6:
            raise KeyboardInterrupt

    interrupted(sweep, "caches/plain.h5", output="sweeps/stopped", **SWEEP, on_progress=report)
    with Path("sweeps/stopped/results.jsonl").open("ab") as file:
        file.write(b'{"format": 1, "id": "')  # what a kill leaves of a line


def write_pickles() -> None:
    """Estimators: fitted heads on features, and an extractor with its own cache folder."""
    from featcache import FeatureCache, FeatureExtractor, HeadClassifier, HeadRegressor

    cache = FeatureCache("caches/plain.h5")
    features, labels = cache.arrays("train")
    fitted = {
        "classifier": HeadClassifier(head="logistic", c=10.0).fit(features, labels),
        "regressor": HeadRegressor(l2=10.0).fit(features, labels / 2),
        "extractor": FeatureExtractor(**BACKBONE, cache="features"),
    }
    fitted["extractor"].fit([]).transform(paths("test"))
    Path("pickles").mkdir()
    for name, estimator in fitted.items():
        Path(f"pickles/{name}.pickle").write_bytes(pickle.dumps(estimator, protocol=5))


def paths(part: str) -> list[str]:
    """Photos of a split, in order."""
    return [str(path) for path in sorted(Path("photos", part).rglob("*.png"))]


def arrays() -> dict[str, np.ndarray]:
    """What readers compare with: by ``features/CACHE/LAYER``, ``probabilities/CLASSIFIER``, and so on."""
    from featcache import Classifier, FeatureCache

    found = {}
    for path in sorted(Path("caches").glob("*.h5")):
        if path.name.endswith(".partial.h5"):
            continue
        cache = FeatureCache(path)
        rows = cache.rows_of()[:3]
        for layer in cache.layers:
            # The first values of three rows, in all views.
            values = cache.features(rows, layer, view="all").reshape(len(rows), -1)
            found[f"features/{path.stem}/{layer.replace('/', '_')}"] = values[:, :64]
    for folder in (*sorted(Path("classifiers").iterdir()), Path("sweeps/finished/classifier")):
        if not folder.name.endswith(".run"):
            found[f"probabilities/{folder.name}"] = Classifier.load(folder).predict_proba(paths("test"))
    tuned = Classifier.load("classifiers/tuned")
    found |= {f"tuned/{name}": value for name, value in tuned.parameters.items()}
    for name in ("classifier", "regressor"):
        estimator = pickle.loads(Path(f"pickles/{name}.pickle").read_bytes())
        features = FeatureCache("caches/plain.h5").arrays("test")[0]
        told = estimator.predict_proba if name == "classifier" else estimator.predict
        found[f"pickles/{name}"] = told(features)
    extractor = pickle.loads(Path("pickles/extractor.pickle").read_bytes())
    found["pickles/extractor"] = extractor.transform(paths("test"))[:, :64]
    return found


def make() -> None:
    """Make everything in the working directory."""
    write_photos(Path("photos"))
    done = []
    for number, command in enumerate(COMMANDS):
        if command.startswith("cache info caches/plain"):  # all else is made
            interrupt_extraction()
            interrupt_finetuning()
            interrupt_sweep()
            write_pickles()
        print(number, command, flush=True)
        done.append(answer(command))
        if done[-1]["code"]:
            raise SystemExit(str(done[-1]))
    Path("answers.json").write_text(json.dumps(done, indent=1) + "\n")
    np.savez_compressed("arrays.npz", allow_pickle=False, **arrays())
    with tarfile.open("photos.tar", "w") as tar:
        tar.add("photos")
    shutil.rmtree("photos")


if __name__ == "__main__":
    if HERE.exists():
        sys.exit(f"{HERE} exists; archives are never written anew")
    socket.gethostname = lambda: "archive"  # no name of a machine in what is kept
    with tempfile.TemporaryDirectory(prefix="featcache-archive-") as folder:
        os.environ |= {"FEATCACHE_HOME": f"{folder}/home", "FEATCACHE_OFFLINE": "1"}
        work = Path(folder, "work")
        work.mkdir()
        os.chdir(work)
        make()
        for lock in work.rglob("*.lock"):
            lock.unlink()
        shutil.copytree(work, HERE)
    print(sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file()), "bytes")
