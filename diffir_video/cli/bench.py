"""`diffir-video bench`: frames per second on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from diffir_video.cli.encoding import add_encoder_options, encoder_of
from diffir_video.cli.printing import write_json
from diffir_video.cli.restoring import (
    BACKENDS,
    PRECISIONS,
    REUSE_LEVELS,
    add_model_options,
    add_size_options,
    models_of,
)
from diffir_video.cli.side_outputs import check_side_outputs, model_files
from diffir_video.cli.values import auto_or_count, size
from diffir_video.errors import UsageError


def add_bench(commands: Any, shared: argparse.ArgumentParser) -> None:
    bench = commands.add_parser(
        "bench",
        parents=[shared],
        help="measure frames per second on this machine",
        description="The network as trained, the restorer, decode, encode, and file to file, side by side. "
        "Where an option takes several values, every combination is measured.",
    )
    bench.add_argument("clip", metavar="FILE", nargs="?", help="default: a made-up noisy clip of each size")
    add_model_options(bench)
    sizes: dict[str, Any] = {"type": size, "nargs": "+", "metavar": "WxH"}
    bench.add_argument("--size", **sizes, help="of the made-up clip; default: 640x360")
    bench.add_argument("--frames", type=int, default=48, metavar="N", help="default: %(default)s")
    bench.add_argument("--repeats", type=int, default=3, metavar="N", help="rounds; default: %(default)s")
    bench.add_argument("--precision", nargs="+", default=["auto"], choices=PRECISIONS)
    bench.add_argument("--reuse", nargs="+", default=list(REUSE_LEVELS), choices=REUSE_LEVELS)
    bench.add_argument("--refresh", default="auto", type=auto_or_count, metavar="auto|N")
    bench.add_argument("--backend", nargs="+", default=["auto"], choices=BACKENDS)
    add_size_options(bench)
    add_encoder_options(bench)
    bench.add_argument("--json", metavar="FILE", help="write the figures, the machine and the versions")
    bench.add_argument("--chart", metavar="FILE.png", help="draw the figures")
    bench.set_defaults(command=_bench)


def _bench(arguments: argparse.Namespace) -> int:
    from diffir_video.bench import BenchPlan, bench
    from diffir_video.bench_chart import draw_bench

    model, *others = models_of(arguments)
    if others:
        raise UsageError(f"bench measures one model at a time, got {model} and {others[0]}")
    clip = [] if arguments.clip is None else [("the clip", arguments.clip)]
    check_side_outputs(
        texts={"--json": arguments.json},
        pictures={"--chart": arguments.chart},
        others=[*clip, *model_files([model])],
    )
    if arguments.clip is not None and arguments.size is not None:
        raise UsageError(f"{arguments.clip!r} has a size of its own; --size is for made-up clips")
    encoder, encoder_options = encoder_of(arguments)
    plan = BenchPlan(
        model=model,
        sizes=tuple(arguments.size or [(640, 360)]),
        clip=None if arguments.clip is None else Path(arguments.clip),
        frames=arguments.frames,
        repeats=arguments.repeats,
        device=arguments.device,
        precisions=tuple(arguments.precision),
        reuses=tuple(arguments.reuse),
        backends=tuple(arguments.backend),
        refresh=arguments.refresh,
        tile=arguments.tile,
        batch=arguments.batch,
        encoder=encoder,
        encoder_options=encoder_options,
    )
    report = bench(plan)
    print(report.format())
    if arguments.json is not None:
        write_json(report.to_dict(), arguments.json)
    if arguments.chart is not None:
        draw_bench(report, arguments.chart)
    return 0
