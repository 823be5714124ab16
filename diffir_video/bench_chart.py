"""A benchmark as a picture: a bar for each row."""

from __future__ import annotations

from os import PathLike

from PIL import Image, ImageDraw, ImageFont

from diffir_video.bench_report import BenchReport
from diffir_video.chart import BLACK, BLUE, GRAY, GREEN, ORANGE, PURPLE, RED, WHITE, Colour
from diffir_video.errors import OutputError

_COLOURS: dict[str, Colour] = {
    "reference": RED,
    "decode": GRAY,
    "encode": PURPLE,
    "model": BLUE,
    "end_to_end": GREEN,
}
_WIDTH, _ROW, _BAR, _LABELS, _MARGIN = 1280, 26, 16, 430, 20


def draw_bench(report: BenchReport, path: str | PathLike[str]) -> None:
    """Write the frames per second of every row, longest bar fastest; raises OutputError."""
    font = ImageFont.load_default(15)
    height = _ROW * (len(report.rows) + 2) + 2 * _MARGIN
    image = Image.new("RGB", (_WIDTH, height), WHITE)
    draw = ImageDraw.Draw(image)
    draw.text((_MARGIN, _MARGIN), f"{report.rows[0].model}: frames per second", fill=BLACK, font=font)
    fastest = max(row.fps for row in report.rows)
    for number, row in enumerate(report.rows, start=1):
        y = _MARGIN + _ROW * number
        way = " ".join(filter(None, (row.stage.replace("_", " "), row.precision, row.reuse, row.backend)))
        label = f"{row.width}x{row.height}  {way}"
        length = (_WIDTH - _LABELS - 7 * _MARGIN) * row.fps / fastest
        draw.text((_MARGIN, y + _ROW / 2), label, fill=BLACK, font=font, anchor="lm")
        top = y + (_ROW - _BAR) / 2
        draw.rectangle((_LABELS, top, _LABELS + length, top + _BAR), fill=_COLOURS.get(row.stage, ORANGE))
        draw.text((_LABELS + length + 8, y + _ROW / 2), f"{row.fps:.4g}", fill=BLACK, font=font, anchor="lm")
    draw.text((_MARGIN, height - _MARGIN), str(report.machine), fill=BLACK, font=font, anchor="ls")
    try:
        image.save(path)
    except (OSError, ValueError) as exc:
        raise OutputError(f"{path}: can't write the chart ({exc})") from exc
