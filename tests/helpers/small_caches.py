"""Small caches of known content for the tests of `featcache.cache`; `Small.wrong` is their oracle."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from featcache.cache import CacheWriter, FeatureCache, LayerSpec, RowTable
from featcache.cache.layout import build_identity
from featcache.core.identity import Recipe

RECIPE = Recipe(
    arch="mobilenet_v2",
    revision=1,
    config={"width": 1.0},
    weights_sha256="ab" * 32,
    transforms={"input_size": [224, 224], "interpolation": "bicubic"},
)
SPLITS = ("train", "val", "test")
CLASSES = ("daisy", "rose", "tulip")


@dataclass(frozen=True)
class Small:
    """A cache as it should be: its rows, its features, which rows have none."""

    rows: RowTable
    layers: dict[str, LayerSpec]
    features: dict[str, np.ndarray]
    quarantined: dict[int, int] = field(default_factory=dict)

    @property
    def dataset(self) -> dict:
        """The classes, or names of the targets: then numbers are learnt."""
        named = {"spec": "photos", "classes": list(CLASSES), "splits": list(SPLITS), "rule": None}
        if self.rows.targets is None:
            return named
        return named | {"classes": list(CLASSES[: self.rows.targets.shape[1]]), "task": "numbers"}

    @property
    def identity(self) -> dict:
        return build_identity(
            recipe=RECIPE.to_json(),
            layers=self.layers,
            dataset=self.dataset,
            rows=self.rows,
            provenance={"backbone": "mobilenet_v2.tv_in1k", "weights": None},
        )

    def create(self, target: Path) -> CacheWriter:
        return CacheWriter.create(target, identity=self.identity, rows=self.rows)

    def fill(self, writer: CacheWriter, rows: Iterable[int] | None = None, block: int = 4) -> None:
        """Write some rows (all by default), several at a time, as an extraction does."""
        wanted = list(range(len(self.rows))) if rows is None else list(rows)
        for first in range(0, len(wanted), block):
            part = wanted[first : first + block]
            present = np.array([row for row in part if row not in self.quarantined], np.int64)
            writer.write(present, {name: values[present] for name, values in self.features.items()})
            for row in part:
                if row in self.quarantined:
                    writer.quarantine(row, self.quarantined[row])

    def publish(self, target: Path) -> FeatureCache:
        with self.create(target) as writer:
            self.fill(writer)
            return writer.publish()

    def resume(self, target: Path) -> FeatureCache:
        """Do what an extraction does after an interruption: go on where it stopped, or begin."""
        writer = CacheWriter.resume(target) or self.create(target)
        with writer:
            self.fill(writer, np.flatnonzero(~writer.done()))
            return writer.publish()

    def wrong(self, cache: FeatureCache) -> list[str]:
        """Say in what a cache, fully read, differs from what it should be."""
        present = np.array([row for row in range(len(self.rows)) if row not in self.quarantined])
        found = []
        for name, values in self.features.items():
            stored = values[present].astype(cache.layers[name].dtype)
            if not np.array_equal(cache.features(present, name), stored):
                found.append(f"features of {name}")
        for split in SPLITS:
            mine = present[[SPLITS[self.rows.splits[row]] == split for row in present]]
            if not np.array_equal(cache.rows_of(split), mine):
                found.append(f"rows of {split}")
        for what, have, want in (
            ("ids", cache.ids, self.rows.ids),
            ("labels", cache.labels.tolist(), self.rows.labels.tolist()),
            ("hashes", cache.sha256.tolist(), self.rows.sha256.tolist()),
            ("quarantine", {int(r): int(cache.status[r]) for r in cache.quarantined()}, self.quarantined),
            ("classes", list(cache.classes), self.dataset["classes"]),
            ("identity", cache.identity, self.identity),
        ):
            if have != want:
                found.append(what)
        hinted = cache.mtimes_ns != 0
        if not np.array_equal(cache.mtimes_ns[hinted], self.rows.mtimes_ns[hinted]):
            found.append("times")
        if not np.array_equal(cache.sizes[hinted], self.rows.sizes[hinted]):
            found.append("sizes")
        return found


def small(
    count: int = 13,
    *,
    seed: int = 0,
    shapes: dict[str, tuple[int, ...]] | None = None,
    dtype: str = "float32",
    quarantined: dict[int, int] | None = None,
) -> Small:
    """Return a small cache of random but reproducible content; row 1 has a name that is not UTF-8."""
    random = np.random.default_rng(seed)
    shapes = shapes or {"pool": (24,), "mixed7": (3, 5)}
    ids = [f"train/{CLASSES[i % 3]}/{i:03d}.jpg" for i in range(count)]
    if count > 1:
        ids[1] = "train/rose/caf\udce9.jpg"
    hashes = [hashlib.sha256(b"%d %d" % (seed, row)).digest() for row in range(count)]
    return Small(
        rows=RowTable(
            ids=tuple(ids),
            sha256=np.frombuffer(b"".join(hashes), np.uint8).reshape(count, 32),
            labels=np.arange(count, dtype=np.int32) % 3,
            splits=(np.arange(count) // 2 % 3).astype(np.int16),
            sizes=np.arange(count, dtype=np.int64) + 1000,
            mtimes_ns=np.arange(count, dtype=np.int64) + 1_700_000_000_000_000_000,
        ),
        layers={name: LayerSpec(shape, dtype, RECIPE.fingerprint(name)) for name, shape in shapes.items()},
        features={
            name: random.normal(size=(count, *shape)).astype(np.float32) for name, shape in shapes.items()
        },
        quarantined={4: 2, 7: 6} if quarantined is None else quarantined,
    )
