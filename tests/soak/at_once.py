"""Several processes at one cache at once: writers exclude each other, readers see the old one or the new one."""

import contextlib
import os
from collections.abc import Callable

from featcache import FeatureCache
from featcache.cache import gc, remove, repair
from featcache.cache.maintenance import list_caches
from featcache.errors import FeatcacheError, LockedError, UsageError
from soak.world import IN_THE_WAY, TARGETS, Fault, World


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
            if IN_THE_WAY.encode() in line:
                child.wait()
                world.finish(name)
                return f"{name}: something was in the way"
            if not line or b'"end"' in line:
                raise Fault(
                    f"a child that was to wait at {stage} has ended: {line.decode()} {child.errors()[-2000:]}"
                )
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
    with (  # opened first: a child may be done before this process has its next turn
        FeatureCache(world.path(name)) as kept,
        world.start(world.order(name, options=dict(TARGETS[name]))) as child,
    ):
        running = True
        while running:
            running = not child.stdout.closed and b'"end"' not in child.stdout.readline()
            found = world.wrong_in(world.path(name), old)
            if found and (other := world.wrong_in(world.path(name), new)):
                raise Fault(
                    f"a reader sees neither the old {name}.h5 ({found[:3]}) nor the new ({other[:3]})"
                )
            seen["new" if found else "old"] += 1
        child.wait()
        if not kept.intact().all() or sorted(kept.ids) != sorted(old):
            raise Fault(f"whoever had {name}.h5 open does not see the old one any more")
    world.counts["reads during writing"] += sum(seen.values())
    world.require_finished(name, new)
    return f"{name}: seen {seen}"
