"""What a user asks of a cluster, and how its processors and devices are shared out among actors."""

from collections.abc import Sequence
from dataclasses import dataclass

from featcache.core.argument_types import spelled
from featcache.errors import UsageError, did_you_mean

CLUSTERS = ("ray",)

MOST_TURNS = 8
"""Actors' processors for each one of a single machine at most: each actor is a process with a network of its own."""

MOST_CPUS = 4
"""Processors of an actor without a GPU, unless told otherwise: a lost actor loses little, and few load weights."""


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Who drives an extraction; see `featcache.extract`.

    Parameters
    ----------
    cluster
        One of `CLUSTERS`; ``None`` computes in this process.
    address, actors, gpus_per_actor, cpus_per_actor
        Where the cluster is, how many actors, and what each is given; ``None`` for the default.

    Raises
    ------
    UsageError
        If a value is invalid, or given without a cluster.
    """

    cluster: str | None = None
    address: str | None = None
    actors: int | None = None
    gpus_per_actor: float | None = None
    cpus_per_actor: int | None = None

    def __post_init__(self) -> None:
        about = {name: value for name, value in vars(self).items() if name != "cluster" and value is not None}
        if self.cluster is None:
            if about:
                name, value = next(iter(about.items()))
                raise UsageError(
                    f"{spelled(name)} {value} without a cluster: add {spelled('cluster')} ray, or leave it out"
                )
            return
        if self.cluster not in CLUSTERS:
            raise UsageError(
                f"no {spelled('cluster')} {self.cluster!r}; {did_you_mean(self.cluster, CLUSTERS)}"
            )
        for name in ("actors", "cpus_per_actor"):
            if name in about and about[name] < 1:
                raise UsageError(f"{spelled(name)} {about[name]}: expected at least 1")
        if self.address == "":  # of a variable that is not set: a Ray of this machine was not meant
            raise UsageError(f"{spelled('address')} is empty: expected auto or HOST:PORT, or leave it out")
        gpus = self.gpus_per_actor
        if gpus is not None and not (0 <= gpus <= 1 or (gpus > 1 and gpus % 1 == 0)):
            raise UsageError(
                f"{spelled('gpus_per_actor')} {gpus}: expected a share of one, such as 0.5, or a whole number; 0 for "
                "actors that compute on processors"
            )


@dataclass(frozen=True)
class NodeResources:
    """What one machine of a cluster offers: its name, and numbers of processors and GPUs."""

    name: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Shares:
    """How many actors there are, and what each is given."""

    actors: int
    cpus: int
    gpus: float


def share_out(settings: ClusterSettings, nodes: Sequence[NodeResources], *, oversubscribe: bool) -> Shares:
    """Decide how many actors there are and what each is given.

    By default one actor for each GPU; without GPUs, one for each `MOST_CPUS` processors, or fewer where a node has
    fewer, or more actors were asked for.

    Parameters
    ----------
    settings, nodes
        What was asked for, and what is there.
    oversubscribe
        Whether more processors may be promised than there are: on one machine they take turns.

    Raises
    ------
    UsageError
        If the nodes cannot hold a single actor, or fewer than were asked for.
    """
    all_gpus = sum(node.gpus for node in nodes)
    gpus = settings.gpus_per_actor if settings.gpus_per_actor is not None else float(all_gpus > 0)
    fit = [node for node in nodes if node.gpus >= gpus and node.cpus >= 1]
    if not fit:
        most = max((node.gpus for node in nodes), default=0)
        raise UsageError(
            f"{spelled('gpus_per_actor')} {gpus:g}: a node of the cluster has {most:g} GPUs at most; give fewer, or 0 "
            "to compute on processors"
        )
    cpus = settings.cpus_per_actor or _usual_cpus(settings, fit, gpus)
    room = sum(_room(node, cpus, gpus) for node in fit)
    actors = settings.actors or max(room, int(oversubscribe))
    turns, there = actors * cpus, int(sum(node.cpus for node in nodes))
    if oversubscribe and turns > MOST_TURNS * there:
        raise UsageError(
            f"{spelled('actors')} {actors} of {cpus} CPUs each: this machine has {there} CPUs, which {turns} would "
            f"share; expected at most {MOST_TURNS * there} in all"
        )
    short_of_gpus = gpus and actors * gpus > sum(node.gpus for node in fit)
    if actors > room and (short_of_gpus or not oversubscribe):
        told = ", ".join(f"{node.name} {node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in nodes[:4])
        told += f", and {len(nodes) - 4} more" if len(nodes) > 4 else ""
        raise UsageError(
            f"{max(actors, 1)} actors of {cpus} CPUs and {gpus:g} GPUs each do not fit the cluster ({told}), which has "
            f"room for {room}; give fewer, or smaller ones ({spelled('actors')}, {spelled('cpus_per_actor')}, "
            f"{spelled('gpus_per_actor')})"
        )
    return Shares(actors, cpus, gpus)


def _usual_cpus(settings: ClusterSettings, nodes: Sequence[NodeResources], gpus: float) -> int:
    if gpus:  # a node's processors decode for its GPUs
        return max(1, min(int(node.cpus * gpus / node.gpus) for node in nodes))
    least = min(int(node.cpus) for node in nodes)
    if settings.actors is None:
        return min(MOST_CPUS, least)
    return max(1, min(MOST_CPUS, least, int(sum(node.cpus for node in nodes)) // settings.actors))


def _room(node: NodeResources, cpus: int, gpus: float) -> int:
    """Return how many actors a node holds."""
    return min(int(node.cpus // cpus), int(node.gpus / gpus + 1e-9) if gpus else 1 << 30)
