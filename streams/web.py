"""The page, the metrics and the health of a live filter, over HTTP.

`/healthz`: 200 while the filter lives. `/readyz`: 200 while frames leave it. `/metrics`: Prometheus.
`/`, `/stats.json`, `/preview.jpg`: for people. Health is open to all; the rest asks visitors for the
token, where there is one.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
import math
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CONTENT_TYPE_LATEST

from diffir_video.errors import OutputError, UsageError
from streams.live import LiveFilter
from streams.stats import Stage

_log = logging.getLogger(__name__)

_HTML = "text/html; charset=utf-8"
_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_TOO_MANY = b"too many visitors; try again\n"
_STAGES: tuple[Stage, ...] = ("queue", "restore", "encode", "glass_to_glass")


class StatusServer:
    """Serves a `LiveFilter`'s page at HOST:PORT from a thread of its own; port 0 takes a free one.

    visitors: connections at a time, each with a thread; more are answered that there are too many.
    request_seconds: from a connection's beginning to its end, however slowly a visitor sends or reads.
    Raises UsageError for a bad address, and for one that isn't loopback without a token; OutputError
    where the port is taken.
    """

    def __init__(
        self,
        live: LiveFilter,
        address: str,
        *,
        token: str | None = None,
        visitors: int = 32,
        request_seconds: float = 10.0,
    ) -> None:
        host, port = _parsed(address)
        if not token and not _is_loopback(host):
            raise UsageError(
                f"the page would be open to everyone at {address}; set a token or use 127.0.0.1:{port}"
            )
        try:
            self._server = _Server(host, port, visitors, request_seconds)
        except OSError as exc:
            raise OutputError(f"can't serve the page at {address}: {exc.strerror}") from exc
        self._server.live, self._server.token = live, token or None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="diffir-http", daemon=True
        )

    @property
    def url(self) -> str:
        address, port = self._server.server_address[:2]
        host = address if isinstance(address, str) else address.decode()
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def summary(live: LiveFilter) -> dict[str, Any]:
    """What the page shows, every figure over the last ten seconds; times in milliseconds."""
    stats = live.stats
    return {
        "ready": live.is_ready,
        "fps": {stage: round(stats.fps(stage), 2) for stage in ("in", "restored", "out")},
        "frames": {stage: stats.count(stage) for stage in ("in", "restored", "late", "out", "bridge")},
        "dropped": {stage: stats.count(f"dropped/{stage}") for stage in ("mailbox", "sink")},
        "latency_ms": {
            stage: [None if s is None else round(s * 1000, 1) for s in stats.percentiles(stage, 0.5, 0.99)]
            for stage in _STAGES
        },
        "level": {"index": stats.level, "name": stats.level_name},
        "errors": stats.count("errors"),
        "prior": {
            "refreshes": stats.count("priors"),
            "age": stats.prior_age,
            "drift": None if stats.drift is None else round(stats.drift, 5),
            "threshold": stats.drift_threshold,
        },
        "budget_ms": _milliseconds(live.governor.config.latency_seconds),
        "bridging": _is_bridging(live),
        "events": [asdict(event) for event in stats.events()],
    }


def _is_bridging(live: LiveFilter) -> bool:
    shown, came = live.stats.last_seen("bridge"), live.stats.last_seen("in")
    return shown is not None and time.monotonic() - shown < 1 and shown > (came or 0)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None or math.isinf(seconds) else seconds * 1000


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A visitor who keeps a connection open must not keep the filter from ending.
    block_on_close = False
    live: LiveFilter
    token: str | None

    def __init__(self, host: str, port: int, visitors: int, request_seconds: float) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._most, self._seconds = visitors, request_seconds
        self._visits: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            has_room = len(self._visits) < self._most
            if has_room:
                self._visits[request] = time.monotonic()
        if has_room:
            super().process_request(request, client_address)
        else:
            _turn_away(request)
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._visits.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called all the time. A handler's own timeout begins anew with each byte that a visitor sends."""
        self._end_visits(time.monotonic() - self._seconds)

    def server_close(self) -> None:
        super().server_close()
        self._end_visits(math.inf)

    def _end_visits(self, begun_before: float) -> None:
        # The lock keeps a descriptor from being closed meanwhile, and from being another's.
        with self._lock:
            for request, begun in self._visits.items():
                if begun < begun_before:
                    with suppress(OSError):
                        request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as its base has it
        """Silent where a visitor left in the middle of an answer, as browsers do."""
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            # What an error says may hold the token, which a request's address does.
            _log.error("the page: a request failed (%s)", type(error).__name__)


def _turn_away(visitor: socket.socket) -> None:
    """Answer at once, and wait for nothing: this is the thread that all visitors come through."""
    head = f"HTTP/1.0 503 Service Unavailable\r\nContent-Type: {_TEXT}\r\n"
    head += f"Content-Length: {len(_TOO_MANY)}\r\n\r\n"
    with suppress(OSError):
        visitor.setblocking(False)
        visitor.send(head.encode() + _TOO_MANY)
        visitor.shutdown(socket.SHUT_WR)
        # A connection that is closed with something unread in it takes its answer with it.
        visitor.recv(65536)


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]
    server_version = "diffir-stream"

    def do_GET(self) -> None:
        try:
            path = urlsplit(self.path).path
        except ValueError:
            self._answer(HTTPStatus.BAD_REQUEST, _TEXT, b"no address\n")
            return
        live = self.server.live
        if path == "/healthz":
            self._say(live.is_live, "live", "ended")
        elif path == "/readyz":
            self._say(live.is_ready, "ready", "no frame has left in the last seconds")
        elif not self._is_allowed():
            self._answer(HTTPStatus.UNAUTHORIZED, _TEXT, b"give the token: /?token=...\n")
        else:
            self._show(path, live)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _show(self, path: str, live: LiveFilter) -> None:
        match path:
            case "/":
                self._answer(HTTPStatus.OK, _HTML, files("streams").joinpath("page.html").read_bytes())
            case "/metrics":
                self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, live.stats.exposition())
            case "/stats.json":
                self._answer(HTTPStatus.OK, _JSON, json.dumps(summary(live)).encode())
            case "/preview.jpg":
                picture = live.preview.jpeg()
                if picture is None:
                    self._answer(HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, b"no frame yet\n")
                else:
                    self._answer(HTTPStatus.OK, "image/jpeg", picture)
            case _:
                self._answer(HTTPStatus.NOT_FOUND, _TEXT, b"not found\n")

    def _say(self, good: bool, yes: str, no: str) -> None:
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, _TEXT, f"{yes if good else no}\n".encode())

    def _is_allowed(self) -> bool:
        token = self.server.token
        if token is None:
            return True
        given = parse_qs(urlsplit(self.path).query).get("token", [""])[0]
        given = given or self.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), token.encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: a request's address may hold the token."""


def _parsed(address: str) -> tuple[str, int]:
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"expected HOST:PORT, such as 127.0.0.1:8080, got {address!r}")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - refused without a token


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
