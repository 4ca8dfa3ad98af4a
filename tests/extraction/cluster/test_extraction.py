"""An extraction by actors is the extraction of one process: the same bytes, the same errors, the same way to go on."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from helpers.cluster_caches import ActorsHere, contents
from helpers.fake_extractions import extract
from helpers.fake_workers import Death
from helpers.photo_folders import photo_folder

from featcache.cache.layout import partial_path
from featcache.errors import DataError, FeatcacheError, IdentityError, Interrupted, MissingExtraError
from featcache.extraction.cluster import driver, worker
from featcache.extraction.cluster.worker import ExtractionWorker


@pytest.fixture
def folder(tmp_path):
    """Forty photos, two that are none, and two that are copies."""
    photos = photo_folder(tmp_path / "photos", {"cat": 20, "dog": 20})
    files = sorted(photos.rglob("*.*"))
    files[5].write_bytes(b"no picture")
    files[12].write_bytes(b"nor this")
    files[30].write_bytes(files[8].read_bytes())
    return photos


@pytest.fixture
def actors(monkeypatch, own_home):
    """Actors in this process, whose environment stays as it is; a class that a test may tamper with."""

    class Actors(ActorsHere):
        options: ClassVar = {}

    monkeypatch.setattr(driver, "RayWorkers", Actors)
    monkeypatch.setattr(ExtractionWorker, "_prepare_environment", lambda self, order: None)
    return Actors


def by_actors(folder, target, count=2, **options):
    return extract(folder, target, cluster="ray", actors=count, **options)


@pytest.fixture
def alone(folder, tmp_path, own_home):
    """What one process makes of the photos, in a folder of its own where no other extraction looks."""
    (tmp_path / "alone").mkdir()
    return contents(extract(folder, tmp_path / "alone" / "a.h5").path)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_size", [None, 3])
def test_the_file_is_that_of_one_process(folder, target, actors, alone, count, batch_size):
    done = by_actors(folder, target, count, batch_size=batch_size)
    assert contents(target) == alone
    assert (done.computed, done.duplicates, len(done.quarantined)) == (37, 1, 2)
    assert done.engine.endswith(f", {count} actor{'s' if count > 1 else ''} of Ray 0.0")
    assert sum(done.actors.values()) > 0
    recorded = done.cache.identity["provenance"]
    assert recorded["cluster"] == {"name": "ray", "version": "0.0", "actors": count}
    assert actors.made.closed


def test_views_and_statistics_are_those_of_one_process(folder, tmp_path, target, actors):
    (tmp_path / "alone").mkdir()
    one = extract(folder, tmp_path / "alone" / "a.h5", views=3).path
    by_actors(folder, target, 3, views=3)
    assert contents(target) == contents(one)


@pytest.mark.parametrize("seed", range(4))
def test_actors_may_die(folder, target, actors, alone, seed):
    died = []

    def tamper(self, worker, method, argument, value):
        if len(died) < 4 and self.draw.random() < 0.4:
            died.append(method)
            raise Death("killed")
        return value

    actors.tamper, actors.options = tamper, {"seed": seed}
    by_actors(folder, target, 2)
    assert contents(target) == alone
    assert len(died) == 4


def test_a_stopped_driver_goes_on(folder, target, actors, alone):
    seen = []
    with pytest.raises(Interrupted, match="which are kept; run the same command again"):
        by_actors(
            folder,
            target,
            on_progress=seen.append,
            stop=lambda: seen[-1].stage == "compute" and seen[-1].done >= 10,
        )
    assert actors.made.closed
    assert partial_path(target).exists()
    done = by_actors(folder, target, 3)
    assert done.resumed >= 10
    assert done.resumed + done.computed >= 37
    assert contents(target) == alone


def test_rows_that_kill_are_named_and_the_others_are_kept(folder, target, actors, alone):
    def tamper(self, worker, method, argument, value):
        if method == "compute" and 7 in argument[0]:
            raise Death("signal 11")
        return value

    actors.tamper = tamper
    with pytest.raises(
        FeatcacheError, match=r"cat/.*: whoever computes .* dies \(signal 11\).*All other rows are"
    ):
        by_actors(folder, target)
    actors.tamper = ActorsHere.tamper
    done = by_actors(folder, target)
    assert done.resumed >= 35
    assert contents(target) == alone


def test_hashing_is_divided_among_actors(folder, tmp_path, target, actors, monkeypatch):
    monkeypatch.setattr(driver, "HASHED_HERE", 0)
    by_actors(folder, target)
    assert {worker for worker, method, _ in actors.made.sent if method == "digests"} == {0, 1}
    # The hashes are remembered: only a sample is read again.
    by_actors(folder, target.with_name("b.h5"), overwrite=True)
    again = [rows for _, method, (_, rows) in actors.made.sent if method == "digests"]
    assert sum(map(len, again)) <= 16 + 2
    (tmp_path / "alone").mkdir()
    assert contents(target) == contents(extract(folder, tmp_path / "alone" / "a.h5", verify=True).path)


def test_a_node_that_sees_other_images_is_refused(folder, target, actors, monkeypatch):
    def tamper(self, worker, method, argument, value):
        return (value[0], replace(value[1], images=7)) if method == "start" else value

    actors.tamper = tamper
    with pytest.raises(
        DataError, match=r"finds 7 images in the dataset, and this machine 40: each node must see the same"
    ):
        by_actors(folder, target)


def test_a_node_that_cannot_read_the_files_is_refused(folder, target, actors):
    def tamper(self, worker, method, argument, value):
        return (value[0], replace(value[1], sample=(None,) * 8)) if method == "start" else value

    actors.tamper = tamper
    with pytest.raises(
        DataError, match="cannot read files that this machine reads: each node must see the same files"
    ):
        by_actors(folder, target)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "other"}, "would compute other features than were asked for: its weights or its code"),
        (
            {"device": "H100"},
            "has another device than the actors before it, H100 and not cpu: .*use nodes of one kind",
        ),
        ({"version": "9"}, "has another engine than the actors before it, jax 9 and not jax"),
        ({"batch": 5}, "has another images per batch than the actors before it, 5 and not 2"),
    ],
)
def test_an_actor_that_computes_otherwise_is_refused(folder, target, actors, change, message):
    ready = []

    def tamper(self, worker, method, argument, value):
        if method != "probe":
            return value
        ready.append(worker)
        return replace(value, **change) if len(ready) == 2 or "recipe" in change else value

    actors.tamper = tamper
    with pytest.raises(IdentityError, match=message):
        by_actors(folder, target)


def test_an_actor_whose_probes_differ_is_refused(folder, target, actors):
    ready = []

    def tamper(self, worker, method, argument, value):
        if method == "probe":
            ready.append(worker)
            if len(ready) == 2:
                wrong = {layer: (2.0 * np.array(rows)).tolist() for layer, rows in value.probes.items()}
                return replace(value, probes=wrong)
        return value

    actors.tamper = tamper
    with pytest.raises(IdentityError, match=r"actor . on node-. has the same recipe, but its probe images"):
        by_actors(folder, target)


def test_the_engine_is_chosen_for_all_images_to_compute(folder, target, actors):
    by_actors(folder, target)
    wanted = {argument[1] for _, method, argument in actors.made.sent if method == "probe"}
    assert {each.expected for each in wanted} == {39}, "distinct images, those that cannot be read included"


def test_strict_names_an_unreadable_image(folder, target, actors):
    with pytest.raises(DataError, match="without --strict it would be left out"):
        by_actors(folder, target, strict=True)
    assert actors.made.closed


def test_images_in_memory_go_along(tmp_path, actors):
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    labels = ["a", "b"] * 6
    (tmp_path / "alone").mkdir()
    one = extract(None, tmp_path / "alone" / "a.h5", images=images, labels=labels).path
    extract(None, tmp_path / "b.h5", images=images, labels=labels, cluster="ray", actors=2)
    assert contents(tmp_path / "b.h5") == contents(one)


def test_an_actor_of_another_version_is_refused(folder, target, actors, monkeypatch):
    monkeypatch.setattr(driver, "__version__", "9.9")
    with pytest.raises(
        FeatcacheError, match=r"featcache .* is installed there, and 9\.9 here: install the same"
    ):
        by_actors(folder, target)


def test_what_is_not_expected_is_told_in_a_line(monkeypatch):
    def fail(order):
        raise RuntimeError("the driver is gone\nsecond line")

    actor = ExtractionWorker(1, 0)
    monkeypatch.setattr(worker, "enable_compilation_cache", lambda: None)
    monkeypatch.setattr(ExtractionWorker, "_prepare_environment", lambda self, order: fail(order))
    value, error = actor.start(None)
    assert (value, str(error)) == (None, "RuntimeError: the driver is gone")


def test_without_ray_the_extra_is_named(folder, target, monkeypatch):
    from featcache.extraction.cluster import ray_workers

    monkeypatch.setattr(ray_workers, "find_spec", lambda name: None)
    message = r"cluster ray needs the package ray: pip install 'featcache\[ray\]'"
    with pytest.raises(MissingExtraError, match=message):
        by_actors(folder, target)
