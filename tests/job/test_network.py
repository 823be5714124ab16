"""Inputs on the network: read only where that was asked for, and never a way to this machine's files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import diffir_video as dv
from diffir_video.cli import main
from diffir_video.media import NetworkAddress
from tests.media_samples import decoded_bytes, packets, sample, video_pts


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address it is served under."""
    folder = tmp_path / "site"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://user:secret@127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def restore(address: str, output: Path, *options: str) -> int:
    return main(["restore", address, str(output), "--model", "identity", "--encoder", "ffv1", *options])


def test_a_video_on_the_network_is_restored_where_that_is_allowed(
    site: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = site
    (folder / "clip.mp4").write_bytes(sample("bframes.mp4").read_bytes())
    output = tmp_path / "out.mkv"
    assert restore(f"{address}/clip.mp4", output, "--allow-network") == 0
    assert video_pts(output) == video_pts(sample("bframes.mp4"))
    assert decoded_bytes(output) == decoded_bytes(sample("bframes.mp4"))
    assert len(packets(output)[1]) == len(packets(sample("bframes.mp4"))[1])


def test_without_leave_an_address_is_a_file_that_is_not_there(
    site: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, address = site
    (folder / "clip.mp4").write_bytes(sample("bframes.mp4").read_bytes())
    assert restore(f"{address}/clip.mp4", tmp_path / "out.mkv") == 3
    assert "--allow-network" in capsys.readouterr().err
    assert not (tmp_path / "out.mkv").exists()


def test_a_playlist_on_the_network_leads_to_the_network_and_to_no_file(
    site: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, address = site
    (folder / "clip.ts").write_bytes(sample("mpeg2.ts").read_bytes())
    private = tmp_path / "private.ts"
    private.write_bytes(sample("mpeg2.ts").read_bytes())
    for name, segment in (("good", "clip.ts"), ("evil", f"file://{private}")):
        lines = ("#EXTM3U", "#EXT-X-TARGETDURATION:2", "#EXTINF:2,", segment, "#EXT-X-ENDLIST")
        (folder / f"{name}.m3u8").write_text("\n".join(lines))
    assert restore(f"{address}/good.m3u8", tmp_path / "good.mkv", "--allow-network") == 0
    assert restore(f"{address}/evil.m3u8", tmp_path / "evil.mkv", "--allow-network") == 3
    assert "secret" not in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.mkv", "private.ts", "site"]


@pytest.mark.parametrize("address", ["file:///etc/passwd", "rtmp://host/app", "concat:a|b", "http://"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(dv.MediaInputError, match="give an http"):
        NetworkAddress(address)


def test_a_missing_video_is_told_without_the_password(
    site: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert restore(f"{site[1]}/none.mp4?token=secret", tmp_path / "out.mkv", "--allow-network") == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "none.mp4" in line
    assert "secret" not in line
