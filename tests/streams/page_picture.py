"""A picture of the page, of a noisy pattern: `python -m tests.streams.page_picture OUT.png`."""

from __future__ import annotations

import argparse
import io
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

import diffir_video as dv
from streams import LiveConfig, LiveFilter
from streams.governor import GovernorConfig
from streams.web import StatusServer
from tests.streams.peers import ffmpeg, free_port, publish, running
from tests.streams.test_page import browser

_SECONDS, _TOKEN = 40, "t0ken-of-the-picture"


def noisy_pattern(path: Path) -> Path:
    pattern = "testsrc2=size=384x216:rate=12:duration=8,hue=s=0.5,noise=alls=25:allf=t"
    encoded = ("-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-crf", "18", "-g", "25")
    command = [
        ffmpeg(),
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        pattern,
        *encoded,
        "-pix_fmt",
        "yuv420p",
        str(path),
    ]
    subprocess.run(command, check=True)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.streams.page_picture", description=__doc__)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    source = f"udp://127.0.0.1:{free_port()}"
    restorer = dv.Restorer.from_pretrained("denoise-live", device="cpu", reuse="prior")
    with (
        TemporaryDirectory() as folder,
        LiveFilter(
            source, restorer, f"{folder}/out.mkv", LiveConfig(governor=GovernorConfig(latency_seconds=1.0))
        ) as live,
        StatusServer(live, "127.0.0.1:0", token=_TOKEN) as server,
        browser() as window,
        running(
            publish(
                noisy_pattern(Path(folder) / "pattern.mp4"),
                "-f",
                "mpegts",
                f"{source}?pkt_size=1316",
                loop=True,
            )
        ),
    ):
        window.set_window_size(900, 1350)
        window.get(f"{server.url}?token={_TOKEN}")
        time.sleep(_SECONDS)
        shot = Image.open(io.BytesIO(window.get_screenshot_as_png())).convert("RGB")
    shot.quantize(128, dither=Image.Dither.NONE).save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
