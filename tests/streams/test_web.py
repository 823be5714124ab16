"""The page of a live filter, its metrics and its health, and who may see them."""

from __future__ import annotations

import json
import socket
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
