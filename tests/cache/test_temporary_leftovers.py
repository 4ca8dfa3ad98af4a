"""``cache gc`` lists and removes what killed commands left of files and folders that are replaced at one blow."""

from pathlib import Path

from featcache.cache import find_leftovers, gc
from featcache.core.disk.temporaries import held_file, held_folder, temporary_path


def left(folder: Path) -> set[Path]:
    export, classifier = temporary_path(folder / "photos.npz"), temporary_path(folder / "classifier")
    export.write_bytes(bytes(100))
    classifier.mkdir()
    (classifier / "head.safetensors").write_bytes(bytes(60))
    return {export, classifier}


def test_what_killed_commands_left_is_listed_with_its_size_and_removed(tmp_path):
    paths = left(tmp_path)
    found = {each.path: (each.nbytes, each.reason, each.removable) for each in find_leftovers(tmp_path)}
    assert found == {
        path: (nbytes, f"unfinished {name}", True)
        for path in paths
        for name, nbytes in [("photos.npz", 100), ("classifier", 60)]
        if name in path.name
    }
    assert {each.path for each in gc(tmp_path)} == paths
    assert list(tmp_path.iterdir()) == []


def test_what_is_being_written_is_left_alone(tmp_path):
    with held_file(tmp_path / "photos.npz") as stream, held_folder(tmp_path / "classifier") as folder:
        assert (find_leftovers(tmp_path), gc(tmp_path)) == ([], [])
        assert {*tmp_path.iterdir()} == {Path(stream.name), folder}


def test_an_earlier_classifier_that_nothing_has_replaced_is_kept(tmp_path):
    aside = temporary_path(tmp_path / "classifier", "old")
    aside.mkdir()
    (aside / "classifier.json").touch()
    assert [(each.path, each.removable) for each in find_leftovers(tmp_path)] == [(aside, False)]
    assert gc(tmp_path, unfinished=True) == []
    (tmp_path / "classifier").mkdir()
    assert [each.path for each in gc(tmp_path)] == [aside]
