"""The page in a browser: it moves, its slider works, its figures change, and it says what is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import diffir_video as dv
from streams import LiveConfig, LiveFilter, SourceConfig
from streams.web import StatusServer
from tests.streams.peers import clip, free_port, publish, running, wait_until

pytestmark = pytest.mark.slow

_TOKEN = "t0ken-of-the-page"
# What is drawn, as one number that changes with it.
_PICTURE = """
    const view = document.getElementById(arguments[0]);
    const data = view.getContext("2d").getImageData(0, 0, view.width, view.height).data;
    let sum = 0;
    for (let i = 0; i < data.length; i += 4) sum = (sum * 31 + data[i] + data[i + 1]) % 1000000007;
    return sum;
"""


@contextmanager
def browser() -> Iterator[Any]:
    """Headless Chromium; a machine without it skips, saying so, and in a build that sets CI it fails."""
    driver, program = shutil.which("chromedriver"), shutil.which("chromium")
    try:
        from selenium import webdriver
    except ImportError:
        webdriver = None
    if webdriver is None or driver is None or program is None:
        what = "chromium, chromium-driver or selenium is not installed"
        if os.environ.get("CI"):
            pytest.fail(f"{what}; in CI it must be")
        pytest.skip(what)
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=900,1200"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    try:
        yield window
    finally:
        window.quit()


def test_the_page_in_a_browser(tmp_path: Path) -> None:
    source = f"udp://127.0.0.1:{free_port()}"
    target = ("-f", "mpegts", f"{source}?pkt_size=1316")
    restorer = dv.Restorer.from_pretrained("denoise-nano", device="cpu", reuse="prior")
    config = LiveConfig(source=SourceConfig(stall_seconds=1.5))
    with (
        LiveFilter(source, restorer, str(tmp_path / "out.mkv"), config) as live,
        StatusServer(live, "127.0.0.1:0", token=_TOKEN) as server,
        browser() as window,
    ):
        with running(publish(clip(20, noise=30), *target, loop=True)):
            assert wait_until(lambda: live.stats.count("out") > 25, 60)
            window.get(f"{server.url}?token={_TOKEN}")
            assert wait_until(lambda: state(window) == "live", 30), state(window)
            assert wait_until(lambda: figure(window, "frames restored") > 0)
            check_that_it_moves(window)
            check_slider(window)
        assert wait_until(lambda: "source lost" in state(window), 20), state(window)
        assert wait_until(lambda: "silent" in window.find_element("id", "events").text)
        check_console(window)


def state(window: Any) -> str:
    return window.find_element("id", "state").text


def figure(window: Any, name: str) -> int:
    boxes = "[...document.querySelectorAll('dl div')]"
    shown = window.execute_script(f"return {boxes}.map(box => [...box.children].map(c => c.textContent))")
    return int(dict(shown)[name])


def drawn(window: Any, canvas: str) -> int:
    return window.execute_script(_PICTURE, canvas)


def check_that_it_moves(window: Any) -> None:
    """The preview shows another picture before long, the figures other numbers, every chart another curve."""
    before = {canvas: drawn(window, canvas) for canvas in ("view", "latency", "fps", "drift", "level")}
    restored = figure(window, "frames restored")
    for canvas, sum_before in before.items():
        assert wait_until(lambda: drawn(window, canvas) != sum_before), canvas  # noqa: B023
    assert wait_until(lambda: figure(window, "frames restored") > restored)


def check_slider(window: Any) -> None:
    """What lies right of the line is the picture after, and the line is where the slider is."""
    from selenium.webdriver.common.keys import Keys

    slider = window.find_element("id", "split")
    for key, value in ((Keys.HOME, "0"), (Keys.END, "1000"), (Keys.ARROW_LEFT, "999")):
        slider.send_keys(key)
        assert slider.get_property("value") == value
    line = """
        const view = document.getElementById("view"), pen = view.getContext("2d");
        document.getElementById("split").value = arguments[0]; drawView();
        const x = Math.round(view.width * arguments[0] / 1000);
        return [...pen.getImageData(x, view.height - 3, 1, 1).data].slice(0, 3);
    """
    for place in (250, 500, 750):
        assert window.execute_script(line, place) == [255, 255, 255]


def check_console(window: Any) -> None:
    # "rendering" is advice for whoever reads a canvas, as only this test does.
    messages = [entry for entry in window.get_log("browser") if entry["source"] != "rendering"]
    assert messages == []
