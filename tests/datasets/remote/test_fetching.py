"""What fails for a moment is asked for again, what is wrong never comes through, and nothing waits for ever."""

import os
import threading

import pytest
from helpers.object_server import Fault

from featcache.core.parallel import batched, ordered_map
from featcache.datasets.remote import fetching, pieces, web
from featcache.datasets.remote.fetching import Fetcher, Patience, Told
from featcache.datasets.remote.kept import Kept
from featcache.datasets.remote.pieces import Piece, Pieces
from featcache.errors import ImageError

DATA = bytes(range(256)) * 400


@pytest.fixture
def server(web):
    own, url = web
    own.files["a.jpg"] = DATA
    return own, f"{url}/a.jpg"


@pytest.mark.parametrize(
    ("fault", "wait"),
    [
        (Fault("status", 503, {"Retry-After": "7"}, times=2), 7),
        (Fault("status", 429, times=2), 0),
        (Fault("status", 500, times=2), 0),
        (Fault("reset", times=2), 0),
        (Fault("short", times=2), 0),
        (Fault("wrong", times=2), 0),
        (Fault("stall", times=2), 0),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else None,
)
def test_what_may_pass_is_asked_for_again(server, waits, fault, wait):
    own, url = server
    own.faults["a.jpg"] = fault
    fetcher = Fetcher(Patience(stall=0.2 if fault.kind == "stall" else 20))
    assert fetcher.fetch(url, Told(len(DATA))) == DATA
    # aiohttp asks again itself, once, where a connection that it had used before was closed.
    assert (own.count(), fetcher.retried) == (3, 1 if fault.kind == "reset" else 2)
    assert len(waits) == fetcher.retried
    assert min(waits) >= wait


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("short", r"ended before the length that it announces \(3 attempts\)"),
        ("wrong", r"102,393 bytes came where 102,400 were expected \(3 attempts\)"),
        ("reset", r"Server disconnected \(3 attempts\)"),
        ("stall", r"nothing came for too long \(3 attempts\)"),
    ],
)
def test_what_stays_wrong_is_an_error_with_the_reason(server, kind, said):
    own, url = server
    own.faults["a.jpg"] = Fault(kind)
    with pytest.raises(OSError, match=said):
        Fetcher(Patience(attempts=3, stall=0.2 if kind == "stall" else 20)).fetch(url, Told(len(DATA)))


@pytest.mark.parametrize(("status", "said"), [(404, "no such object"), (403, "403"), (401, "HTTP 401")])
def test_what_is_refused_is_not_asked_for_again(server, status, said):
    own, url = server
    own.faults["a.jpg"] = Fault("status", status)
    with pytest.raises(OSError, match=said):
        Fetcher().fetch(url)
    assert own.count() == 1


def test_an_endless_body_is_cut_off(server, monkeypatch):
    own, url = server
    monkeypatch.setattr(fetching, "MAX_FILE_BYTES", 10**6)
    own.faults["a.jpg"] = Fault("endless")
    with pytest.raises(OSError, match="more than 1,000,000 bytes, which was expected at most"):
        Fetcher().fetch(url)
    assert own.count() == 1


def test_a_server_that_drips_is_too_slow(server, monkeypatch):
    own, url = server
    own.faults["a.jpg"] = Fault("endless")
    monkeypatch.setattr(web, "_SLOWEST", 1e12)
    with pytest.raises(OSError, match=r"which is too slow \(1 attempts\)"):
        Fetcher(Patience(attempts=1, stall=0.05)).fetch(url, Told(2**28))


def test_headers_that_drip_are_too_slow(server, monkeypatch):
    own, url = server
    own.faults["a.jpg"] = Fault("dribble", 0.01)
    monkeypatch.setattr(web, "_HEADERS", 0.1)
    with pytest.raises(OSError, match=r"nothing came for too long \(1 attempts\)"):
        Fetcher(Patience(attempts=1, stall=1)).fetch(url)  # a byte comes much more often than once a second


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("file:///etc/passwd", "NonHttpUrlRedirectClientError"),
        ("http://169.254.169.254/latest/meta-data", "clouds tell credentials"),
        ("a.jpg", "TooManyRedirects"),
    ],
)
def test_redirects_lead_neither_to_files_nor_to_credentials_nor_for_ever(server, target, said):
    own, url = server
    own.faults["a.jpg"] = Fault("redirect", target)
    with pytest.raises((OSError, ImageError), match=said):
        Fetcher().fetch(url)


def test_a_redirect_is_followed(server):
    own, url = server
    own.faults["b.jpg"] = Fault("redirect", url)
    assert Fetcher().fetch(url.replace("a.jpg", "b.jpg")) == DATA


def test_parts_are_those_that_were_asked_for(server):
    own, url = server
    told = Fetcher().ask(url)
    assert told.size == len(DATA)
    assert Fetcher().fetch(url, told, (1000, 1500)) == DATA[1000:1500]
    own.ranges = False
    with pytest.raises(OSError, match="the server sends no parts of files"):
        Fetcher().fetch(url, told, (1000, 1500))


def test_an_object_that_was_changed_since_it_was_listed_is_read_as_it_is(server):
    own, url = server
    told = Fetcher().ask(url)
    own.files["a.jpg"] = DATA + b"more"
    assert Fetcher().fetch(url, told) == DATA + b"more"
    own.faults["a.jpg"] = Fault("wrong", times=1, method="HEAD")
    told = Fetcher().ask(url)
    assert (told.size, Fetcher().fetch(url, told)) == (len(DATA) + 4 - 7, DATA + b"more")


def test_too_large_an_object_is_not_asked_for(server):
    own, url = server
    with pytest.raises(ImageError, match="too many bytes"):
        Fetcher().fetch(url, Told(2**40))
    assert own.count() == 0


def test_the_state_changes_with_the_object_and_not_with_the_signature(server):
    own, url = server
    first = Fetcher().ask(url)
    assert Fetcher().ask(f"{url}?X-Amz-Signature=1").state == Fetcher().ask(f"{url}?X-Amz-Signature=2").state
    own.files["a.jpg"] = DATA[::-1]
    assert Fetcher().ask(url).state != first.state
    own.validators = False
    assert Fetcher().ask(url).state == b""


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"ETag": '"a"'}, True),
        ({"ETag": 'W/"a"'}, False),
        ({}, False),
        ({"Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT", "Date": "Tue, 14 Nov 2023 22:13:21 GMT"}, False),
        ({"Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT", "Date": "Tue, 14 Nov 2023 22:13:30 GMT"}, True),
        ({"Last-Modified": "nonsense", "Date": "nonsense"}, False),
    ],
)
def test_what_a_server_tells_reliably(headers, told):
    assert (web.validators_of(headers)[0] is not None) == told


def test_waits_grow_differ_and_end(server, waits):
    own, url = server
    own.faults["a.jpg"] = Fault("status", 503)
    with pytest.raises(OSError, match=r"HTTP 503 .*\(8 attempts\)"):
        Fetcher(Patience(attempts=8, first=1.0, longest=8.0)).fetch(url)
    assert all(0.5 * most <= wait <= most for wait, most in zip(waits, (1, 2, 4, 8, 8, 8, 8), strict=True))
    assert len(set(waits)) == 7


def test_a_timeout_of_the_environment(monkeypatch):
    monkeypatch.setenv("FEATCACHE_FETCH_TIMEOUT", "1.5")
    assert Patience.of_environment().stall == 1.5
    monkeypatch.setenv("FEATCACHE_FETCH_TIMEOUT", "soon")
    assert Patience.of_environment() == Patience()


# Ahead --------------------------------------------------------------------------------------------------------


class Counting:
    """Fetches numbers, and notes which and how many at once."""

    patience = Patience()

    def __init__(self) -> None:
        self.asked: list[int] = []
        self._lock = threading.Lock()

    def fetch(self, url, told, part):
        with self._lock:
            self.asked.append(int(url))
        if url == "13":
            raise OSError("no")
        return url.encode()


def _numbers(count: int, size: int = 10) -> list[Piece]:
    return [Piece(str(number), Told(size, b"s" * 16)) for number in range(count)]


@pytest.mark.parametrize("step", [1, 4])
def test_what_follows_is_fetched_ahead_once(step):
    counting = Counting()
    reader = Pieces(_numbers(200), counting, Kept(0))
    wanted = list(range(0, 200, step))
    got = []
    for number in wanted:
        try:
            got.append(reader.read(number))
        except OSError:
            got.append(b"13")
    assert got == [str(number).encode() for number in wanted]
    assert sorted(counting.asked) == wanted
    assert reader._width == pieces.MOST_AHEAD


@pytest.mark.parametrize("workers", [2, 16])
def test_threads_that_overtake_each_other_fetch_nothing_twice(workers):
    """As hashing reads: sixteen to a task, several tasks at once; and decoding, one after the other, afterwards."""
    counting = Counting()
    reader = Pieces(_numbers(1300)[14:], counting, Kept(0))
    wanted = list(range(1286))

    def read(task):
        return [reader.read(number) for number in task]

    found = ordered_map(read, batched(wanted, 16), workers=workers, ahead=16)
    assert [data for task in found for data in task] == [str(number + 14).encode() for number in wanted]
    assert sorted(counting.asked) == [number + 14 for number in wanted]
    assert list(ordered_map(reader.read, wanted, workers=workers, ahead=32)) == [
        str(number + 14).encode() for number in wanted
    ]
    assert sorted(counting.asked) == sorted(2 * [number + 14 for number in wanted])


def test_single_ones_are_fetched_alone_and_large_ones_not_ahead_of_memory():
    counting = Counting()
    reader = Pieces(_numbers(10_000), counting, Kept(0))
    for number in (5000, 100, 9000, 42, 7777):
        reader.read(number)
    assert counting.asked == [5000, 100, 9000, 42, 7777]
    reader = Pieces(_numbers(100, size=pieces.MOST_BYTES), counting, Kept(0))
    for number in range(10):
        assert reader.read(number) == str(number).encode()
        assert len(reader._futures) <= 1


# Kept ---------------------------------------------------------------------------------------------------------


def test_kept_bytes_come_back_and_damaged_ones_do_not():
    kept = Kept(10**6)
    key = kept.key("https://h/a?sig=1&se=1", b"state", None)
    assert key == Kept(10**6).key("https://u:p@h/a?sig=2&se=2", b"state", None)
    assert key != kept.key("https://h/a", b"state", (0, 10))
    kept.put(key, DATA)
    assert kept.get(key) == DATA
    path = kept._path(key)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert kept.get(key) is None
    assert not path.exists()


def test_objects_without_a_state_are_kept_for_one_process():
    assert Kept(1).key("u", b"") != Kept(1).key("u", b"")


def test_the_oldest_of_earlier_runs_go_and_what_does_not_fit_is_not_kept():
    earlier = Kept(5000)
    for number in range(4):
        key = earlier.key(str(number), b"s")
        earlier.put(key, bytes(1000))
        os.utime(earlier._path(key), (number, number))
    now = Kept(5000)
    now.put(now.key("5", b"s"), bytes(2000))
    held = [number for number in range(4) if now.get(now.key(str(number), b"s"))]
    assert held == [2, 3]
    now.put(now.key("6", b"s"), bytes(4000))
    assert now.get(now.key("6", b"s")) is None
    assert now.get(now.key("5", b"s")) == bytes(2000)


def test_a_disk_that_takes_nothing_only_means_another_fetch(monkeypatch, tmp_path):
    (tmp_path / "home").write_text("a file in the place of the folder")
    kept = Kept(5000)
    kept.put(kept.key("1", b"s"), b"x")
    assert kept.get(kept.key("1", b"s")) is None
