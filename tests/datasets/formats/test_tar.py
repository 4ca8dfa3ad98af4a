"""Tar shards are read in place: the same bytes as from a folder, and a documented outcome for every odd archive."""

import errno
import gzip
import io
import json
import os
import re
import tarfile
from pathlib import Path

import pytest
from helpers.refusing_disk import refuse_reads
from hypothesis import given
from hypothesis import strategies as st

from featcache.datasets import open_dataset
from featcache.datasets.dataset import UNSPLIT
from featcache.datasets.formats import tar
from featcache.datasets.formats.shard_names import expand_braces
from featcache.datasets.formats.tar import open_tar
from featcache.errors import DataError, FeatcacheWarning, MissingFileError, UsageError

BLOCK = tarfile.BLOCKSIZE


def shard(path: Path, members: dict[str, bytes | str | tarfile.TarInfo], **how) -> Path:
    """Write members in order; a `tarfile.TarInfo` is written as it is, without content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **how) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                add(archive, name, content)
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes | str) -> None:
    data = content.encode() if isinstance(content, str) else content
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


PETS = {"0.jpg": b"first", "0.cls": "0", "1.jpg": b"second", "1.cls": "1"}


def members_of(path: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(path) as archive:
        return archive.getmembers()


def rows(dataset) -> list[tuple[str, str, str, bytes]]:
    return [(r.id, r.split, dataset.classes[r.label], r.read()) for r in dataset.records]


def of_type(kind: bytes, name: str = "2.jpg") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


# What is read -------------------------------------------------------------------------------------------------


def test_samples_are_grouped_by_key_and_read_from_their_offsets(tmp_path):
    shard(tmp_path / "pets/s-000.tar", PETS)
    # Any order, keys with folders, upper case, a leading ./, names longer than a header holds.
    long = "x" * 150
    members = {"./a/2.cls": "dog\n", f"a/{long}.PNG": b"long", "a/2.webp": b"third", f"a/{long}.cls": "cat"}
    shard(tmp_path / "pets/s-001.tar", members)
    found = open_tar(str(tmp_path / "pets/s-{000..001}.tar"))
    assert rows(found) == [
        ("s-000.tar/0.jpg", UNSPLIT, "0", b"first"),
        ("s-000.tar/1.jpg", UNSPLIT, "1", b"second"),
        ("s-001.tar/a/2.webp", UNSPLIT, "dog", b"third"),
        (f"s-001.tar/a/{long}.PNG", UNSPLIT, "cat", b"long"),
    ]
    assert (found.name, found.classes, found.skipped) == ("pets", ("0", "1", "cat", "dog"), {})


@pytest.mark.parametrize("how", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_flavour_of_tar(tmp_path, how):
    name = f"{'ä' * 40}/{'ü' * 40}"  # 161 bytes: a prefix, a long-name header, or an extended header
    path = shard(tmp_path / "s.tar", PETS | {f"{name}.png": b"third", f"{name}.cls": "1"}, format=how)
    assert [r.read() for r in open_tar(str(path)).records] == [b"first", b"second", b"third"]


def header(name: str, size: int, how: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.uname = size, 1_700_000_000, "somebody"
    return info.tobuf(how, "utf-8", "surrogateescape")[-BLOCK:]


# Not mode, owner, group, time and device numbers: tarfile refuses a header for these, a scan does not look at them.
READ = [
    place for place in range(BLOCK) if not (100 <= place < 124 or 136 <= place < 148 or 329 <= place < 345)
]


def understood(kind: type[tarfile.TarInfo], block: bytes) -> tuple | str:
    """Everything of a header that a scan looks at, or the name of tarfile's error."""
    try:
        member = kind.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        return type(error).__name__
    return member.name, member.size, member.type, member.isreg(), member.isdir(), member.issparse()


@given(
    st.text("ab./é", min_size=1, max_size=120),
    st.integers(0, 2**34),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT]),
    st.lists(st.tuples(st.sampled_from(READ), st.integers(0, 255)), max_size=2),
    st.booleans(),
)
def test_headers_are_understood_as_tarfile_understands_them(name, size, how, changes, repaired):
    try:
        block = bytearray(header(name, size, how))
    except ValueError:  # ustar holds no such name or size
        return
    for place, value in changes:
        block[place] = value
    if repaired:  # the checksum: so that changed fields are believed
        block[148:156] = b"        "
        block[148:156] = b"%06o\0 " % sum(block)
    assert understood(tar._Member, bytes(block)) == understood(tarfile.TarInfo, bytes(block))


def test_a_name_that_is_no_utf8_is_kept_as_a_file_s_would_be(tmp_path):
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    path = shard(
        tmp_path / "s.tar", PETS | {f"{name}.png": b"third", f"{name}.cls": "1"}, format=tarfile.GNU_FORMAT
    )
    found = open_tar(str(path)).records[2]
    assert (os.fsencode(found.id), found.read()) == (b"s.tar/caf\xe9.png", b"third")


def test_json_gives_label_and_split_and_cls_is_the_label_where_both_are(tmp_path):
    members = {
        "0.png": b"a",
        "0.json": json.dumps({"label": "cat", "split": "validation"}),
        "1.png": b"b",
        "1.json": json.dumps({"label": "cat", "split": "test", "more": [1]}),
        "1.cls": "dog",
        "2.png": b"c",
        "2.json": json.dumps({"label": 7}),
    }
    found = open_tar(str(shard(tmp_path / "train-0.tar", members)))
    assert [row[1:3] for row in rows(found)] == [("val", "cat"), ("test", "dog"), ("train", "7")]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-0.tar", "train"),
        ("val-0.tar", "val"),
        ("Validation_0.tar", "val"),
        ("test.tar", "test"),
        ("trains-0.tar", UNSPLIT),
        ("shard-train-0.tar", UNSPLIT),
        ("0.tar", UNSPLIT),
    ],
)
def test_a_shard_s_name_begins_with_its_split(tmp_path, name, split):
    assert open_tar(str(shard(tmp_path / name, PETS))).splits == (split,)


def test_classes_txt_names_the_numbers(tmp_path):
    path = shard(tmp_path / "s.tar", PETS)
    (tmp_path / "classes.txt").write_text("owl\ncat\ndog\n")
    found = open_tar(str(path))
    assert ([row[2] for row in rows(found)], found.classes) == (["owl", "cat"], ("owl", "cat", "dog"))


def test_class_names_come_from_no_file_elsewhere(tmp_path):
    (tmp_path / "secret").write_text("owl\ncat\ndog\n")
    (tmp_path / "data").mkdir()
    path = shard(tmp_path / "data/s.tar", PETS)
    (tmp_path / "data/classes.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(
        DataError, match=r"classes\.txt is a link that leads out of its folder; put a copy"
    ) as told:
        open_tar(str(path))
    assert "owl" not in str(told.value)


@pytest.mark.parametrize("size", [2**40, 2**60, 2**63 - 512, 2**70])
def test_members_of_impossible_sizes(tmp_path, size):
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        member = tarfile.TarInfo("1.jpg")
        member.size = size if kind == tarfile.GNU_FORMAT else 0
        member.pax_headers = {"size": str(size)}
        (tmp_path / "s.tar").write_bytes(member.tobuf(format=kind) + bytes(1024))
        with pytest.raises(DataError, match=r"s\.tar is truncated or damaged: "):
            open_tar(str(tmp_path / "s.tar"))


def test_numbers_without_names_are_classes_in_the_order_of_numbers(tmp_path):
    members = {f"{n}.jpg": b"x" for n in (10, 9)} | {f"{n}.cls": str(n) for n in (10, 9)}
    assert open_tar(str(shard(tmp_path / "s.tar", members))).classes == ("9", "10")


def test_the_same_files_through_a_folder_have_the_same_bytes(tmp_path):
    from helpers.photo_folders import photo_folder

    from featcache.datasets import open_dataset

    folder = photo_folder(tmp_path / "photos", {"cat": 2, "dog": 2})
    members = {}
    for path in sorted(folder.rglob("*.png")):
        members[f"{path.parent.name}{path.name}"] = path.read_bytes()
        members[f"{path.parent.name}{path.stem}.cls"] = path.parent.name
    found, expected = open_tar(str(shard(tmp_path / "s.tar", members))), open_dataset(str(folder))
    assert found.classes == expected.classes
    assert [(r.label, r.read()) for r in found.records] == [(r.label, r.read()) for r in expected.records]


def test_an_extraction_from_shards_takes_the_rows_of_the_folder_s(trained, network, tmp_path):
    from featcache import FeatureCache, extract

    photos = sorted(trained.photos.rglob("*.png"))
    names = ["-".join(path.relative_to(trained.photos).parts) for path in photos]
    members = {name: path.read_bytes() for name, path in zip(names, photos, strict=True)}
    members |= {f"{name[:-4]}.cls": name.split("-")[1] for name in names}
    path = shard(tmp_path / "s.tar", members)
    found = extract(f"tar:{path}", backbone=network, output=tmp_path / "s.h5", reuse=[trained.cache])
    assert (found.computed, found.reused) == (0, len(photos))
    folder, shards = FeatureCache(trained.cache), FeatureCache(found.path)
    assert sorted(map(bytes, folder.sha256)) == sorted(map(bytes, shards.sha256))


def test_sizes_and_times_are_hints_that_change_with_the_shard(tmp_path):
    path = shard(tmp_path / "s.tar", PETS)
    before = open_tar(str(path)).records[0]
    assert (before.size, before.mtime_ns) == (5, path.stat().st_mtime_ns)
    os.utime(path, ns=(1, 1))
    assert open_tar(str(path)).records[0].mtime_ns == 1


# Which shards ---------------------------------------------------------------------------------------------------


def test_braces_wildcards_and_folders_name_the_same_shards_in_order(tmp_path):
    for number in range(9, 12):
        shard(tmp_path / f"s-{number}.tar", PETS)
    ways = ["s-{9..11}.tar", "s-{9,10,11}.tar", "s-*.tar", "."]
    found = [[r.id for r in open_tar(str(tmp_path / way)).records] for way in ways]
    assert found[0][::2] == ["s-9.tar/0.jpg", "s-10.tar/0.jpg", "s-11.tar/0.jpg"]
    assert all(ids == found[0] for ids in found)


def test_shards_of_several_folders_keep_different_names(tmp_path):
    for part in "ab":
        shard(tmp_path / part / "0.tar", PETS)
    ids = [r.id for r in open_tar(str(tmp_path / "{a,b}/0.tar")).records]
    assert ids == ["a/0.tar/0.jpg", "a/0.tar/1.jpg", "b/0.tar/0.jpg", "b/0.tar/1.jpg"]


@given(st.integers(0, 10**6), st.integers(0, 30), st.integers(1, 9))
def test_ranges_count_up_and_keep_their_zeros(first, more, width):
    padded = str(first).zfill(width)
    found = list(expand_braces(f"a-{{{padded}..{first + more}}}.tar"))
    assert found == [f"a-{number:0{len(padded)}d}.tar" for number in range(first, first + more + 1)]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("{0..{1,2}}.tar", "nested or not closed"),
        ("s-{0..9.tar", "nested or not closed"),
        ("{9..0}.tar", r"\{9\.\.0\} is neither a rising range nor a list"),
        ("{a..z}.tar", "neither a rising range nor a list"),
        ("{0..999999999999}.tar", "more than 100000 shards"),
        ("{0..99999}{0..99999}.tar", "more than 100000 shards"),
    ],
)
def test_braces_that_cannot_be_expanded_are_refused(pattern, text):
    with pytest.raises(UsageError, match=text):
        open_tar(pattern)


def test_missing_shards_are_counted_and_one_is_named(tmp_path):
    shard(tmp_path / "s-0.tar", PETS)
    with pytest.raises(MissingFileError, match=r"no shard .*s-1\.tar \(2 of 3 missing\); expected tar:"):
        open_tar(str(tmp_path / "s-{0..2}.tar"))
    with pytest.raises(MissingFileError, match="no shard matches"):
        open_tar(str(tmp_path / "x-*.tar"))


# Left out and counted -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"/etc/2.jpg": b"x"}, "tar member with an absolute name or .. in it"),
        ({"a/../../2.jpg": b"x"}, "tar member with an absolute name or .. in it"),
        ({"2.jpg": of_type(tarfile.SYMTYPE)}, "tar member that is a link, device or FIFO"),
        ({"2.jpg": of_type(tarfile.LNKTYPE)}, "tar member that is a link, device or FIFO"),
        ({"2.jpg": of_type(tarfile.CHRTYPE)}, "tar member that is a link, device or FIFO"),
        ({"2.jpg": of_type(tarfile.FIFOTYPE)}, "tar member that is a link, device or FIFO"),
        ({"2.txt": b"x"}, "tar member that is neither image nor label (.txt)"),
        ({"2.seg.png": b"x"}, "tar member that is neither image nor label (.seg.png)"),
        ({"2.cls": b"1" * (tar.MAX_LABEL + 1)}, "tar member too large to be what its name says"),
        ({"2.jpg": b"x"}, "sample without a label"),
        ({"2.jpg": b"x", "2.cls": " "}, "sample without a label"),
        ({"2.jpg": b"x", "2.cls": "-1"}, "sample without a label"),
        ({"2.jpg": b"x", "2.json": '{"split": "train"}'}, "sample without a label"),
        ({"2.cls": "1"}, "sample without an image"),
        ({"2.jpg": b"x", "2.png": b"y", "2.cls": "1"}, "sample with several images"),
        ({"2.jpg": b"x", "2.cls": b"\xff"}, "sample whose .cls cannot be read"),
        ({"2.jpg": b"x", "2.json": '{"label":'}, "sample whose .json cannot be read"),
        ({"2.jpg": b"x", "2.json": "[" * 200_000}, "sample whose .json cannot be read"),
        ({"2.jpg": b"x", "2.json": '{"label": 0.5}'}, "sample whose .json cannot be read"),
        ({"2.jpg": b"x", "2.json": '{"label": true}'}, "sample whose .json cannot be read"),
        ({"2.jpg": b"x", "2.json": '{"label": 1, "split": 3}'}, "sample whose .json cannot be read"),
    ],
)
def test_what_is_no_labelled_image_is_left_out_and_counted(tmp_path, members, why):
    found = open_tar(str(shard(tmp_path / "s.tar", PETS | members)))
    assert [r.id for r in found.records] == ["s.tar/0.jpg", "s.tar/1.jpg"]
    # A label that is too large leaves its sample without one; no other case counts twice.
    assert found.skipped[why] == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "s.tar"]  # nothing was written


def test_an_image_that_says_it_is_larger_than_any_is_left_out(tmp_path):
    path = tmp_path / "s.tar"
    shard(path, PETS)
    end = members_of(path)[-1].offset_data + BLOCK
    huge = tarfile.TarInfo("2.jpg")
    huge.size = tar.MAX_FILE_BYTES + 1
    with path.open("r+b") as stream:  # a hole: it takes no room on the disk
        stream.seek(end)
        stream.write(huge.tobuf())
        stream.truncate(end + BLOCK + tar.MAX_FILE_BYTES + BLOCK + 2 * BLOCK)
    found = open_tar(str(path))
    assert (len(found.records), found.skipped) == (2, {"tar member too large to be what its name says": 1})


def test_a_sparse_member_is_left_out(tmp_path):
    path = tmp_path / "s.tar"
    sparse = tarfile.TarInfo("2.jpg")
    sparse.pax_headers = {
        "GNU.sparse.map": "0,1,9,1",
        "GNU.sparse.size": "20",
    }  # format 0.1, map in the header
    shard(path, PETS | {"2.jpg": sparse}, format=tarfile.PAX_FORMAT)
    found = open_tar(str(path))
    assert (len(found.records), found.skipped) == (2, {"sparse tar member": 1})


# Refused --------------------------------------------------------------------------------------------------------------


def test_a_name_that_stands_twice_is_refused(tmp_path):
    path = shard(tmp_path / "s.tar", PETS)
    with tarfile.open(path, "a") as archive:
        add(archive, "0.jpg", b"another")
    with pytest.raises(DataError, match=r"s\.tar holds 0\.jpg twice.*keys of its own"):
        open_tar(str(path))


def cuts(path: Path) -> dict[str, int]:
    last = members_of(path)[-1]
    return {
        "within the data of a member": last.offset_data,
        "within a header": last.offset + 100,
        "between two members": last.offset,
        "before the end marker": last.offset_data + BLOCK,
        "at the first header": 100,
        "at nothing": 0,
    }


@pytest.mark.parametrize(
    "where",
    [
        "within the data of a member",
        "within a header",
        "between two members",
        "before the end marker",
        "at the first header",
        "at nothing",
    ],
)
def test_a_shard_cut_anywhere_is_refused(tmp_path, where):
    path = shard(tmp_path / "s.tar", PETS)
    os.truncate(path, cuts(path)[where])
    with pytest.raises(DataError, match=r"s\.tar is truncated or damaged: .*Fetch or write this shard again"):
        open_tar(str(path))


def test_a_damaged_header_does_not_end_a_shard_silently(tmp_path):
    path = shard(tmp_path / "s.tar", PETS)
    third = members_of(path)[2].offset
    content = bytearray(path.read_bytes())
    content[third + 150] ^= 0xFF  # in the checksum
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"the header at byte {third} makes no sense"):
        open_tar(str(path))


def test_joined_archives_are_refused_instead_of_read_by_half(tmp_path):
    path = shard(tmp_path / "s.tar", PETS)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DataError, match="more after the end marker"):
        open_tar(str(path))


def hostile_header(size: int = 0, kind: bytes = b"0") -> bytes:
    """A header with a good checksum, and a size that tarfile itself would not write."""
    info = tarfile.TarInfo("2.jpg")
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    marked = size % 256**12 if size < 0 else 0x80 << 88 | size  # binary, where octal digits do not suffice
    block[124:136] = b"%011o\0" % size if 0 <= size < 8**11 else marked.to_bytes(12, "big")
    block[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(block))[0]
    return bytes(block)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (hostile_header(-2 * BLOCK), "negative size"),  # back to itself, for ever
        (hostile_header(-2 * BLOCK, b"x"), "header"),
        (hostile_header(2**33 - 1, b"x"), "a header of 8589934592 bytes"),
        (hostile_header(2**33 - 1, b"L"), "a header of 8589934592 bytes"),
        (hostile_header(2**33 - 1), "unexpected end of data"),
        (hostile_header(2**60), "unexpected end of data, a member reaches byte 11529215046"),
        (hostile_header(2**80), "unexpected end of data, a member reaches byte 12089258196146"),
        (b"".join([hostile_header(1, b"L") + b"a".ljust(BLOCK, b"\0")] * 5000), "recursion"),
    ],
    ids=[
        "negative size",
        "negative extension",
        "huge pax",
        "huge long name",
        "huge member",
        "member of 2^60 bytes",
        "member of 2^80 bytes",
        "endless long names",
    ],
)
def test_headers_that_lie_are_refused_at_once(tmp_path, header, why):
    path = shard(tmp_path / "s.tar", PETS)
    end = members_of(path)[-1].offset_data + BLOCK
    path.write_bytes(path.read_bytes()[:end] + header + bytes(20 * BLOCK))
    with pytest.raises(DataError, match=rf"s\.tar is truncated or damaged: .*{why}"):
        open_tar(str(path))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (gzip.compress(b"x", mtime=0), "gzip"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\xfd7zXZ\0\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "Zstandard"),
    ],
)
def test_compressed_shards_are_refused_with_what_to_do(tmp_path, content, kind):
    (tmp_path / "s.tar").write_bytes(content)
    with pytest.raises(DataError, match=rf"compressed \({kind}\).*Unpack the layer once \("):
        open_tar(str(tmp_path / "s.tar"))


def test_what_is_no_archive_is_refused_without_blocking(tmp_path):
    os.mkfifo(tmp_path / "fifo.tar")
    with pytest.raises(DataError, match="is a FIFO; expected a shard"):
        open_tar(str(tmp_path / "fifo.tar"))
    (tmp_path / "text.tar").write_text("no archive at all" * 100)
    with pytest.raises(DataError, match="truncated or damaged"):
        open_tar(str(tmp_path / "text.tar"))


def test_classes_that_people_take_for_one_are_named(tmp_path):
    path = shard(tmp_path / "a.tar", {"0.jpg": b"x", "0.cls": "Cat", "1.jpg": b"y", "1.cls": "cat"})
    with pytest.warns(FeatcacheWarning) as warned:
        assert open_dataset(f"tar:{path}").classes == ("Cat", "cat")
    (told,) = (str(one.message) for one in warned)
    assert re.fullmatch(
        rf"tar:{re.escape(str(path))}: classes '[Cc]at' and '[Cc]at' differ only in case, blanks or the form of their "
        "letters; if they are one, write it the same way everywhere",
        told,
    )


def test_nothing_labelled_and_one_class_are_refused_with_the_counts(tmp_path):
    with pytest.raises(
        DataError, match=r"no labelled images; expected members such as .*1 sample without a label"
    ):
        open_tar(str(shard(tmp_path / "a.tar", {"0.jpg": b"x"})))
    with pytest.raises(DataError, match=r"holds one class \(1\)"):
        open_tar(str(shard(tmp_path / "b.tar", {"0.jpg": b"x", "0.cls": "1"})))


@pytest.mark.parametrize(
    ("names", "label", "text"),
    [
        ("cat\ndog\n", "2", r"2\.jpg: label 2, but classes\.txt names 2 classes, 0 to 1"),
        ("cat\ndog\n", "dgo", r"label 'dgo' is not in classes\.txt; did you mean 'dog'"),
        ("cat\ncat\n", "0", "name twice"),
        ("cat\n\ndog\n", "0", "an empty line"),
    ],
)
def test_labels_must_be_among_the_listed_classes(tmp_path, names, label, text):
    path = shard(tmp_path / "s.tar", PETS | {"2.jpg": b"x", "2.cls": label})
    (tmp_path / "classes.txt").write_text(names)
    with pytest.raises(DataError, match=text):
        open_tar(str(path))


def test_a_shard_replaced_after_it_was_indexed_gives_no_other_images(tmp_path):
    """The new one's members are at other places: an image would get another one's label."""
    path = shard(tmp_path / "s.tar", PETS)
    record = open_tar(str(path)).records[1]
    content = path.read_bytes()
    (tmp_path / "other").write_bytes(content[512:] + content[:512])
    os.utime(tmp_path / "other", ns=(0, 0))
    os.replace(tmp_path / "other", path)
    with pytest.raises(OSError, match=r"s\.tar was changed after it was indexed"):
        record.read()


def test_a_shard_written_to_while_its_headers_are_read_is_refused(tmp_path, monkeypatch):
    path, own = shard(tmp_path / "s.tar", PETS), tar._members

    def written_to(*arguments):
        yield from own(*arguments)
        os.utime(path, ns=(0, 0))

    monkeypatch.setattr(tar, "_members", written_to)
    with pytest.raises(
        DataError, match=r"s\.tar was changed while its headers were read; run the command again"
    ):
        open_tar(str(path))


def test_a_shard_cut_after_it_was_indexed_is_unreadable_and_not_short(tmp_path):
    path = shard(tmp_path / "s.tar", PETS)
    record = open_tar(str(path)).records[1]
    os.truncate(path, 2 * BLOCK)
    with pytest.raises(OSError, match="cut after it was indexed"):
        record.read()


def test_a_shard_of_the_same_size_and_time_in_its_place_is_another(tmp_path):
    path, other = shard(tmp_path / "s.tar", PETS), shard(tmp_path / "t.tar", PETS)
    for file in (path, other):
        os.utime(file, ns=(10**18, 10**18))
    records = open_tar(str(path)).records
    assert path.read_bytes() == other.read_bytes()
    os.replace(other, path)
    for record in records:
        with pytest.raises(OSError, match=r"s\.tar was changed after it was indexed"):
            record.read()


def test_labels_of_thousands_of_digits_are_names(tmp_path):
    """Python turns no text of more than 4300 digits into a number."""
    long = "7" * 5000
    members = {"1.jpg": b"x", "1.cls": long, "2.jpg": b"x", "2.cls": "12", "3.jpg": b"x", "3.cls": "2"}
    members |= {
        "4.jpg": b"x",
        "4.json": f'{{"label": {long}}}',
        "5.jpg": b"x",
        "5.json": f'{{"label": "{long}0"}}',
    }
    found = open_tar(str(shard(tmp_path / "s.tar", members)))
    assert found.classes == ("2", "12", long, f"{long}0")
    assert found.skipped == {"sample whose .json cannot be read": 1}


def test_a_shard_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    path = shard(tmp_path / "s.tar", PETS)
    refuse_reads(monkeypatch, path, errno.EIO)
    with pytest.raises(
        DataError, match=r"cannot read .*s\.tar: Input/output error \[errno 5, EIO\]; the disk rep"
    ):
        open_tar(str(path))


# Splits by names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "splits", "words"),
    [
        (["pets-train-0.tar", "pets-val-0.tar"], ["train", "val"], "pets-train-0.tar as train; pets-val-0.tar as val"),
        (["Training/0.tar", "holdout/0.tar"], ["train", "test"], "holdout/0.tar as test; Training/0.tar as train"),
        (["pets_testset.tar", "pets_trainset.tar"], ["test", "train"], "pets_testset.tar as test; pets_trainset.tar as "
         "train"),
        (["pets-train-0.tar", "pets-train-1.tar"], [UNSPLIT] * 2, ""),
        (["pets-train-0.tar", "pets-extra-0.tar"], [UNSPLIT] * 2, ""),
        (["train-0.tar", "pets-val-0.tar"], ["train", UNSPLIT], ""),
    ],
)  # fmt: skip
def test_names_of_all_shards_tell_the_splits_where_there_are_several(tmp_path, recwarn, names, splits, words):
    for name in names:
        shard(tmp_path / name, PETS)
    found = open_tar(f"{tmp_path}/{{{','.join(names)}}}")
    assert [record.split for record in found.records[::2]] == splits
    said = [str(each.message).replace(str(tmp_path), "P") for each in recwarn]
    assert said == (
        [f"tar:P/{{{','.join(names)}}}: splits are taken from the names: {words}"] if words else []
    )


def test_folders_of_samples_tell_the_splits_where_there_are_several(tmp_path, recwarn):
    members = {
        f"{split}_set/{name}": content for split in ("train", "test") for name, content in PETS.items()
    }
    found = open_tar(str(shard(tmp_path / "pets.tar", members)))
    assert [record.split for record in found.records] == ["train", "train", "test", "test"]
    assert str(recwarn[0].message).endswith(
        "splits are taken from the names: test_set as test; train_set as train"
    )
    shard(tmp_path / "pets.tar", {f"test/{name}": content for name, content in PETS.items()})
    assert open_tar(str(tmp_path / "pets.tar")).splits == (UNSPLIT,)
