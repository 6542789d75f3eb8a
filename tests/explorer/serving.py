"""The explorer served to tests, and questions asked as its page asks them."""

import base64
import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from capsnet.explorer.samples import Exhibit, open_exhibit
from capsnet.explorer.server import application


class Served:
    """An explorer that answers at `port`."""

    def __init__(self, exhibit: Exhibit, port: int):
        self.exhibit, self.port = exhibit, port

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(
        self, path: str, body: bytes | None = None, method: str | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, content and headers of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method or ("GET" if body is None else "POST"), path, body, given)
            reply = connection.getresponse()
            return reply.status, reply.read(), {name.lower(): value for name, value in reply.getheaders()}

    def ask(self, path: str, question: Any = None) -> tuple[int, Any]:
        """Status and answer to a question, which is bytes, or is sent as JSON."""
        body = question if question is None or isinstance(question, bytes) else json.dumps(question).encode()
        status, content, _ = self.request(path, body)
        return status, json.loads(content)


@contextlib.contextmanager
def served(exhibit: Exhibit | Path) -> Iterator[Served]:
    """Serve an exhibit, or a run, from another thread of this process."""
    exhibit = open_exhibit(exhibit) if isinstance(exhibit, Path) else exhibit
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    config = uvicorn.Config(
        application(exhibit), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield Served(exhibit, listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()


def encoded(pixels: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode()


def decoded(text: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(shape)
