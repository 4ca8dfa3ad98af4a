"""A web server in this process that fails as it is told: statuses, stalls, short and long bodies, redirects."""

import hashlib
import http.server
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import unquote


@dataclass
class Fault:
    """What is done in the place of an answer.

    Parameters
    ----------
    kind
        ``"status"``, ``"stall"``, ``"reset"``, ``"short"`` (of the announced length), ``"wrong"`` (a body of another
        length, announced so), ``"endless"``, ``"redirect"``, ``"dribble"`` (headers without an end).
    value
        The status, where the redirect leads, or the seconds between two bytes.
    headers
        Sent besides.
    times
        How many requests fail; -1 for all.
    method
        Which ones.
    """

    kind: str
    value: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = -1
    method: str = "GET"


class ObjectServer:
    """Serves `files`, name to bytes, with ETags, listings and ranges.

    Attributes
    ----------
    faults
        Name to `Fault`.
    choose
        Given a request's number, method and name, returns a fault, or nothing.
    requests
        Method and name of each request, counted.
    validators, ranges, listings
        Whether ETag and Last-Modified, parts, and lists of folders are given.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, Fault] = {}
        self.choose: Callable[[int, str, str], Fault | None] = lambda number, method, name: None
        self.requests: Counter[tuple[str, str]] = Counter()
        self.validators = self.ranges = self.listings = True
        self.stalled = threading.Event()
        self._lock = threading.Lock()

    def fault_of(self, method: str, name: str) -> Fault | None:
        with self._lock:
            self.requests[method, name] += 1
            number = self.requests.total()
            fault = self.faults.get(name)
            if fault is None or fault.method != method or fault.times == 0:
                return self.choose(number, method, name)
            fault.times -= 1
            return fault

    def count(self, method: str = "GET") -> int:
        """Return the number of requests so far."""
        return sum(count for (own, _), count in self.requests.items() if own == method)


@contextmanager
def object_server() -> Iterator[tuple[ObjectServer, str]]:
    """Serve on a free port of 127.0.0.1; yields the server and its URL."""
    own = ObjectServer()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(own))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield own, f"http://127.0.0.1:{server.server_port}"
    finally:
        own.stalled.set()  # lets go of those that wait
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(own: ObjectServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *given: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            # A name with a query is an object of its own; others have the same object whatever is asked.
            name = unquote(self.path).lstrip("/")
            name = name if name in own.files else unquote(self.path.partition("?")[0]).lstrip("/")
            fault = own.fault_of(self.command, name)
            data = own.files.get(name)
            if data is None and own.listings and (listed := _listing(own.files, name)):
                self.send(200, listed, body=body, headers={"Content-Type": "text/html"})
            elif fault is not None:
                self.fail(fault, data or b"", body=body)
            elif data is None:
                self.send(404, b"", body=body)
            else:
                self.send_file(data, body=body)

        def send_file(self, data: bytes, *, body: bool) -> None:
            asked = self.headers.get("Range", "")
            headers = _validators(data) if own.validators else {}
            if asked and own.ranges:
                first, _, last = asked.removeprefix("bytes=").partition("-")
                part = data[int(first) : int(last) + 1]
                headers["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
                self.send(206, part, body=body, headers=headers)
            else:
                self.send(200, data, body=body, headers=headers)

        def send(self, status: int, data: bytes, *, body: bool, headers: Mapping[str, str] | None = None):
            self.send_response(status)
            for key, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def fail(self, fault: Fault, data: bytes, *, body: bool) -> None:
            if fault.kind == "status":
                self.send(int(str(fault.value)), b"no", body=body, headers=fault.headers)
            elif fault.kind == "redirect":
                self.send(302, b"", body=body, headers={"Location": str(fault.value)})
            elif fault.kind == "wrong":
                self.send(200, data[:-7], body=body, headers=_validators(data))
            elif fault.kind == "reset":
                self.close_connection = True
            elif fault.kind == "dribble":
                self.close_connection = True
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                with suppress(OSError):
                    while not own.stalled.wait(float(fault.value)):
                        self.wfile.write(b"a")
            else:
                length = {"Content-Length": str(len(data))} if fault.kind != "endless" else {}
                self.send_response(200)
                for key, value in {**length, **_validators(data)}.items():
                    self.send_header(key, value)
                self.close_connection = True
                self.end_headers()
                self.cut(fault, data)

        def cut(self, fault: Fault, data: bytes) -> None:
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            if fault.kind == "stall":
                own.stalled.wait()
            while fault.kind == "endless" and not own.stalled.is_set():
                try:
                    self.wfile.write(b"\0" * 2**16)
                except OSError:
                    return

    return Handler


def _validators(data: bytes) -> dict[str, str]:
    return {
        "ETag": f'"{hashlib.sha256(data).hexdigest()[:16]}"',
        "Last-Modified": formatdate(1_700_000_000, usegmt=True),
    }


def _listing(files: Mapping[str, bytes], folder: str) -> bytes:
    above = f"{folder.rstrip('/')}/" if folder else ""
    rest = (name[len(above) :] for name in files if name.startswith(above))
    names = dict.fromkeys(part + slash for part, slash, _ in (name.partition("/") for name in rest))
    links = "".join(f'<li><a href="{_quoted(name)}">{name}</a></li>' for name in names)
    return f'<a href="?C=N;O=D">sort</a> <a href="../">up</a> {links}'.encode() if names else b""


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name)
