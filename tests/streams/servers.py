"""Real servers on loopback: nginx-rtmp, and GStreamer's RTSP server. A machine without them skips, saying so.

In a build that sets CI a missing server is a failure.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.streams.peers import free_port, running, wait_until

_NGINX_MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")
_SYSTEM_PYTHON = "/usr/bin/python3"

_RTSP_SERVER = """
import sys, gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer(address="127.0.0.1", service=sys.argv[1])
play = GstRtspServer.RTSPMediaFactory()
play.set_launch(
    '( filesrc location="%s" ! flvdemux name=d d.video ! queue ! h264parse ! '
    'rtph264pay name=pay0 pt=96 config-interval=-1 '
    'd.audio ! queue ! aacparse ! rtpmp4gpay name=pay1 pt=97 )' % sys.argv[2])
record = GstRtspServer.RTSPMediaFactory()
record.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
record.set_launch(
    '( rtph264depay name=depay0 ! h264parse ! queue ! mux. '
    'rtpmp4gdepay name=depay1 ! aacparse ! queue ! mux. '
    'matroskamux streamable=true name=mux ! filesink sync=false async=false location="%s" )' % sys.argv[3])
record.set_latency(50)
mounts = server.get_mount_points()
mounts.add_factory("/play", play); mounts.add_factory("/record", record)
server.attach(None)
GLib.MainLoop().run()
"""


def _need(found: object, what: str) -> None:
    if found:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing; in CI it must be installed")
    pytest.skip(f"{what} is not installed; see docs/live.md")


@contextmanager
def rtmp_server(folder: Path, port: int | None = None) -> Iterator[tuple[str, subprocess.Popen]]:
    """nginx-rtmp: the address streams are published under and played from, and the server's process."""
    _need(shutil.which("nginx") and _NGINX_MODULE.exists(), "nginx with libnginx-mod-rtmp")
    port = port or free_port()
    hls = folder / "hls"
    hls.mkdir(exist_ok=True)
    (folder / "nginx.conf").write_text(
        f"load_module {_NGINX_MODULE}; daemon off; master_process off; pid {folder}/nginx.pid; "
        f"error_log {folder}/error.log; events {{ worker_connections 64; }} "
        f"rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on; "
        f"hls on; hls_path {hls}; hls_fragment 1s; }} }} }}"
    )
    command = ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "error.log")]
    with running(command) as server:
        assert wait_until(lambda: answers(port)), (folder / "error.log").read_text()
        yield f"rtmp://127.0.0.1:{port}/live", server


@contextmanager
def rtsp_server(played: Path, recorded: Path) -> Iterator[str]:
    """GStreamer's RTSP server: plays `played` at /play, records what is sent to /record as Matroska."""
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    has_gst = (
        Path(_SYSTEM_PYTHON).exists()
        and not subprocess.run([_SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False).returncode
    )
    _need(has_gst, "GStreamer's RTSP server (gir1.2-gst-rtsp-server-1.0)")
    port = free_port()
    command = [_SYSTEM_PYTHON, "-c", _RTSP_SERVER, str(port), str(played), str(recorded)]
    with running(command, stderr=sys.stderr):
        assert wait_until(lambda: answers(port))
        yield f"rtsp://127.0.0.1:{port}"


def answers(port: int) -> bool:
    """Whether someone listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
