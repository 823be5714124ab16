"""The same streams in other wrappings: RTMP inside TLS, FLV over HTTP, MPEG-TS inside RTP."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from streams import LiveFilter
from tests.streams.peers import Received, clip, free_port, publish, receive, running, wait_until
from tests.streams.servers import rtmp_server
from tests.streams.test_protocols import UNHURRIED, check, identity

pytestmark = pytest.mark.slow


def test_rtmps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # FFmpeg's programs check a server's certificate, so they have to know this one.
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    with rtmp_server(tmp_path) as (server, _), inside_tls(tmp_path, server) as secure:
        with (
            running(publish(clip(8), "-f", "flv", f"{server}/in")),
            LiveFilter(f"{secure}/in", identity(), f"{secure}/out", UNHURRIED) as live,
            running(receive(["-f", "flv", "-i", f"{server}/out"], tmp_path / "out.mkv")),
        ):
            assert wait_until(lambda: live.stats.count("out") > 100, 30), live.stats.events()
        check(Received(tmp_path / "out.mkv"))


def test_flv_over_http(tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    with (
        over_http(clip(8)) as address,
        LiveFilter(f"{address}/live.flv", identity(), str(out), UNHURRIED) as live,
    ):
        assert wait_until(lambda: live.stats.count("out") > 80, 30), live.stats.events()
    check(Received(out))


def test_mpegts_inside_rtp_in(tmp_path: Path) -> None:
    source, out = f"rtp://127.0.0.1:{even_port()}", tmp_path / "out.mkv"
    with (
        LiveFilter(source, identity(), str(out), UNHURRIED) as live,
        running(publish(clip(15), "-f", "rtp_mpegts", source)),
    ):
        assert wait_until(lambda: live.stats.count("out") > 100, 30), live.stats.events()
    check(Received(out))


def even_port() -> int:
    """RTP takes an even port, and RTCP the one above it."""
    port = free_port()
    return port + port % 2


@contextmanager
def over_http(played: Path) -> Iterator[str]:
    """A server that plays a clip in real time to everyone who asks, as HTTP-FLV servers do."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/x-flv")
            self.end_headers()
            with running(publish(played, "-f", "flv", "pipe:1"), stdout=subprocess.PIPE) as sender:
                assert sender.stdout is not None
                with suppress(ConnectionError):
                    while data := os.read(sender.stdout.fileno(), 65536):
                        self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def inside_tls(folder: Path, server: str) -> Iterator[str]:
    """rtmps:// in front of an rtmp:// server: what comes through TLS is passed on to it, and back."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    port = int(server.split(":")[2].partition("/")[0])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()
        thread = threading.Thread(target=_accept, args=(listener, context, port, ended))
        thread.start()
        try:
            yield server.replace("rtmp://", "rtmps://").replace(str(port), str(listener.getsockname()[1]))
        finally:
            ended.set()
            thread.join()


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int, ended: threading.Event) -> None:
    listener.settimeout(0.1)
    while not ended.is_set():
        with suppress(TimeoutError):
            connection, _ = listener.accept()
            threading.Thread(target=_pass_on, args=(connection, context, port, ended), daemon=True).start()


def _pass_on(connection: socket.socket, context: ssl.SSLContext, port: int, ended: threading.Event) -> None:
    connection.settimeout(5)
    with (
        suppress(OSError),
        context.wrap_socket(connection, server_side=True) as outer,
        socket.create_connection(("127.0.0.1", port)) as inner,
    ):
        outer.settimeout(0.01)
        inner.settimeout(0.01)
        while not ended.is_set():
            for source, target in ((outer, inner), (inner, outer)):
                with suppress(TimeoutError):
                    data = source.recv(65536)
                    if not data:
                        return
                    target.settimeout(5)
                    target.sendall(data)
                    target.settimeout(0.01)
