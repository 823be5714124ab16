"""The options of `diffir-video restore`."""

from __future__ import annotations

import argparse

from diffir_video.cli.encoding import add_encoder_options, add_preset_option
from diffir_video.cli.restoring import add_restorer_options
from diffir_video.cli.values import crop, duration, rate, seconds, size


def add_restore_options(restore: argparse.ArgumentParser) -> None:
    restore.add_argument(
        "input",
        metavar="IN",
        help="a video, a folder of them, pictures (shot-%%04d.png, a folder, one file), or - for a pipe",
    )
    restore.add_argument(
        "output",
        metavar="OUT",
        help="where: .mkv .mp4 .mov .webm .ts …, a folder, pictures (.png or .jpg), or - for Y4M",
    )
    add_restorer_options(restore)
    restore.add_argument(
        "--strength",
        type=float,
        default=1,
        metavar="0…1",
        help="how much of the restored; default: 1, all",
    )
    _add_picture_options(restore)
    add_preset_option(restore)
    add_encoder_options(restore)
    _add_job_options(restore)
    _add_report_options(restore)


def _add_picture_options(restore: argparse.ArgumentParser) -> None:
    pictures = restore.add_argument_group("which pictures, and of what shape")
    pictures.add_argument("--start", type=seconds, metavar="[H:][M:]S", help="restore from here on")
    pictures.add_argument("--end", type=seconds, metavar="[H:][M:]S", help="and up to here")
    pictures.add_argument(
        "--sample",
        type=duration,
        metavar="5s",
        help="restore so many seconds from all over the file, the original beside the restored",
    )
    pictures.add_argument("--crop", type=crop, metavar="WxH[+X+Y]", help="restore only this part of each")
    pictures.add_argument("--size", type=size, metavar="WxH", help="bring the output to this size")
    pictures.add_argument("--max-size", type=size, metavar="WxH", help="make a larger output fit into this")
    pictures.add_argument(
        "--deinterlace",
        default="auto",
        choices=("auto", "auto-fields", "off", "bwdif", "bwdif-fields"),
        help="make one picture of each interlaced one or, with -fields, of each field, at twice the rate; "
        "bwdif whatever the stream says; default: %(default)s",
    )
    pictures.add_argument(
        "--field-order",
        default="auto",
        choices=("auto", "top", "bottom"),
        help="which field of interlaced pictures is the earlier, where the stream says it wrongly or not",
    )
    pictures.add_argument(
        "--alpha",
        default="refuse",
        choices=("refuse", "drop"),
        help="what to do with an input that has transparency; default: %(default)s",
    )
    pictures.add_argument(
        "--rate", type=rate, metavar="FPS", help="frames per second of pictures as input; default: 25"
    )


def _add_job_options(restore: argparse.ArgumentParser) -> None:
    restore.add_argument(
        "--dry-run", action="store_true", help="say what would be done and how long it takes; write no video"
    )
    restore.add_argument(
        "--allow-network",
        action="store_true",
        help="IN may be an http:// or https:// address; no journal then",
    )
    restore.add_argument("--overwrite", action="store_true", help="replace an existing output")
    restore.add_argument(
        "--restart", action="store_true", help="throw away what an unfinished job left, instead of going on"
    )
    restore.add_argument(
        "--isolate",
        action="store_true",
        help="decode in another process, so that an input that crashes its decoder ends as a damaged one",
    )
    restore.add_argument(
        "--hwaccel",
        default="off",
        choices=("off", "cuda"),
        help="cuda has a GPU decode the input, as far as it can (see docs/media.md); default: %(default)s",
    )
    restore.add_argument(
        "--segment-frames",
        type=int,
        metavar="N",
        help="the most frames of a segment; a crash costs the one at work on each device and the one before, "
        "if its encoder is not through; default: 250",
    )


def _add_report_options(restore: argparse.ArgumentParser) -> None:
    restore.add_argument(
        "--verify", action="store_true", help="decode the output to its end and show all that was checked"
    )
    restore.add_argument("--report", metavar="FILE.json", help="write what was done and verified")
    restore.add_argument(
        "--report-decisions", action="store_true", help="put what was decided for every frame into the report"
    )
    restore.add_argument("--plot-reuse", metavar="FILE.png", help="draw drift, refreshes and cuts over time")
