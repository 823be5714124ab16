"""The page of a live filter, its metrics and its health, and who may see them."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import diffir_video as dv
from diffir_video import UsageError
from streams import LiveConfig, LiveFilter, SourceConfig
from streams.web import StatusServer
from tests.streams.peers import clip, get, wait_until

SECRET = "s3cr3t-k3y"


@contextmanager
def served(tmp_path: Path, **options) -> Iterator[tuple[LiveFilter, str]]:
    config = LiveConfig(source=SourceConfig(realtime=True))
    restorer = dv.Restorer.from_pretrained("identity", device="cpu")
    live = LiveFilter(str(clip(20)), restorer, str(tmp_path / "out.mkv"), config)
    with StatusServer(live, "127.0.0.1:0", **options) as server:
        yield live, server.url


def test_the_page_its_figures_and_its_picture_follow_the_stream(tmp_path: Path) -> None:
    with served(tmp_path) as (live, url):
        assert get(f"{url}healthz")[0] == 503
        assert get(f"{url}preview.jpg")[0] == 503
        with live:
            assert wait_until(lambda: get(f"{url}readyz")[0] == 200)
            assert get(f"{url}healthz")[0] == 200
            assert get(f"{url}readyz", method="HEAD") == (200, b"")
            assert b"<canvas" in get(url)[1]
            assert get(f"{url}preview.jpg")[1].startswith(b"\xff\xd8")
            assert wait_until(lambda: json.loads(get(f"{url}stats.json")[1])["frames"]["out"] > 25)
            text = get(f"{url}metrics")[1].decode()
        assert get(f"{url}nothing")[0] == 404
    for name in (
        'diffir_frames_total{stage="in"}',
        'diffir_frames_total{stage="out"}',
        'diffir_latency_seconds_bucket{le="0.3",stage="glass_to_glass"}',
        "diffir_ladder_level ",
        "diffir_prior_age_frames ",
    ):
        assert name in text


def test_a_request_that_makes_no_sense_is_answered_and_leaves_no_trace_in_the_log(
    tmp_path: Path, capfd
) -> None:
    with served(tmp_path) as (_, url), socket.create_connection(("127.0.0.1", urlsplit(url).port)) as visitor:
        visitor.sendall(b"GET http://[ HTTP/1.0\r\n\r\n")
        assert b" 400 " in visitor.recv(100)
    assert capfd.readouterr().err == ""


def test_visitors_need_the_token_but_health_does_not(tmp_path: Path) -> None:
    with served(tmp_path, token=SECRET) as (_, url):
        assert get(url)[0] == 401
        assert get(f"{url}metrics")[0] == 401
        assert get(f"{url}?token=wrong")[0] == 401
        assert get(f"{url}?token={SECRET}")[0] == 200
        assert get(f"{url}metrics", Authorization=f"Bearer {SECRET}")[0] == 200
        assert get(f"{url}healthz")[0] == 503


def test_the_page_is_served_on_the_loopback_address_of_ipv6(tmp_path: Path) -> None:
    live = LiveFilter(str(clip(2)), dv.Restorer.from_pretrained("identity"), str(tmp_path / "out.mkv"))
    with StatusServer(live, "[::1]:0") as server:
        assert server.url.startswith("http://[::1]:")
        assert get(f"{server.url}healthz")[0] == 503


@pytest.mark.parametrize("address", ["0.0.0.0:8080", ":8080", "192.0.2.1:80", "8080", "127.0.0.1:http"])
def test_a_page_for_everyone_needs_a_token_and_an_address_needs_a_port(tmp_path: Path, address: str) -> None:
    live = LiveFilter(str(clip(2)), dv.Restorer.from_pretrained("identity"), str(tmp_path / "out.mkv"))
    with pytest.raises(UsageError):
        StatusServer(live, address)


def test_visitors_beyond_the_limit_are_told_so_until_others_have_left(tmp_path: Path) -> None:
    with served(tmp_path, visitors=2) as (_, url):
        idle = [connected(url) for _ in range(2)]
        assert wait_until(lambda: get(url)[0] == 503)
        assert b"too many" in get(f"{url}healthz")[1]
        for visitor in idle:
            visitor.close()
        assert wait_until(lambda: get(url)[0] == 200)


def test_a_visitor_who_sends_byte_by_byte_holds_a_place_no_longer_than_others(tmp_path: Path) -> None:
    def send_slowly(visitor: socket.socket) -> None:
        for byte in b"GET / HTTP/1.0\r\nX: " + b"x" * 200:
            visitor.sendall(bytes([byte]))
            time.sleep(0.05)

    with served(tmp_path, visitors=1, request_seconds=0.5) as (_, url), connected(url) as visitor:
        asked = time.monotonic()
        with pytest.raises(ConnectionError):
            send_slowly(visitor)
        assert 0.4 < time.monotonic() - asked < 5
        assert get(url)[0] == 200


def test_a_visitor_who_reads_nothing_holds_a_place_no_longer_than_others(tmp_path: Path) -> None:
    with served(tmp_path, visitors=1, request_seconds=1) as (live, url):
        # Longer than what the system keeps for a reader.
        for number in range(8_000):
            live.stats.set_queue(f"{number:01000}", 0)
        with connected(url) as visitor:
            visitor.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert wait_until(lambda: get(url)[0] == 503)
            assert wait_until(lambda: get(url)[0] == 200)
            received = sum(map(len, iter(lambda: visitor.recv(65536), b"")))
        assert received < len(live.stats.exposition())


def test_a_visitor_who_stays_is_gone_with_the_server(tmp_path: Path) -> None:
    with served(tmp_path) as (_, url):
        threads = threading.active_count()
        visitor = connected(url)
        assert wait_until(lambda: threading.active_count() > threads)
    assert visitor.recv(1) == b""
    assert wait_until(lambda: threading.active_count() < threads)
    visitor.close()


def connected(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=10)
