"""A web server on this machine that hands out weights, or whatever else it is told to."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from featcache.backbones.family import Download, Pretrained
from featcache.backbones.registry import resolve
from featcache.backbones.weights import download
from featcache.core.environment import weights_folder
from helpers.torch_writer import checkpoint, legacy

GOOD = legacy(checkpoint({"weight": np.arange(6, dtype=np.float32)}))
GOOD_SHA256 = hashlib.sha256(GOOD).hexdigest()
HTML = b"<!DOCTYPE html><html><body>Log in to the network</body></html>"


@dataclass
class Answer:
    """What the server says: a status, a body, and the length that it claims."""

    status: int = 200
    body: bytes = GOOD
    length: int | None = None


@dataclass
class Server:
    """A web server on this machine whose answer to everything can be set."""

    port: int
    answer: Answer = field(default_factory=Answer)
    asked: list[str] = field(default_factory=list)
    silent_until: threading.Event | None = None

    def weights(self, sha256: str | None = GOOD_SHA256, **published: str) -> Pretrained:
        """Weights of this server, of which this is published."""
        url = f"http://127.0.0.1:{self.port}/models/network-1234.pth"
        return replace(resolve("mobilenet_v2"), file=Download(url, sha256, **published))


@contextmanager
def serving() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            state.asked.append(self.path)
            if state.silent_until is not None:
                state.silent_until.wait(timeout=60)
                return
            answer = state.answer
            self.send_response(answer.status)
            self.send_header("Content-Length", str(answer.length or len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format, *args):
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state = Server(http.server_address[1])
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        if state.silent_until is not None:
            state.silent_until.set()
        http.shutdown()
        thread.join()


def use_own_home(home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let downloads go to `home`, and let them happen."""
    monkeypatch.setenv("FEATCACHE_HOME", str(home))
    monkeypatch.delenv("FEATCACHE_OFFLINE", raising=False)
    # A proxy would be asked for 127.0.0.1 too.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def obtain(weights: Pretrained) -> Path:
    """Obtain weights whose file counts as loaded, whatever is in it."""
    return download.obtain(weights, lambda path: path)


def kept_files() -> list[str]:
    return sorted(path.name for path in weights_folder().rglob("*")) if weights_folder().exists() else []


def keep(weights: Pretrained, data: bytes) -> Pretrained:
    """Put a file where these weights are looked for, as a person without a network does."""
    weights_folder().mkdir(parents=True, exist_ok=True)
    (weights_folder() / weights.file.filename).write_bytes(data)
    return weights
