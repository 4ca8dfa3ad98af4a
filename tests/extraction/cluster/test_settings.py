"""What is asked of a cluster, and how its processors and GPUs are shared out."""

import pytest

from featcache.errors import UsageError
from featcache.extraction.cluster.settings import ClusterSettings, NodeResources, Shares, share_out

LAPTOP = [NodeResources("laptop", 2, 0)]
NODES = [NodeResources("a", 16, 0), NodeResources("b", 16, 0)]
GPUS = [NodeResources("a", 16, 4), NodeResources("b", 16, 2), NodeResources("head", 8, 0)]


def shares(nodes, *, here=False, **asked):
    return share_out(ClusterSettings(cluster="ray", **asked), nodes, oversubscribe=here)


@pytest.mark.parametrize(
    ("nodes", "asked", "expected"),
    [
        (NODES, {}, Shares(8, 4, 0)),
        (NODES, {"actors": 3}, Shares(3, 4, 0)),
        (NODES, {"cpus_per_actor": 16}, Shares(2, 16, 0)),
        (NODES, {"actors": 16}, Shares(16, 2, 0)),
        (GPUS, {}, Shares(6, 4, 1)),
        (GPUS, {"gpus_per_actor": 0.5}, Shares(12, 2, 0.5)),
        (GPUS, {"gpus_per_actor": 2.0}, Shares(3, 8, 2)),
        (GPUS, {"gpus_per_actor": 0.0}, Shares(10, 4, 0)),
    ],
)
def test_shares_of_a_cluster(nodes, asked, expected):
    assert shares(nodes, **asked) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [({}, Shares(1, 2, 0)), ({"actors": 2}, Shares(2, 1, 0)), ({"actors": 4}, Shares(4, 1, 0))],
)
def test_on_one_machine_actors_may_take_turns(asked, expected):
    assert shares(LAPTOP, here=True, **asked) == expected


def test_more_than_a_cluster_has_is_refused_with_what_it_has():
    message = (
        r"40 actors of 1 CPUs and 0 GPUs each do not fit the cluster \(a 16 CPUs and 0 GPUs, b 16 CPUs and 0 GPUs\), "
        r"which has room for 32; give fewer, or smaller ones \(actors, cpus_per_actor, gpus_per_actor\)"
    )
    with pytest.raises(UsageError, match=message):
        shares(NODES, actors=40)


def test_gpus_are_never_promised_twice_even_here():
    with pytest.raises(UsageError, match="2 actors of 8 CPUs and 1 GPUs each do not fit"):
        shares([NodeResources("desk", 8, 1)], here=True, actors=2)


@pytest.mark.parametrize(
    ("asked", "told"),
    [({"actors": 17}, "17 of 1 CPUs each"), ({"cpus_per_actor": 99_999}, "1 of 99999 CPUs each")],
)
def test_one_machine_is_not_drowned_in_processes(asked, told):
    message = f"actors {told}: this machine has 2 CPUs, .* expected at most 16 in all"
    with pytest.raises(UsageError, match=message):
        shares(LAPTOP, here=True, **asked)


def test_a_gpu_that_no_node_has_is_refused():
    with pytest.raises(
        UsageError, match="gpus_per_actor 8: a node of the cluster has 4 GPUs at most; give fewer"
    ):
        shares(GPUS, gpus_per_actor=8.0)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"actors": 2}, "actors 2 without a cluster: add cluster ray, or leave it out"),
        ({"address": "auto"}, "address auto without a cluster"),
        ({"cluster": "rya"}, "no cluster 'rya'; did you mean 'ray'"),
        ({"cluster": "ray", "actors": 0}, "actors 0: expected at least 1"),
        ({"cluster": "ray", "address": ""}, "address is empty: expected auto or HOST:PORT"),
        ({"cluster": "ray", "gpus_per_actor": float("inf")}, "gpus_per_actor inf: expected a share of one"),
        ({"cluster": "ray", "cpus_per_actor": 0}, "cpus_per_actor 0: expected at least 1"),
        ({"cluster": "ray", "gpus_per_actor": 1.5}, "gpus_per_actor 1.5: expected a share of one"),
        ({"cluster": "ray", "gpus_per_actor": -1.0}, "gpus_per_actor -1.0: expected a share of one"),
    ],
)
def test_wrong_values_are_refused(asked, message):
    with pytest.raises(UsageError, match=message):
        ClusterSettings(**asked)
