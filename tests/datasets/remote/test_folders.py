"""Folders, tables and shards that lie elsewhere give the records of the same files on this disk."""

import os
import pickle
import shutil
import warnings
from pathlib import Path

import pytest
from helpers.photo_folders import photo_folder
from helpers.remote_photos import files_below, put, rows, serve, shard_of

from featcache.datasets import open_dataset
from featcache.datasets.remote import listing, mirror
from featcache.datasets.remote.fetching import Told
from featcache.datasets.remote.listing import Listed
from featcache.errors import DataError, FeatcacheWarning, ImageError, MissingFileError, UsageError

TREE = {"train/cat": 3, "train/dog": 2, "val/cat": 1, "val/dog": 1}


@pytest.fixture
def photos(tmp_path) -> Path:
    return photo_folder(tmp_path / "pets", TREE)


@pytest.mark.parametrize(
    ("options", "tree"),
    [
        ("", TREE),
        ("", {"cat": 3, "dog": 2}),
        ("?classes_at=2", {"a/cat": 2, "b/dog": 1}),
        ("?splits=train=one,test=two", {"one/cat": 2, "one/dog": 1, "two/cat": 1, "two/dog": 1}),
        ("", {"wrapped/train/cat": 2, "wrapped/train/dog": 1, "wrapped/dev/cat": 1}),
    ],
)
@pytest.mark.filterwarnings("ignore::featcache.errors.FeatcacheWarning")
def test_a_folder_in_a_store_is_read_as_one_of_this_disk(tmp_path, bucket, options, tree):
    photos = photo_folder(tmp_path / "pets", tree)
    put(f"{bucket}/pets", files_below(photos))
    local, remote = open_dataset(f"folder:{photos}{options}"), open_dataset(f"folder:{bucket}/pets{options}")
    assert rows(remote) == rows(local)
    assert (remote.classes, remote.name, remote.splits) == (local.classes, local.name, local.splits)
    assert remote.location == f"folder:{bucket}/pets"
    assert all(len(record.state) == 16 for record in remote.records)


def test_what_is_left_out_and_warned_of_is_the_same_with_the_url(photos, bucket):
    (photos / "train/cat/.DS_Store").write_bytes(b"x")
    (photos / "train/cat/notes.txt").write_text("hi")
    (photos / "train/cat/photo.heif.dcm").write_bytes(b"no picture")
    shutil.copy(next((photos / "train/cat").glob("*.png")), photos / "train/cat/bare")
    (photos / "val.txt").write_text("cat/1\n")
    put(f"{bucket}/pets", files_below(photos))
    with pytest.warns(FeatcacheWarning) as here:
        local = open_dataset(photos)
    with pytest.warns(FeatcacheWarning) as there:
        remote = open_dataset(f"{bucket}/pets")
    assert rows(remote) == rows(local)
    assert dict(remote.skipped) == dict(local.skipped)
    assert [str(each.message) for each in there] == [
        str(each.message).replace(str(photos), f"{bucket}/pets") for each in here
    ]


def test_unlabelled_photos_of_any_depth(photos, bucket):
    put(f"{bucket}/pets", files_below(photos))
    local, remote = open_dataset(photos, unlabelled=True), open_dataset(f"{bucket}/pets", unlabelled=True)
    assert rows(remote) == rows(local)


def test_errors_name_the_url_and_nothing_of_the_listing_stays(tmp_path, bucket):
    photos = photo_folder(tmp_path / "pets", {"cat": 2})
    put(f"{bucket}/pets", files_below(photos))
    with pytest.raises(DataError, match=r"^memory://bucket/pets holds one class \(cat\)"):
        open_dataset(f"{bucket}/pets")
    with pytest.raises(
        MissingFileError, match="no dataset folder memory://bucket/none: nothing lies below it"
    ):
        open_dataset(f"{bucket}/none")
    with pytest.raises(UsageError, match=r"did you mean csv:memory://bucket/photos\.csv"):
        open_dataset(f"{bucket}/photos.csv")
    with pytest.raises(UsageError, match="coco: reads files of this machine; copy them"):
        open_dataset(f"coco:{bucket}/a.json")
    assert os.listdir(tmp_path / "home" / "fetched") == []


def test_objects_whose_names_no_file_can_have_are_counted(photos, bucket):
    put(f"{bucket}/pets", files_below(photos))
    put(f"{bucket}/pets", {f"train/cat/{'x' * 300}.png": b"no"})
    data = open_dataset(f"{bucket}/pets")
    assert data.skipped == {"object whose name no file can have": 1}
    assert rows(data) == rows(open_dataset(photos))


def test_keys_that_climb_or_are_files_and_folders_at_once_make_no_file(tmp_path):
    """Stores allow names that no folder can have; none may be written outside of the listing."""
    names = ["../out.png", "a//b.png", "a/./c.png", "d.png", "d.png/e.png", "f/g.png", "f", "/etc/x.png"]
    inside = tmp_path / "listing"
    inside.mkdir()
    unnamed = mirror._lay_out(inside, [Listed(name, "", Told()) for name in names])
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")} == {
        "listing/d.png",
        "listing/f/g.png",
    }
    assert unnamed == len(names) - 2


# Web servers --------------------------------------------------------------------------------------------------


def test_a_web_server_that_lists_its_folders(photos, web):
    server, url = web
    serve(server, "data/pets", files_below(photos))
    local, remote = open_dataset(photos), open_dataset(f"{url}/data/pets")
    assert rows(remote) == rows(local)
    assert all(record.state for record in remote.records)


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [
        ("_LARGEST_PAGE", 400, r"the page of .*/train/cat/ has 611 bytes"),
        ("MOST_PAGES", 4, "it has more than 4 folders"),
    ],
)
def test_a_part_of_a_listing_never_passes_for_the_whole(photos, web, monkeypatch, limit, value, why):
    server, url = web
    serve(server, "pets", files_below(photos))
    serve(server, "pets/train/cat", {f"{number:0>30}.png": b"" for number in range(5)})
    monkeypatch.setattr(listing, limit, value)
    with pytest.raises(
        DataError, match=f"/pets/ is more than is listed of a web server: {why}; list its files in a table"
    ):
        open_dataset(f"{url}/pets")


def test_a_web_server_without_listings_is_told_of(photos, web):
    server, url = web
    serve(server, "pets", files_below(photos))
    server.listings = False
    server.files["pets/"] = b"<html>Welcome</html>"
    with pytest.raises(DataError, match=r"shows no listing of its files, .* in a table with their URLs"):
        open_dataset(f"{url}/pets")


# Tables -------------------------------------------------------------------------------------------------------


def _table(photos: Path, root: str = "") -> bytes:
    names = [name for name in files_below(photos) if name.endswith(".png")]
    return "".join(["path,label\n", *(f"{root}{name},{name.split('/')[1]}\n" for name in names)]).encode()


def test_a_table_elsewhere_names_images_relative_to_itself(photos, bucket):
    (photos / "photos.csv").write_bytes(_table(photos))
    put(f"{bucket}/pets", files_below(photos))
    local, remote = open_dataset(f"csv:{photos}/photos.csv"), open_dataset(f"csv:{bucket}/pets/photos.csv")
    assert rows(remote) == rows(local)
    assert remote.spec == "csv:memory://bucket/pets/photos.csv"


def test_a_table_whose_name_no_file_of_this_disk_can_have(photos, bucket):
    name = f"{'a' * 300}.csv"
    put(f"{bucket}/pets", files_below(photos) | {name: _table(photos)})
    (photos / "photos.csv").write_bytes(_table(photos))
    assert rows(open_dataset(f"csv:{bucket}/pets/{name}")) == rows(open_dataset(f"csv:{photos}/photos.csv"))


def test_a_root_and_names_of_classes_are_relative_to_the_table(photos, bucket):
    put(f"{bucket}/pets", files_below(photos))
    put(f"{bucket}/pets", {"a.csv": b"path,label\ncat/1.png,0\ndog/1.png,1\n", "n.txt": b"cat\ndog\n"})
    data = open_dataset(f"csv:{bucket}/pets/a.csv?root=train&names=n.txt")
    assert data.classes == ("cat", "dog")
    assert data.records[1].read() == (photos / "train/dog/1.png").read_bytes()


def test_rows_that_are_urls(tmp_path, photos, web):
    server, url = web
    serve(server, "pets", files_below(photos))
    (tmp_path / "urls.csv").write_bytes(_table(photos, f"{url}/pets/"))
    data = open_dataset(f"csv:{tmp_path}/urls.csv")
    contents = files_below(photos)
    assert {record.id: record.read() for record in data.records} == {
        f"{url}/pets/{name}": contents[name] for name in contents
    }
    assert all(record.state for record in data.records)


def test_copies_on_this_disk_are_read_by_the_option_map(tmp_path, photos):
    (tmp_path / "urls.csv").write_bytes(_table(photos, "memory://nothing/there/"))
    data = open_dataset(f"csv:{tmp_path}/urls.csv?map=memory://nothing/there:pets")
    assert sorted(record.read() for record in data.records) == sorted(files_below(photos).values())


def test_secrets_in_urls_are_shown_nowhere(tmp_path, photos, web):
    server, url = web
    serve(server, "pets", files_below(photos))
    signed = f"{url.replace('//', '//me:hunter2@')}/pets/train/cat/1.png?X-Amz-Signature=hunter2&v=1"
    (tmp_path / "urls.csv").write_text(f"path,label\n{signed},cat\n{url}/pets/none.png?token=hunter2,dog\n")
    data = open_dataset(f"csv:{tmp_path}/urls.csv")
    assert [record.id for record in data.records] == [
        f"{url}/pets/train/cat/1.png?v=1",
        f"{url}/pets/none.png",
    ]
    assert data.records[0].read() == (photos / "train/cat/1.png").read_bytes()
    with pytest.raises(OSError, match="404") as caught:
        data.records[1].read()
    assert "hunter2" not in str(caught.value)
    with pytest.raises(MissingFileError) as caught:
        open_dataset(f"csv:{url}/none.csv?X-Amz-Signature=hunter2?")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("validators", [True, False])
def test_a_key_in_a_url_may_be_what_tells_one_object_from_another(
    tmp_path, photos, web, validators, monkeypatch
):
    # Servers may number their ETags, so that two objects have the same.
    monkeypatch.setattr("helpers.object_server._validators", lambda data: {"ETag": '"1"'})
    server, url = web
    server.validators = validators
    pictures = [path.read_bytes() for path in sorted(photos.rglob("*.png"))[:2]]
    server.files |= {"show?key=a": pictures[0], "show?key=b": pictures[1].ljust(len(pictures[0]), b"\0")}
    (tmp_path / "urls.csv").write_text(f"path,label\n{url}/show?key=a,cat\n{url}/show?key=b,dog\n")
    one, other = open_dataset(f"csv:{tmp_path}/urls.csv").records
    assert one.read() == server.files["show?key=a"]
    assert other.read() == server.files["show?key=b"]
    assert (one.state != other.state) == validators


@pytest.mark.parametrize("row", ["file:///etc/passwd", "/etc/passwd", "../other.png", "ftp://host/a.png"])
def test_a_table_from_elsewhere_names_no_file_of_this_machine(bucket, row):
    put(bucket, {"a.csv": f"path,label\n{row},cat\nb.png,dog\n".encode(), "b.png": b"b"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # not "they are read"
        data = open_dataset(f"csv:{bucket}/a.csv")
    with pytest.raises(ImageError, match="outside the dataset: "):
        data.records[0].read()
    assert data.records[1].read() == b"b"


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]"])
def test_addresses_at_which_clouds_tell_credentials_are_refused(tmp_path, host):
    (tmp_path / "a.csv").write_text(f"path,label\nhttp://{host}/latest/meta-data,cat\nhttp://{host}/b,dog\n")
    data = open_dataset(f"csv:{tmp_path}/a.csv")
    with pytest.raises(
        ImageError, match=r"outside the dataset: .* an address at which clouds tell credentials"
    ):
        data.records[0].read()


# Shards -------------------------------------------------------------------------------------------------------


def _shards(folder: Path, photos: Path) -> None:
    folder.mkdir()
    (folder / "classes.txt").write_text("cat\ndog\n")
    pictures = sorted(photos.rglob("*.png"))
    for number, part in enumerate((pictures[:4], pictures[4:])):
        members = {}
        for at, path in enumerate(part):
            members[f"{at}.png"] = path.read_bytes()
            members[f"{at}.cls"] = str(["cat", "dog"].index(path.parent.name)).encode()
        (folder / f"train-{number}.tar").write_bytes(shard_of(members))


@pytest.mark.parametrize("pattern", ["/train-{0..1}.tar", "", "/train-*.tar"])
def test_shards_in_a_store(tmp_path, photos, bucket, pattern):
    _shards(tmp_path / "shards", photos)
    put(f"{bucket}/shards", files_below(tmp_path / "shards"))
    local = open_dataset(f"tar:{tmp_path}/shards{pattern}")
    remote = open_dataset(f"tar:{bucket}/shards{pattern}")
    assert rows(remote) == rows(local)
    assert (remote.classes, remote.name) == (local.classes, local.name)


def test_shards_of_many_blocks_are_never_whole_in_memory(tmp_path, photos, web, monkeypatch):
    from featcache.datasets.remote import shards

    monkeypatch.setattr(shards, "BLOCK", 1000)
    _shards(tmp_path / "shards", photos)
    server, url = web
    serve(server, "shards", files_below(tmp_path / "shards"))
    local = open_dataset(f"tar:{tmp_path}/shards/train-{{0..1}}.tar")
    remote = open_dataset(f"tar:{url}/shards/train-{{0..1}}.tar")
    assert rows(remote) == rows(local)
    pieces = remote.records[0].read.pieces
    assert max(piece.size for piece in pieces.pieces) == 1000
    assert len(pieces._read) <= 12


def test_a_shard_replaced_after_it_was_indexed_gives_no_other_images(tmp_path, photos, web):
    _shards(tmp_path / "shards", photos)
    server, url = web
    serve(server, "shards", files_below(tmp_path / "shards"))
    remote = open_dataset(f"tar:{url}/shards/train-0.tar")
    shutil.rmtree(tmp_path / "home")
    remote.records[0].read.pieces._read.clear()
    content = server.files["shards/train-0.tar"]
    server.files["shards/train-0.tar"] = content[512:] + content[:512]
    with pytest.raises(OSError, match="changed after it was indexed"):
        remote.records[0].read()


def test_what_servers_cannot_do_for_shards_is_said(tmp_path, photos, web):
    _shards(tmp_path / "shards", photos)
    server, url = web
    serve(server, "shards", files_below(tmp_path / "shards"))
    with pytest.raises(UsageError, match="web servers are not searched for shards; name each"):
        open_dataset(f"tar:{url}/shards")
    server.validators = False
    with pytest.raises(DataError, match="does not say by an ETag or a Last-Modified whether it was changed"):
        open_dataset(f"tar:{url}/shards/train-0.tar")
    with pytest.raises(MissingFileError, match=r"no shard http://127.*/shards/train-9\.tar"):
        open_dataset(f"tar:{url}/shards/train-9.tar")


def test_records_go_to_other_processes(photos, bucket):
    put(f"{bucket}/pets", files_below(photos))
    records = open_dataset(f"{bucket}/pets").records
    again = pickle.loads(pickle.dumps(records))
    assert [record.read() for record in again] == [record.read() for record in records]
