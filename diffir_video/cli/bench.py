"""`diffir-video bench`: frames per second on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from diffir_video.cli.encoding import add_encoder_options, encoder_of
from diffir_video.cli.printing import check_folder, write_json
from diffir_video.cli.restoring import add_model_options, add_restorer_options, restorer_of
from diffir_video.cli.values import size

if TYPE_CHECKING:
    from diffir_video.bench import FileBench, NetworkBench


def add_bench(commands: Any, shared: argparse.ArgumentParser) -> None:
    bench = commands.add_parser("bench", help="measure frames per second on this machine")
    kinds = bench.add_subparsers(required=True, metavar="KIND")

    file = kinds.add_parser("file", parents=[shared], help="file to file, and each stage alone")
    file.add_argument("file", metavar="FILE", nargs="?", help="default: a made-up noisy clip")
    file.add_argument(
        "--frames", type=int, default=120, metavar="N", help="of the made-up clip; default: 120"
    )
    add_encoder_options(file)
    add_restorer_options(file)
    file.set_defaults(command=_bench_file)

    network = kinds.add_parser("network", parents=[shared], help="the network alone, in all its ways")
    network.add_argument("--batch", type=int, default=4, metavar="N", help="frames at once; default: 4")
    add_model_options(network)
    network.set_defaults(command=_bench_network)

    for kind in (file, network):
        kind.add_argument("--size", type=size, default=(640, 360), metavar="WxH", help="default: 640x360")
        kind.add_argument("--repeats", type=int, default=3, metavar="N", help="rounds; default: %(default)s")
        kind.add_argument("--json", metavar="FILE", help="write the figures and the machine")


def _bench_file(arguments: argparse.Namespace) -> int:
    from diffir_video.bench import bench_file, write_sample_clip

    check_folder(arguments.json)
    restorer = restorer_of(arguments)
    encoder, encoder_options = encoder_of(arguments)
    with TemporaryDirectory(prefix="diffir-bench-") as folder:
        clip = Path(arguments.file or Path(folder) / "sample.mkv")
        if arguments.file is None:
            write_sample_clip(clip, *arguments.size, frames=arguments.frames)
        report = bench_file(
            restorer, clip, repeats=arguments.repeats, encoder=encoder, encoder_options=encoder_options
        )
    return _print_bench(report, arguments.json)


def _bench_network(arguments: argparse.Namespace) -> int:
    from diffir_video.bench import bench_network, load_network

    check_folder(arguments.json)
    net = load_network(arguments.model, arguments.device)
    width, height = arguments.size
    report = bench_network(
        net,
        model=Path(arguments.model).stem,
        width=width,
        height=height,
        batch=arguments.batch,
        repeats=arguments.repeats,
    )
    return _print_bench(report, arguments.json)


def _print_bench(report: FileBench | NetworkBench, json_path: str | None) -> int:
    print(report.format())
    if json_path is not None:
        write_json(report.to_dict(), json_path)
    return 0
