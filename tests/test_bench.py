"""Frame rates that can be compared: every stage, every way to run the network, in one report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import diffir_video as dv
from diffir_video.bench import bench_file, bench_network, write_sample_clip
from diffir_video.cli import main
from diffir_video.media import VideoReader
from tests.network.test_variants import tiny


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mkv"
    write_sample_clip(path, 64, 48, frames=10)
    return path


def test_sample_clip_is_noisy_and_moves(clip: Path) -> None:
    with VideoReader(clip) as reader:
        frames = [frame.data for frame in reader]
    assert [tuple(frame.shape) for frame in frames] == [(3, 48, 64)] * 10
    assert (frames[0] - frames[9]).abs().mean() > 0.02


def test_file_bench_measures_each_stage_and_the_whole(clip: Path) -> None:
    report = bench_file(dv.Restorer.from_pretrained("identity", device="cpu"), clip, repeats=1)
    rates = (report.decode, report.restore, report.encode, report.file_to_file)
    assert min(rates) > 0
    assert report.slowest_stage == min(rates[:3])
    assert report.share_of_slowest == pytest.approx(report.file_to_file / report.slowest_stage)
    assert report.machine.cores >= 1
    assert all(name in report.format() for name in ("decode", "restore", "encode", report.machine.cpu))


def test_network_bench_compares_ways_that_give_the_same_picture() -> None:
    net = dv.DiffIRS2(tiny(past=1, future=1, unshuffle=2)).eval()
    report = bench_network(net, model="tiny", width=64, height=48, batch=2, repeats=1)
    reference, prior, statistics, *half = report.rates
    assert (reference.ratio, reference.psnr) == (1.0, None)
    assert prior.psnr is not None
    assert prior.psnr > 100
    assert statistics.psnr is not None
    assert [rate.path for rate in half] == ["prior, bfloat16", "statistics, bfloat16"]
    assert all(rate.milliseconds > 0 for rate in report.rates)


def test_bench_refuses_what_it_cannot_measure(clip: Path) -> None:
    net = dv.DiffIRS2(tiny()).eval()
    with pytest.raises(dv.UsageError, match="64x49: tiny takes multiples of"):
        bench_network(net, model="tiny", width=64, height=49)
    with pytest.raises(dv.UsageError, match="repeats must be at least 1, got 0"):
        bench_file(dv.Restorer.from_pretrained("identity", device="cpu"), clip, repeats=0)


def test_command_prints_a_table_and_writes_json(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "bench.json"
    command = ["bench", "file", str(clip), "--model", "identity", "--repeats", "1", "--json", str(report)]
    assert main(command) == 0
    assert "file to file" in capsys.readouterr().out
    written = json.loads(report.read_text())
    assert written["file_to_file"] > 0
    assert written["machine"]["cores"] >= 1


def test_command_takes_an_untrained_network_of_a_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "small.yaml"
    config.write_text("{dim: 8, blocks: [1, 1], heads: [1, 2], refinement_blocks: 0, prior_width: 16}")
    assert main(["bench", "network", "--model", str(config), "--size", "32x16", "--repeats", "1"]) == 0
    assert "statistics, bfloat16" in capsys.readouterr().out
    config.write_text("{dimm: 8}")
    assert main(["bench", "network", "--model", str(config), "--size", "32x16"]) == 2
    assert "dimm" in capsys.readouterr().err
