"""Small charts drawn with Pillow: two axes, points, lines, marks and a legend."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike

from PIL import Image, ImageDraw, ImageFont

from diffir_video.small_files import write_picture

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (30, 30, 34)
GRAY: Colour = (170, 170, 176)
BLUE: Colour = (31, 90, 180)
RED: Colour = (200, 40, 40)
ORANGE: Colour = (222, 135, 20)
GREEN: Colour = (40, 140, 70)
PURPLE: Colour = (130, 70, 160)

_SIZE = (1280, 480)
_LEFT, _TOP, _RIGHT, _BOTTOM = 84, 92, 24, 60
_FONT_SIZE = 15
_TICKS = 8


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`; a logarithmic one is above 0. Values outside are drawn at the edge."""

    label: str
    low: float
    high: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """0 at `low` to 1 at `high`."""
        value = min(max(value, self.low), self.high)
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values: powers of ten, or steps of 1, 2 or 5 times one."""
        if self.is_log:
            exponents = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [10.0**exponent for exponent in exponents]
        rough = (self.high - self.low) / _TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [step * i for i in range(first, last + 1)]


class Chart:
    """What is drawn later lies above what was drawn before."""

    def __init__(self, title: str, x: Axis, y: Axis) -> None:
        self._x, self._y = x, y
        self._image = Image.new("RGB", _SIZE, WHITE)
        self._draw = ImageDraw.Draw(self._image)
        self._font = ImageFont.load_default(_FONT_SIZE)
        self._legend_end = float(_LEFT)
        self._text(_LEFT, 14, title)
        self._draw_axes()

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, name: str | None = None) -> None:
        """Join points by straight lines."""
        self._draw.line([self._at(*point) for point in points], fill=colour, width=2)
        self._name(name, colour)

    def points(
        self, points: Iterable[tuple[float, float]], colour: Colour, name: str | None = None, radius: int = 2
    ) -> None:
        """A disc for each point."""
        for point in points:
            x, y = self._at(*point)
            self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        self._name(name, colour)

    def vertical(self, positions: Iterable[float], colour: Colour, name: str | None = None) -> None:
        """A line from bottom to top at each x."""
        for position in positions:
            self._draw.line([self._at(position, self._y.low), self._at(position, self._y.high)], fill=colour)
        self._name(name, colour)

    def horizontal(self, position: float, colour: Colour, name: str | None = None) -> None:
        """A line from left to right at this y."""
        self._draw.line([self._at(self._x.low, position), self._at(self._x.high, position)], fill=colour)
        self._name(name, colour)

    def save(self, path: str | PathLike[str]) -> None:
        """Write PNG, or what else the suffix says; raises OutputError."""
        write_picture(self._image, path)

    def _at(self, x: float, y: float) -> tuple[float, float]:
        width, height = _SIZE[0] - _LEFT - _RIGHT, _SIZE[1] - _TOP - _BOTTOM
        return _LEFT + self._x.place(x) * width, _TOP + (1 - self._y.place(y)) * height

    def _draw_axes(self) -> None:
        for tick in self._x.ticks():
            x, y = self._at(tick, self._y.low)
            self._draw.line([(x, y), (x, y + 5)], fill=BLACK)
            self._text(x, y + 8, f"{tick:g}", anchor="ma")
        for tick in self._y.ticks():
            x, y = self._at(self._x.low, tick)
            self._draw.line([(x - 5, y), (x, y)], fill=BLACK)
            self._text(x - 9, y, f"{tick:g}", anchor="rm")
        corner = self._at(self._x.low, self._y.low)
        self._draw.line(
            [self._at(self._x.low, self._y.high), corner, self._at(self._x.high, self._y.low)], fill=BLACK
        )
        self._text(_SIZE[0] - _RIGHT, _SIZE[1] - 8, self._x.label, anchor="rd")
        self._text(8, _TOP - 10, self._y.label, anchor="ld")

    def _name(self, name: str | None, colour: Colour) -> None:
        if name is None:
            return
        x, y = self._legend_end, 46.0
        self._draw.rectangle((x, y - 5, x + 12, y + 5), fill=colour)
        self._text(x + 18, y, name, anchor="lm")
        self._legend_end = x + 18 + self._draw.textlength(name, font=self._font) + 24

    def _text(self, x: float, y: float, text: str, anchor: str = "la") -> None:
        self._draw.text((x, y), text, fill=BLACK, font=self._font, anchor=anchor)
