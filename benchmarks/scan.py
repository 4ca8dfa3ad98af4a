"""Scanning and planning 100,000 records of every source: seconds and peak memory, each in a process of its own.

Measured is what an extraction does before it computes: import, `featcache.open_dataset`, the sha256 of every image, the
row table with a drawn split where there is none, and the plan. Images are 64 made-up bytes each, all different: a scan
decodes none. What has to hold is 10 s and 300 MB for each.

The network is not among it; importing JAX and using it once adds 175 MB.

Command: ``python benchmarks/scan.py --records 100000`` (writes 300,000 small files into a temporary folder)

Result on two cores that others used too (load 3; the better of two runs), seconds and megabytes: folder 5.8 s, 121 MB;
csv 5.9 s, 156 MB; lists 8.8 s, 171 MB; tar 7.1 s, 126 MB; tfds 6.8 s, 170 MB; hf 4.4 s, 236 MB. Under a load of 5 tar
took 13 s (9.5 s of CPU), the others less than 9 s.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

CLASSES = 10
SPLITS = ("train", "train", "train", "test")
SECONDS, MEGABYTES = 10, 300
"""What has to hold."""


def photos(count: int) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield split, class, file name and bytes of each made-up image."""
    for number in range(count):
        name = f"class{number % CLASSES}"
        yield SPLITS[number % len(SPLITS)], name, f"{number:06}.jpg", f"{number:064}".encode()


def write_folder(root: Path, count: int) -> str:
    for split in set(SPLITS):
        for number in range(CLASSES):
            (root / split / f"class{number}").mkdir(parents=True)
    for split, label, name, content in photos(count):
        (root / split / label / name).write_bytes(content)
    return str(root)


def write_csv(root: Path, count: int) -> str:
    (root / "images").mkdir(parents=True)
    with (root / "photos.csv").open("w") as table:
        table.write("path,label\n")
        for _, label, name, content in photos(count):
            (root / "images" / name).write_bytes(content)
            table.write(f"images/{name},{label}\n")
    return f"csv:{root / 'photos.csv'}"


def write_lists(root: Path, count: int) -> str:
    for number in range(CLASSES):
        (root / "images" / f"class{number}").mkdir(parents=True)
    for split in set(SPLITS):
        with (root / f"{split}.txt").open("w") as names:
            for own, label, name, content in photos(count):
                if own == split:
                    (root / "images" / label / name).write_bytes(content)
                    names.write(f"{label}/{name}\n")
    return f"lists:{root}"


def write_tar(root: Path, count: int) -> str:
    root.mkdir()
    shards: dict[int, tarfile.TarFile] = {}
    for number, (_, label, name, content) in enumerate(photos(count)):
        shard = number * 10 // count
        if shard not in shards:
            shards[shard] = tarfile.open(root / f"shard-{shard:03}.tar", "w")  # noqa: SIM115
        for member, data in ((name, content), (Path(name).stem + ".cls", label.encode())):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            shards[shard].addfile(info, io.BytesIO(data))
    for archive in shards.values():
        archive.close()
    return f"tar:{root}"


def write_tfds(root: Path, count: int) -> str:
    import tensorflow_datasets as tfds

    class Synthetic(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            labels = tfds.features.ClassLabel(names=[f"class{number}" for number in range(CLASSES)])
            features = {"image": tfds.features.Image(), "label": labels}
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager: Any) -> Any:
            return {split: self._generate_examples(split) for split in dict.fromkeys(SPLITS)}

        def _generate_examples(self, split: str) -> Iterator[tuple[Any, dict[str, Any]]]:
            for own, label, name, content in photos(count):
                if own == split:
                    yield name, {"image": io.BytesIO(content), "label": label}

    Synthetic(data_dir=str(root), file_format="array_record").download_and_prepare()
    return f"tfds:synthetic?data_dir={root}"


def write_hf(root: Path, count: int) -> str:
    import datasets

    datasets.disable_progress_bars()
    names = datasets.ClassLabel(names=[f"class{number}" for number in range(CLASSES)])
    found = list(photos(count))
    whole = datasets.Dataset.from_dict(
        {
            "image": [{"bytes": content, "path": name} for _, _, name, content in found],
            "label": [names.str2int(label) for _, label, _, _ in found],
        },
        features=datasets.Features({"image": datasets.Image(decode=False), "label": names}),
    )
    whole.cast_column("image", datasets.Image()).save_to_disk(root)
    return f"hf:{root}"


WRITERS: Mapping[str, Callable[[Path, int], str]] = {
    "folder": write_folder,
    "csv": write_csv,
    "lists": write_lists,
    "tar": write_tar,
    "tfds": write_tfds,
    "hf": write_hf,
}


# What is measured ---------------------------------------------------------------------------------------------


def scan(spec: str) -> dict[str, float]:
    """Open, hash and plan a dataset in this process; seconds of each, megabytes at the worst."""
    import resource

    began = time.perf_counter()
    from featcache.core.parallel import default_workers
    from featcache.datasets import open_dataset
    from featcache.extraction.planning.content_hashes import hash_records
    from featcache.extraction.planning.plan import build_plan
    from featcache.extraction.planning.row_table import SplitRule, build_rows

    loaded = time.perf_counter()
    data = open_dataset(spec)
    opened = time.perf_counter()
    hashes = hash_records(data, workers=default_workers(), report=lambda progress: None)
    hashed = time.perf_counter()
    rows, _, _ = build_rows(data, hashes, SplitRule())
    import numpy as np

    plan = build_plan(hashes, np.zeros(len(rows), bool), [])
    planned = time.perf_counter()
    assert len(plan.compute) == len(data.records)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "import": loaded - began,
        "open": opened - loaded,
        "hash": hashed - opened,
        "plan": planned - hashed,
        "seconds": planned - began,
        "cpu": time.process_time(),
        "megabytes": peak / (1e6 if sys.platform == "darwin" else 1e3),
    }


def measured(spec: str, repeats: int) -> dict[str, float]:
    """Scan in fresh processes; return the quickest, which the machine's other work disturbed least."""
    command = [sys.executable, os.path.abspath(__file__), "--scan", spec]
    runs = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as home:  # in which no hash is remembered yet
            environment = os.environ | {"FEATCACHE_HOME": home}
            done = subprocess.run(command, check=True, capture_output=True, env=environment)
        runs.append(json.loads(done.stdout))
    return min(runs, key=lambda run: run["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--sources", nargs="+", choices=WRITERS, default=list(WRITERS))
    parser.add_argument("--keep", type=Path, help="Folder to write datasets to and to take them from.")
    parser.add_argument("--scan", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.scan:
        print(json.dumps(scan(asked.scan)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        for source in asked.sources:
            root = (asked.keep or Path(temporary)) / f"{source}-{asked.records}"
            note = root.with_suffix(".spec")
            if not note.exists():
                note.parent.mkdir(parents=True, exist_ok=True)
                note.write_text(WRITERS[source](root, asked.records))
            found = measured(note.read_text(), asked.repeats)
            parts = ", ".join(f"{part} {found[part]:.2f} s" for part in ("import", "open", "hash", "plan"))
            fits = found["seconds"] < SECONDS and found["megabytes"] < MEGABYTES
            verdict = "" if fits else f"  ABOVE {SECONDS} s or {MEGABYTES} MB"
            took = f"{found['seconds']:.2f} s ({found['cpu']:.2f} s of CPU), {found['megabytes']:.0f} MB"
            print(f"{source:<7} {took} ({parts}){verdict}", flush=True)


if __name__ == "__main__":
    main()
