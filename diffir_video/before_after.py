"""The before/after picture: the whole frame split in two, and details magnified side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from diffir_video.errors import UsageError
from diffir_video.small_files import write_picture

_CANVAS_WIDTH = 1280
_MAX_VIEW_HEIGHT = 720
_MARGIN = 16
_CAPTION_HEIGHT = 30
_FONT_SIZE = 16
_BACKGROUND = (18, 18, 20)
_TEXT = (232, 232, 232)
_FAINT_TEXT = (160, 160, 164)
_DETAIL_COLOURS = ((255, 196, 0), (0, 200, 255))
_DETAIL_ASPECT = 4 / 3


@dataclass(frozen=True, slots=True)
class Panel:
    """One version of the frame.

    psnr_y: in dB, None for the reference. picture: (3, H, W) RGB, float in [0, 1].
    """

    name: str
    psnr_y: float | None
    picture: Tensor

    @property
    def caption(self) -> str:
        return self.name if self.psnr_y is None else f"{self.name}   {self.psnr_y:.2f} dB"


@dataclass(frozen=True, slots=True)
class _Box:
    left: int
    top: int
    width: int
    height: int

    def cut(self, picture: Tensor) -> Tensor:
        return picture[:, self.top : self.top + self.height, self.left : self.left + self.width]


def draw_before_after(panels: Sequence[Panel], footnote: str, path: Path) -> None:
    """Write the picture that compares a reference with one or two versions of it.

    Args:
        panels: the reference first, then one or two versions; all of one size.
        footnote: one line under the picture.
        path: PNG, or another format that Pillow knows by its suffix.

    Raises:
        UsageError: another number of panels.
        OutputError: the file can't be written.
    """
    if len(panels) not in (2, 3):
        raise UsageError(
            f"a before/after picture shows a reference and 1 or 2 versions, got {len(panels)} panels"
        )
    before, after = panels[-2:]
    details = choose_details(panels)
    top = _split_view(before, after, details)
    rows = [_detail_row(panels, box, colour) for box, colour in zip(details, _DETAIL_COLOURS, strict=False)]
    write_picture(_stack([top, *rows], footnote), path)


def choose_details(panels: Sequence[Panel]) -> list[_Box]:
    """Where to look closer: the places of most detail among those where the last two versions differ most.

    Returns at most two boxes, apart from each other; a frame too small for two gets one.
    """
    reference, before, after = panels[0].picture, panels[-2].picture, panels[-1].picture
    height, width = reference.shape[-2:]
    box_width = min(width, max(48, width // 5))
    box_height = min(height, max(36, round(box_width / _DETAIL_ASPECT)))
    interest = _interest(reference, before, after, (box_height, box_width))
    boxes: list[_Box] = []
    for _ in _DETAIL_COLOURS:
        if interest.max() <= -1:
            break
        top, left = divmod(int(interest.argmax()), interest.shape[1])
        boxes.append(_Box(left, top, box_width, box_height))
        interest[
            max(0, top - box_height) : top + box_height, max(0, left - box_width) : left + box_width
        ] = -1
    return boxes


def _interest(reference: Tensor, before: Tensor, after: Tensor, window: tuple[int, int]) -> Tensor:
    """One figure per possible box, by its top left corner; never negative."""
    difference = (after - before).float().abs().mean(dim=0)
    grey = reference.float().mean(dim=0)
    detail = torch.zeros_like(grey)
    detail[:-1] += grey.diff(dim=0).abs()
    detail[:, :-1] += grey.diff(dim=1).abs()
    means = F.avg_pool2d(torch.stack((difference, detail)).unsqueeze(1), window, stride=1).squeeze(1)
    return means[0] * means[1]


def _split_view(before: Panel, after: Panel, details: Sequence[_Box]) -> Image.Image:
    frame = before.picture.clone()
    middle = frame.shape[-1] // 2
    frame[..., middle:] = after.picture[..., middle:]
    scale = min(_CANVAS_WIDTH / frame.shape[-1], _MAX_VIEW_HEIGHT / frame.shape[-2])
    width, height = round(frame.shape[-1] * scale), round(frame.shape[-2] * scale)
    view = _to_image(frame).resize((width, height), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(view)
    draw.line([(round(middle * scale), 0), (round(middle * scale), height)], fill=_TEXT, width=2)
    for box, colour in zip(details, _DETAIL_COLOURS, strict=False):
        corners = (box.left, box.top, box.left + box.width, box.top + box.height)
        draw.rectangle([round(x * scale) for x in corners], outline=colour, width=3)
    _label(view, before.caption, left=True)
    _label(view, after.caption, left=False)
    return view


def _detail_row(panels: Sequence[Panel], box: _Box, colour: tuple[int, int, int]) -> Image.Image:
    width = (_CANVAS_WIDTH - _MARGIN * (len(panels) - 1)) // len(panels)
    height = round(width * box.height / box.width)
    row = Image.new("RGB", (_CANVAS_WIDTH, height + _CAPTION_HEIGHT), _BACKGROUND)
    draw = ImageDraw.Draw(row)
    for column, panel in enumerate(panels):
        left = column * (width + _MARGIN)
        detail = _to_image(box.cut(panel.picture)).resize((width, height), Image.Resampling.BICUBIC)
        row.paste(detail, (left, 0))
        draw.rectangle((left, 0, left + width - 1, height - 1), outline=colour, width=3)
        draw.text((left, height + 6), panel.caption, fill=_TEXT, font=_font())
    return row


def _label(view: Image.Image, text: str, *, left: bool) -> None:
    draw = ImageDraw.Draw(view, "RGBA")
    x0, y0, x1, y1 = draw.textbbox((0, 0), text, font=_font())
    width, height = round(x1 - x0) + 16, round(y1 - y0) + 12
    x = 0 if left else view.width - width
    draw.rectangle((x, 0, x + width, height), fill=(0, 0, 0, 170))
    draw.text((x + 8 - x0, 6 - y0), text, fill=_TEXT, font=_font())


def _stack(parts: Sequence[Image.Image], footnote: str) -> Image.Image:
    height = sum(part.height + _MARGIN for part in parts) + _MARGIN + _CAPTION_HEIGHT
    canvas = Image.new("RGB", (_CANVAS_WIDTH + 2 * _MARGIN, height), _BACKGROUND)
    top = _MARGIN
    for part in parts:
        canvas.paste(part, (_MARGIN + (_CANVAS_WIDTH - part.width) // 2, top))
        top += part.height + _MARGIN
    ImageDraw.Draw(canvas).text((_MARGIN, top), footnote, fill=_FAINT_TEXT, font=_font())
    return canvas


def _to_image(picture: Tensor) -> Image.Image:
    levels = (picture.detach().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_FONT_SIZE)
