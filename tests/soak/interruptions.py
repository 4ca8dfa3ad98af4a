"""Extractions that do not end by themselves: killed, without power, on a disk that is full."""

import os
import shutil

from helpers.failing_calls import FAULTS

from featcache.cache import partial_path
from soak.child import PUBLISHED
from soak.damage import flip, place_of_a_row
from soak.world import Fault, World


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
        how = world.one_of(
            "killed before", "killed in the middle", "a call of Python", "a call of Python", "after"
        )
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
        flip(world.path(name), place_of_a_row(world.path(name)))
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
