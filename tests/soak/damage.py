"""Bits that flip: in finished and unfinished caches, in remembered hashes, and in the folder of a classifier."""

import os
from pathlib import Path

import h5py
import numpy as np

from featcache import Classifier, FeatureCache
from featcache.cache import partial_path, repair, verify
from featcache.errors import FeatcacheError, IntegrityError
from soak.world import TARGETS, Fault, World

TOGETHER = 150
"""Bits that are flipped one after another in one file."""


def flips(world: World) -> str:
    """Every flipped bit of a finished cache is noticed, or hits what carries nothing."""
    name = world.some_target(finished=True)
    path = world.path(name)
    spans = _spans(path)
    unnoticed: dict[str, int] = {}
    content = path.read_bytes()
    with path.open("r+b", buffering=0) as stream:
        for number in range(TOGETHER):
            place, bit = _drawn(world, len(content), spans)
            os.pwrite(stream.fileno(), bytes([content[place] ^ 1 << bit]), place)
            world.counts["bits flipped in caches"] += 1
            if verify(path).ok:
                part = _part(place, spans, content, path)
                world.counts[f"of them in {part}, which carries nothing"] += 1
                unnoticed[part] = unnoticed.get(part, 0) + 1
                if found := world.wrong_in(path, world.held[name], TARGETS[name]):
                    raise Fault(f"byte {place}, bit {bit} of {path.name} verifies, and {found[:3]}")
            elif number % 8 == 0:
                _require_refused_or_right(world, name)
            os.pwrite(stream.fileno(), content[place : place + 1], place)
    if not verify(path).ok:
        raise Fault(f"{path.name} does not verify after all flipped bits were flipped back")
    return f"{TOGETHER} in {path.name}, unnoticed {unnoticed}"


def _require_refused_or_right(world: World, name: str) -> None:
    """Require a damaged cache to be refused where it is read, and no wrong value to be returned."""
    found = world.wrong_in(world.path(name), world.held[name], TARGETS[name])
    allowed = ("IntegrityError", "it does not verify")
    if not found or not found[0].startswith(allowed):
        raise Fault(f"a damaged {name}.h5 was read: {found}")


def _spans(path: Path) -> list[tuple[str, int, int]]:
    """Name, first and last byte of every dataset, as HDF5 tells them, and what lies outside."""
    spans: list[tuple[str, int, int]] = []

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            spans.append((name, item.id.get_offset(), item.id.get_offset() + item.nbytes))

    with h5py.File(path) as file:
        file.visititems(add)
    return spans


def _drawn(world: World, size: int, spans: list[tuple[str, int, int]]) -> tuple[int, int]:
    """A bit: anywhere, or in one of the datasets, of which most are small, or in what is before the first of them."""
    kind, bit = world.chance.integers(4), int(world.chance.integers(8))
    if kind == 0:
        return int(world.chance.integers(size)), bit
    if kind == 1:
        return int(world.chance.integers(min(first for _, first, _ in spans))), bit
    _, first, last = spans[world.chance.integers(len(spans))]
    return int(world.chance.integers(first, last)), bit


def _part(place: int, spans: list[tuple[str, int, int]], content: bytes, path: Path) -> str:
    """Say where a bit lies that nobody noticed; raises `Fault` where it must not."""
    text = len(content) - len(content.split(b"\n", 3)[3])
    if text <= place < content.index(b"\x89HDF"):
        return "the padding of the user block and its line of costs"
    for name, first, last in spans:
        if first <= place < last and name.startswith("features/"):
            with FeatureCache(path) as cache:
                row = (place - first) // cache.layers[name.removeprefix("features/")].row_bytes
                if cache.status[row]:
                    return "features of images that could not be read"
    where = next((name for name, first, last in spans if first <= place < last), "HDF5's own")
    raise Fault(f"a flipped bit in byte {place} of {path.name} ({where}) is not noticed")


def flip(path: Path, place: int, bit: int = 0) -> None:
    """Flip one bit of a file."""
    with path.open("r+b", buffering=0) as stream:
        content = os.pread(stream.fileno(), 1, place)
        os.pwrite(stream.fileno(), bytes([content[0] ^ 1 << bit]), place)


def place_of_a_row(path: Path) -> int:
    """Return where the features of the first row lie that has some."""
    first = next(first for name, first, _ in _spans(path) if name == "features/pool")
    with FeatureCache(path) as cache:
        return first + int(cache.rows_of()[0]) * cache.layers["pool"].row_bytes


# Damage that stays until it is mended ---------------------------------------------------------------------------


def _damage(world: World, path: Path, count: int) -> list[tuple[int, int]]:
    size = path.stat().st_size
    spans = _spans(path)
    chosen = [_drawn(world, size, spans) for _ in range(count)]
    for place, bit in chosen:
        flip(path, place, bit)
    return chosen


def damage_finished(world: World) -> str:
    """A damaged cache is mended by an extraction, or after a repair; where its headers are damaged, it is refused."""
    name = world.some_target(finished=True)
    bits = _damage(world, world.path(name), int(world.chance.integers(1, 4)))
    world.counts["bits flipped and mended"] += len(bits)
    found = verify(world.path(name))
    way = world.one_of("extract", "repair", "overwrite")
    if found.error:
        for act in (lambda: world.extract(name), lambda: repair(world.path(name))):
            _require_integrity_error(act)
        way = world.one_of("overwrite", "delete")
    if way == "repair" and not partial_path(world.path(name)).exists():
        repair(world.path(name))
    if way == "delete":
        world.path(name).unlink()
    world.finish(name, overwrite=way == "overwrite")
    return f"{name} bits {bits}, {found.error or dict(found.damaged) or 'nothing damaged'}; {way}"


def _require_integrity_error(act: object) -> None:
    try:
        act()  # type: ignore[operator]
    except IntegrityError as error:
        if error.exit_code != 4:
            raise Fault(f"exit code {error.exit_code} of a damaged cache") from error
    except FeatcacheError as error:
        raise Fault(f"a damaged cache is told as {type(error).__name__}: {error}") from error
    else:
        raise Fault("a cache with damaged headers was not refused")


def damage_unfinished(world: World) -> str:
    """An unfinished cache is damaged; the extraction that goes on computes what that hits, or begins anew."""
    name = world.some_target()
    world.photos.write("train/cat/new.png", world.photos.another())
    order = world.order(
        name, options=dict(TARGETS[name], overwrite=True)
    )  # after what can be read has changed
    ending = world.run({**order, "fault": "killed before", "at": int(world.chance.integers(15, 90))})
    world.require_error(ending)
    world.counts["kills"] += ending.killed
    world.require_kept(name, ending, world.photos.expected())
    unfinished = partial_path(world.path(name))
    bits = []
    if unfinished.exists():
        bits = _damage(world, unfinished, int(world.chance.integers(1, 6)))
        world.counts["bits flipped and mended"] += len(bits)
    done = world.finish(name)
    return f"{name} {ending}, bits {bits}; {done!r}"


def damage_hashes(world: World) -> str:
    """Damaged remembered hashes are not believed."""
    name = world.some_target()
    world.finish(name)
    hashes = sorted((world.machine.disk / "home" / "hashes").glob("[0-9a-f]*"))
    flipped = 0
    for path in hashes:
        for _ in range(4):
            content = bytearray(path.read_bytes())
            place, bit = int(world.chance.integers(len(content))), int(world.chance.integers(8))
            content[place] ^= 1 << bit
            path.write_bytes(content)
            world.finish(name)
            flipped += 1
    world.counts["bits flipped in hashes"] += flipped
    return f"{flipped} of {len(hashes)} files of hashes, then {name}"


# Classifiers ------------------------------------------------------------------------------------------------------


def classifier_flips(world: World, folder: Path, features: np.ndarray, said: np.ndarray) -> str:
    """A classifier whose bits flip is refused, or says what it said."""
    before = Classifier.load(folder)
    refused, same = 0, 0
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for _ in range(20):
            place, bit = int(world.chance.integers(len(content))), int(world.chance.integers(8))
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            world.counts["bits flipped in classifiers"] += 1
            try:
                loaded = Classifier.load(folder)
                like = (
                    np.array_equal(loaded.probabilities(features), said) and loaded.classes == before.classes
                )
            except FeatcacheError:
                refused += 1
                continue
            if not like:
                raise Fault(
                    f"byte {place}, bit {bit} of {path.name} changes what a classifier says, unnoticed"
                )
            same += 1
        path.write_bytes(content)
    world.counts["of them in classifiers where they change nothing"] += same
    return f"bits flipped in the classifier: {refused} refused, {same} without effect"
