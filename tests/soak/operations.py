"""What happens to a world, one thing after another: photos change, extractions run, are killed, lose power or room."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.failing_calls import FAULTS

from featcache import FeatureCache
from featcache.cache import gc, partial_path, remove, repair, verify
from featcache.cache.maintenance import list_caches
from featcache.errors import FeatcacheError, LockedError, UsageError
from soak.child import PUBLISHED
from soak.damage import classifier_flips, damage_finished, damage_hashes, damage_unfinished, flips
from soak.world import TARGETS, Fault, World

Operation = Callable[[World], str]
"""Does something to a world, checks what must be true of it, and says in a few words what it did."""


def change_photos(world: World) -> str:
    world.counts["changes of photos"] += 1
    return "; ".join(world.photos.change() for _ in range(world.chance.integers(1, 6)))


def finish(world: World) -> str:
    """An extraction to its end; at once again, it computes nothing."""
    name, years = world.some_target(), world.years()
    options = world.options(name)
    done = world.finish(name, years, **options)
    if not world.photos.unreadable and not done.quarantined:
        again = world.finish(name, **{**options, "overwrite": False, "verify": False})
        if again.computed:
            raise Fault(f"{name}.h5 was finished, and {again.computed} images were computed again")
    return f"{name} {options}, clock {years:+} years: {done!r}"


def change_meanwhile(world: World) -> str:
    """A photo gets other bytes while an extraction runs: whatever the cache says of it, it is of one of both."""
    name, photo = world.some_target(), world.photos.chosen()
    if photo is None:
        return "no photo may change"
    before, at = world.photos.files[photo], int(world.chance.integers(1, 2 * len(world.photos.files) + 4))
    left = [at]

    def report(progress: object) -> None:
        left[0] -= 1
        if not left[0]:
            world.photos.write(photo, world.photos.another(), replace=bool(at % 2))

    try:
        world.extract(name, on_progress=report)
    except FeatcacheError as error:
        raise Fault(f"{type(error).__name__}: {error}") from error
    world.require_finished(name, world.photos.expected({photo: before}))
    world.finish(name)
    return f"{name} while {photo} changes at event {at}"


def _work(world: World) -> None:
    """Mostly, let there be something to do."""
    if world.chance.random() < 0.8:
        for _ in range(world.chance.integers(1, 4)):
            world.photos.change()
        world.photos.write("train/cat/new.png", world.photos.another())


# Kills --------------------------------------------------------------------------------------------------------


def kill(world: World) -> str:
    """A child is killed before one of its calls, in the middle of a write, at a call of Python, or after a while."""
    name, said = world.some_target(), []
    _work(world)
    for _ in range(world.chance.integers(1, 6)):
        how = world.one_of("killed before", "killed in the middle", "a call of Python", "a call of Python", "after")
        at = int(world.chance.integers(1, {"a call of Python": 30_000}.get(how, 90)))
        order = world.order(name, years=world.years(), options=world.options(name))
        if how == "after":
            ending = world.run(order, kill_after=at / 2000)
        else:
            ending = world.run({**order, "fault": how, "at": at})
        world.require_error(ending)
        world.counts["kills"] += ending.killed
        world.counts["extractions"] += 1
        world.require_kept(name, ending, world.photos.expected())
        said.append(f"{order['options']}, {how} {at}: {ending}")
    world.require_intact_others(name)
    if world.chance.random() < 0.5:
        world.finish(name)
    return f"{name} {'; '.join(said)}"


def kill_others(world: World) -> str:
    """As `kill`, of what mends and clears."""
    name = world.some_target(finished=True)
    command = world.one_of("repair", "gc", "verify")
    if command == "repair" and not partial_path(world.path(name)).exists():
        damage = "with a damaged row"
        with FeatureCache(world.path(name)) as cache:
            place = cache._stored.layout.offsets["features/pool"] + int(cache.rows_of()[0]) * cache.layers["pool"].row_bytes
        _flip(world.path(name), place)
    else:
        damage = ""
    how, at = world.one_of("killed before", "a call of Python"), int(world.chance.integers(1, 12))
    at = at if how == "killed before" else at * 400
    ending = world.run(world.order(name, command=command, fault=how, at=at))
    world.require_error(ending, "UsageError")
    world.counts["kills"] += ending.killed
    if not damage:
        world.require_old_or_new(name, world.held[name])
    world.finish(name)
    return f"{command} of {name} {damage}, {how} {at}: {ending}"


def _flip(path: Path, place: int) -> None:
    with path.open("r+b", buffering=0) as stream:
        content = os.pread(stream.fileno(), 1, place)
        os.pwrite(stream.fileno(), bytes([content[0] ^ 1]), place)


# Power cuts ---------------------------------------------------------------------------------------------------


def cut_power(world: World, count: int = 14) -> str:
    """A child's work is recorded; then the power is cut at many moments of it, and each time the work goes on."""
    _work(world)
    name = world.some_target()
    order = world.order(name, years=world.years(), options=world.options(name))
    if world.chance.random() < 0.3:
        fault = world.one_of("killed before", "ENOSPC", "EIO", "ENOSPC, and from then on")
        order |= {"fault": fault, "at": int(world.chance.integers(1, 120))}
    record, ending = world.recorded(order)
    world.require_error(ending, *(["StorageError"] if "E" in order.get("fault", "") else []))
    world.counts["kills"] += ending.killed
    world.counts["recorded runs"] += 1
    held, new = dict(world.held), world.photos.expected()
    for promised in world.cuts(record, count):
        world.held = dict(held)
        if not world.require_old_or_new(name, new):
            if promised == PUBLISHED:
                raise Fault(f"{name}.h5 had been published, and after a power cut it is the old one")
            world.require_right_parts(name)
            world.require_survivors(name, promised, "had been synced before a power cut")
        world.finish(name)
    world.require_intact_others(name)
    return f"{name} {order['options']} {order.get('fault', '')} {order.get('at', '')}: {ending}; {count} power cuts"


# Full disks ---------------------------------------------------------------------------------------------------


def fill_disk(world: World) -> str:
    """A real disk has room for some of the files only, or all calls from one on fail as on a full or dying one."""
    said = []
    for _ in range(3):
        _work(world)
        name, real = world.some_target(), os.getuid() == 0 and world.chance.random() < 0.7
        order = world.order(name, options=world.options(name))
        if real:
            fault, left = "a real disk", world.machine.scratch / "left"
            shutil.rmtree(left, ignore_errors=True)
            ending = world.run({**order, "room": int(world.chance.integers(0, 200_000)), "left": str(left)})
            world.replace_disk(left)
        else:
            fault = world.one_of(*(name for name in FAULTS if name.startswith(("ENOSPC", "EROFS", "EIO"))))
            ending = world.run({**order, "fault": fault, "at": int(world.chance.integers(1, 80))})
        world.require_error(ending, "StorageError")
        world.counts["full disks, real" if real else "failing disks, simulated"] += "error" in ending.end
        world.require_kept(name, ending, world.photos.expected())
        world.require_intact_others(name)
        if world.chance.random() < 0.5:
            world.finish(name)
        said.append(f"{name} {order['options']} {fault}: {ending}")
    return "; ".join(said)


# Several at once ----------------------------------------------------------------------------------------------


def two_writers(world: World) -> str:
    """While one writes, another is refused with whose turn it is, and what clears up takes nothing away."""
    name = world.some_target()
    # Of a finished cache that is unchanged nothing is written; a new photo always is something to compute.
    world.photos.write("train/cat/new.png", world.photos.another())
    reading, writing = os.pipe()
    stage = world.one_of("hash", "compute", "verify")
    order = world.order(name, wait_at=stage, options=dict(TARGETS[name]))
    with world.start(order, stdin=reading) as child, os.fdopen(writing, "wb", buffering=0) as stdin:
        os.close(reading)
        line = b""
        while b'"%b"' % stage.encode() not in line:
            line = child.stdout.readline()
            if not line:
                raise Fault(f"a child that was to wait at {stage} has ended: {child.errors()[-2000:]}")
        acts: list[Callable[[], object]] = [lambda: world.extract(name)]
        if world.path(name).exists():
            acts += [lambda: repair(world.path(name)), lambda: remove(world.path(name))]
        for act in acts:
            with contextlib.suppress(UsageError):
                _require_refused(world, act, child.pid)
        gc(world.folder, unfinished=True)
        list_caches(world.folder)
        killed = world.chance.random() < 0.4
        if killed:
            child.send_signal(9)
        else:
            stdin.write(b"\n")
        ending = world.ending(child)
    world.require_error(ending)
    world.counts["writers refused"] += len(acts)
    world.counts["kills"] += killed
    world.require_kept(name, ending, world.photos.expected())
    world.finish(name)
    return f"{name}, one waits at {stage}: {ending}"


def _require_refused(world: World, act: Callable[[], object], pid: int) -> None:
    try:
        act()
    except LockedError as error:
        if f"process {pid} " not in str(error):
            raise Fault(f"the refusal does not name the process {pid}: {error}") from error
    except UsageError:
        raise
    except FeatcacheError as error:
        raise Fault(f"a second writer is told {type(error).__name__}: {error}") from error
    else:
        raise Fault("a second writer was not refused")


def race(world: World) -> str:
    """Two begin at one moment: each ends well, or is told of the other."""
    name = world.some_target()
    order = world.order(name, options=world.options(name))
    with world.start(order) as child:
        try:
            world.extract(name)
            mine = "finished"
        except LockedError:
            mine = "refused"
        except FeatcacheError as error:
            raise Fault(f"beside another: {type(error).__name__}: {error}") from error
        ending = world.ending(child)
    world.require_error(ending, "LockedError")
    if mine == "refused" and "error" in ending.end:
        raise Fault("of two writers each was refused")
    world.counts["races"] += 1
    world.require_finished(name, world.photos.expected())
    return f"{name}: one {mine}, the other {ending}"


def read_meanwhile(world: World) -> str:
    """Whoever opens a cache while another is published sees the old one or the new one, whole."""
    name = world.some_target(finished=True)
    old = world.held[name]
    world.photos.write("train/cat/new.png", world.photos.another())
    new, seen = world.photos.expected(), {"old": 0, "new": 0}
    with world.start(world.order(name, options=dict(TARGETS[name]))) as child, FeatureCache(world.path(name)) as kept:
        running = True
        while running:
            running = not child.stdout.closed and b'"end"' not in child.stdout.readline()
            found = world.wrong_in(world.path(name), old)
            if found and (other := world.wrong_in(world.path(name), new)):
                raise Fault(f"a reader sees neither the old {name}.h5 ({found[:3]}) nor the new ({other[:3]})")
            seen["new" if found else "old"] += 1
        child.wait()
        if not kept.intact().all() or sorted(kept.ids) != sorted(old):
            raise Fault(f"whoever had {name}.h5 open does not see the old one any more")
    world.counts["reads during writing"] += sum(seen.values())
    world.require_finished(name, new)
    return f"{name}: seen {seen}"


# Other ways to the same cache ---------------------------------------------------------------------------------


def shards(world: World) -> str:
    """Parts, in any order and some of them killed, make the whole, at no cost."""
    parts = [world.folder / "parts" / f"{number}.h5" for number in (1, 2, 3)]
    for number in world.chance.permutation(3).tolist():
        shard = {"shard": f"{number + 1}/3", "output": str(parts[number])}
        if world.chance.random() < 0.4:
            order = world.order("a", target=shard["output"], options={"shard": shard["shard"]})
            ending = world.run({**order, "fault": "killed before", "at": int(world.chance.integers(1, 60))})
            world.require_error(ending)
            world.counts["kills"] += ending.killed
        _extract_to(world, parts[number], shard=shard["shard"])
    whole = world.folder / "whole" / "whole.h5"
    computed = _extract_to(world, whole, reuse=parts)
    world.require_whole(whole, world.photos.expected())
    if computed and not world.photos.unreadable:
        known = sum(row.features is True for row in world.photos.expected().values())
        with FeatureCache(whole) as cache:
            if len(cache.rows_of()) == known and computed > 0:
                raise Fault(f"of a whole whose parts are there {computed} images were computed again")
    for folder in (parts[0].parent, whole.parent):
        shutil.rmtree(folder)
    world.counts["sets of shards"] += 1
    return "three parts and the whole"


def _extract_to(world: World, path: Path, **options: object) -> int:
    try:
        return world.extract("a", output=path, **options).computed
    except FeatcacheError as error:
        raise Fault(f"into {path.name} {options}: {type(error).__name__}: {error}") from error


def reuse(world: World) -> str:
    """A cache is moved away, and its rows are taken from there."""
    name = world.some_target(finished=True)
    world.finish(name)
    apart = world.machine.scratch / "apart"
    shutil.rmtree(apart, ignore_errors=True)
    apart.mkdir()
    os.rename(world.path(name), apart / "moved.h5")
    del world.held[name]
    done = world.finish(name, reuse=[apart / "moved.h5"])
    if done.computed and not world.photos.unreadable:
        raise Fault(f"all rows of {name}.h5 were to be reused, and {done.computed} images were computed")
    return f"{name}: {done!r}"


def delete(world: World) -> str:
    name = world.one_of(*TARGETS)
    try:
        remove(world.path(name))
    except FeatcacheError:
        if name in world.held or world.has_leftovers(name):
            raise
        return f"no {name} to remove"
    world.held.pop(name, None)
    left = [path.name for path in world.folder.iterdir() if path.name.startswith(f"{name}.")]
    if [each for each in left if not each.endswith(".previous.h5")]:
        raise Fault(f"{name}.h5 was removed, and {left} are left")
    return f"remove {name}"


def maintain(world: World) -> str:
    """Listing, verifying, repairing what is whole, and clearing up take nothing away."""
    unfinished = world.chance.random() < 0.2
    for name in sorted(world.held):
        if not verify(world.path(name)).ok:
            raise Fault(f"{name}.h5 does not verify")
        with contextlib.suppress(UsageError):
            repair(world.path(name))
    states = {info.path.name: info.state for info in list_caches(world.folder)}
    lost = [name for name in world.held if states.get(f"{name}.h5") != "finished"]
    if lost:
        raise Fault(f"not listed as finished: {lost}")
    partials = {path for path in world.folder.glob("*.partial.h5") if verify(path).error is None}
    removed = [left.path.name for left in gc(world.folder, unfinished=unfinished)]
    if not unfinished and (gone := [path.name for path in partials if not path.exists()]):
        raise Fault(f"what was unfinished is gone: {gone}")
    for name, expected in world.held.items():
        world.require_whole(world.path(name), expected)
    world.counts["verified, repaired, cleared"] += 1
    return f"removed {removed}, states {states}"


def command_line(world: World) -> str:
    """The commands' exit codes: of what is whole, and of what has a damaged row."""
    name = world.some_target(finished=True)
    codes = {}
    for what in ("whole", "damaged"):
        if what == "damaged":
            with FeatureCache(world.path(name)) as cache:
                row, spec = int(cache.rows_of()[0]), cache.layers["pool"]
                place = cache._stored.layout.offsets["features/pool"] + row * spec.row_bytes
            _flip(world.path(name), place)
        arguments = ["cache", "verify", str(world.path(name))]
        with contextlib.suppress(KeyError):
            ending = world.run(world.order(name, command="command line", options={"arguments": arguments}))
            codes[what] = ending.end["code"]
        if what == "damaged":
            _flip(world.path(name), place)
    if codes != {"whole": 0, "damaged": 4}:
        raise Fault(f"exit codes of featcache cache verify: {codes}")
    world.counts["commands"] += 2
    return f"{name}: exit codes {codes}"


def train(world: World) -> str:
    """A head is trained on a cache, saved, loaded, and says the same; then bits of its folder are flipped."""
    from featcache import Classifier, train_head

    world.finish("a")
    folder = world.machine.disk / "classifier"
    with pytest.MonkeyPatch.context():
        trained = train_head(world.path("a"), head="prototype", output=folder)
    with FeatureCache(world.path("a")) as cache:
        features = cache.features(cache.rows_of(), "pool")
    said = trained.probabilities(features)
    if not np.array_equal(Classifier.load(folder).probabilities(features), said) or not np.isfinite(said).all():
        raise Fault("a classifier that was loaded says something else than the one that was saved")
    world.counts["heads trained"] += 1
    return f"trained; {classifier_flips(world, folder, features, said)}"


OPERATIONS: tuple[tuple[float, Operation], ...] = (
    (6, change_photos),
    (5, finish),
    (1, change_meanwhile),
    (5, kill),
    (1, kill_others),
    (4, cut_power),
    (5, fill_disk),
    (1, two_writers),
    (0.5, race),
    (1, read_meanwhile),
    (1, shards),
    (1, reuse),
    (0.5, delete),
    (1, maintain),
    (0.3, command_line),
    (0.3, train),
    (4, flips),
    (2, damage_finished),
    (1, damage_unfinished),
    (1, damage_hashes),
)
"""How often, in relation to the others, each happens."""


def draw(world: World) -> Operation:
    """Return what happens next."""
    weights = np.array([weight for weight, _ in OPERATIONS])
    return OPERATIONS[world.chance.choice(len(OPERATIONS), p=weights / weights.sum())][1]
