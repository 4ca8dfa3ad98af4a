"""The lock file of weights: readable, whole at every moment, never overwritten by mistake."""

import json
import math
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from filelock import FileLock

from featcache.backbones.weights import lock_file as weights_lock
from featcache.backbones.weights.lock_file import LockRecord, lock_file, read_record, remember
from featcache.core.environment import weights_folder
from featcache.errors import StorageError, WeightsError

EXPECTED = "an object with an entry for each file name"
VGG = LockRecord("https://here/vgg16.h5", "ab" * 32, 58_889_256, "2026-03-01", "md5 of Keras")
VIT = LockRecord("https://here/model.safetensors", "cd" * 32, 88, "2026-11-22", "nothing published")


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))


def entry(record: LockRecord = VGG, **changes: object) -> dict[str, object]:
    return {**vars(record), **changes}


def write_lock(text: str) -> None:
    weights_folder().mkdir(parents=True, exist_ok=True)
    lock_file().write_text(text)


def test_nothing_is_recorded_and_nothing_made_at_first():
    assert read_record("vgg16.h5") is None
    assert not weights_folder().exists()


def test_the_file_is_sorted_and_readable():
    assert remember("vit.safetensors", VIT) is VIT
    assert remember("vgg16.h5", VGG) is VGG
    assert lock_file().read_text() == (
        "{\n"
        '  "vgg16.h5": {\n'
        '    "date": "2026-03-01",\n'
        f'    "sha256": "{"ab" * 32}",\n'
        '    "size": 58889256,\n'
        '    "url": "https://here/vgg16.h5",\n'
        '    "verified": "md5 of Keras"\n'
        "  },\n"
        '  "vit.safetensors": {\n'
        '    "date": "2026-11-22",\n'
        f'    "sha256": "{"cd" * 32}",\n'
        '    "size": 88,\n'
        '    "url": "https://here/model.safetensors",\n'
        '    "verified": "nothing published"\n'
        "  }\n"
        "}\n"
    )
    assert (read_record("vgg16.h5"), read_record("vit.safetensors")) == (VGG, VIT)


def test_the_first_record_stays():
    remember("vgg16.h5", VGG)
    before = lock_file().read_bytes()
    assert remember("vgg16.h5", VIT) == VGG
    assert lock_file().read_bytes() == before


def test_what_a_person_added_is_kept():
    write_lock(json.dumps({"vgg16.h5": entry(comment="checked by hand – Ö.")}))
    assert read_record("vgg16.h5") == VGG
    remember("vit.safetensors", VIT)
    assert "checked by hand – Ö." in lock_file().read_text("utf-8")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", f"not {EXPECTED}: Expecting value: line 1 column 1"),
        ('{"vgg16.h5": ', f"not {EXPECTED}: Expecting value: line 1 column 14"),
        # What is left where the last entry was removed by hand.
        ('{\n  "a": {},\n}', f"not {EXPECTED}: .*line [23]"),
        ("[]", f"not {EXPECTED}: it is a list of 0, expected an object"),
        ('{"vgg16.h5": "abab"}', r"vgg16\.h5 is 'abab', expected an object"),
        (
            json.dumps({"vgg16.h5": entry(sha256="ab" * 31)}),
            r"vgg16\.h5\.sha256 is 'abab.*…', expected 64 hexadecimal digits",
        ),
        (json.dumps({"vgg16.h5": entry(sha256=None)}), r"vgg16\.h5\.sha256 is null, expected 64"),
        (
            json.dumps({"vgg16.h5": entry(size="much")}),
            r"vgg16\.h5\.size is 'much', expected a whole number of at least 0",
        ),
        ("[" * 10_000, "nested more than 32 levels deep"),
        (json.dumps({"vgg16.h5": entry(size=math.nan)}), "NaN is no number in JSON"),
        ('{"a": {}, "a": {}}', "the key 'a' stands twice"),
        (
            json.dumps({"ok": entry(), "b": {k: v for k, v in entry().items() if k != "date"}}),
            r"b\.date is missing, expected a text",
        ),
    ],
)
def test_damaged_lock_file_is_named_and_never_overwritten(text, reason):
    write_lock(text)
    advice = "it holds the sha256 of weights for which none is published: repair it or restore it from a copy; if you"
    message = rf"{lock_file()} is damaged: .*{reason}.*; {advice}"
    with pytest.raises(WeightsError, match=message):
        read_record("ok")
    with pytest.raises(WeightsError, match=message):
        remember("resnet50.h5", VGG)
    assert lock_file().read_text() == text


def test_entries_of_names_that_are_no_utf_8_stay():
    write_lock(json.dumps({"caf\udce9.h5": entry(verified="\ud800")}))
    remember("vit.safetensors", VIT)
    assert read_record("caf\udce9.h5").verified == "\ud800"
    assert read_record("vit.safetensors") == VIT


def test_bytes_that_are_no_text():
    weights_folder().mkdir(parents=True)
    lock_file().write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(WeightsError, match=r"is damaged: not .*: 'utf-8' codec can't decode byte 0xff"):
        read_record("a")


def test_lock_file_that_cannot_be_read():
    """A folder in its place: permissions would not stop root."""
    lock_file().mkdir(parents=True)
    with pytest.raises(
        WeightsError, match=r"weights\.lock\.json is no regular file but a folder; move it away"
    ):
        read_record("vgg16.h5")


def test_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "file"))
    text = (
        rf"cannot record the sha256 of vgg16\.h5 in {lock_file()}: Not a directory \[errno 20, ENOTDIR\]; something "
        "else has that name: move it away, or set FEATCACHE_HOME to another folder, or pass --weights PATH"
    )
    with pytest.raises(StorageError, match=text):
        remember("vgg16.h5", VGG)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let every write beyond `size` bytes of a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_write_that_fails_leaves_the_older_file_whole():
    remember("vgg16.h5", VGG)
    before = lock_file().read_bytes()
    with (
        files_of_at_most(len(before) + 10),
        pytest.raises(
            StorageError, match=r"cannot record the sha256 of vit\.safetensors in .*File too large"
        ),
    ):
        remember("vit.safetensors", VIT)
    assert lock_file().read_bytes() == before
    assert sorted(path.name for path in weights_folder().iterdir() if "new" in path.name) == []
    assert remember("vit.safetensors", VIT) is VIT


def test_lock_that_stays_held(monkeypatch):
    remember("vgg16.h5", VGG)
    monkeypatch.setattr(weights_lock, "WAIT_S", 0.01)
    with (
        FileLock(weights_folder() / ".weights.lock.json.lock"),
        pytest.raises(WeightsError, match=r"has been in use by another process for 0\.01 s; run again when"),
    ):
        remember("vit.safetensors", VIT)


WRITER = """
import sys
from featcache.backbones.weights.lock_file import LockRecord, remember
number = int(sys.argv[1])
record = LockRecord("https://here", f"{number:064x}", number, "2026-11-22", "nothing published")
sys.stdin.readline()  # so that all begin at the same time
for file in range(20):
    assert remember(f"{number}-{file}", record) is record
print(remember("contested", record).sha256)
"""


def test_concurrent_writers_lose_nothing_and_agree():
    """Four processes record 20 files each, and one file that all of them have seen first."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate()[0].strip() for process in started]
    assert [process.returncode for process in started] == [0] * 4
    entries = json.loads(lock_file().read_text())
    expected = {f"{number}-{file}": number for number in range(4) for file in range(20)}
    assert {name: entries[name]["size"] for name in entries if name != "contested"} == expected
    assert set(said) == {entries["contested"]["sha256"]}


def test_threads_of_one_process_wait_for_each_other():
    from concurrent.futures import ThreadPoolExecutor

    records = [replace(VGG, size=number) for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda record: remember(f"file-{record.size}", record), records))
    assert [read_record(f"file-{number}") for number in range(40)] == records
