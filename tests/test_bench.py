"""Frame rates that can be compared: every stage, every way to run the network, in one report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import diffir_video as dv
from diffir_video.bench import BenchPlan, bench
from diffir_video.bench_material import load_network, write_sample_clip
from diffir_video.cli import main
from diffir_video.frame import Frame
from diffir_video.media import VideoReader, VideoWriter
from diffir_video.pipeline import run
from diffir_video.reference import ReferenceRestorer
from diffir_video.stages import NullSink
from tests.network.test_variants import tiny

ROW = {
    "model",
    "width",
    "height",
    "device",
    "precision",
    "reuse",
    "backend",
    "stage",
    "fps",
    "peak_memory_bytes",
    "psnr_vs_reference",
    "overlap_efficiency",
    "processors_busy",
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text("{dim: 16, blocks: [1, 1], heads: [1, 2], refinement_blocks: 0, prior_width: 16}")
    return path


def test_sample_clip_is_noisy_and_moves(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    write_sample_clip(clip, 64, 48, frames=10)
    with VideoReader(clip) as reader:
        frames = [frame.data for frame in reader]
    assert [tuple(frame.shape) for frame in frames] == [(3, 48, 64)] * 10
    assert (frames[0] - frames[9]).abs().mean() > 0.02


def test_what_is_encoded_alone_are_restored_frames(
    config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Noisy ones take an encoder several times as long, and a file job never encodes them."""
    encoded: list[torch.Tensor] = []

    class Recorder(VideoWriter):
        def write(self, frame: Frame) -> None:
            encoded.append(frame.data)
            super().write(frame)

    monkeypatch.setattr("diffir_video.bench.VideoWriter", Recorder)
    clip = tmp_path / "clip.mkv"
    write_sample_clip(clip, 48, 32, frames=3)
    bench(BenchPlan(model=str(config), clip=clip, frames=3, repeats=1, device="cpu"))
    kept = Kept()
    with VideoReader(clip) as reader:
        run(reader, dv.Restorer(load_network(str(config)), device="cpu"), kept)
    assert len(encoded) == 2 * 3
    assert all(torch.equal(ours, frame) for ours, frame in zip(encoded, 2 * kept.frames, strict=True))


class Kept(NullSink):
    def __init__(self) -> None:
        super().__init__()
        self.frames: list[torch.Tensor] = []

    def write(self, frame: Frame) -> None:
        self.frames.append(frame.data)


def test_bench_measures_every_stage_of_every_combination(config: Path) -> None:
    plan = BenchPlan(
        model=str(config),
        sizes=((48, 32), (33, 17)),
        frames=3,
        repeats=1,
        device="cpu",
        precisions=("fp32", "bf16"),
        reuses=("off", "statistics"),
        backends=("eager",),
    )
    report = bench(plan)
    assert len(report.rows) == 2 * (3 + 2 * 2 * 2)
    assert all(row.fps > 0 for row in report.rows)
    models, wholes = ([row for row in report.rows if row.stage == stage] for stage in ("model", "end_to_end"))
    # Odd sizes are padded; half precision is close, float32 with a prior of each frame is the reference.
    own = [row.psnr_vs_reference for row in models if row.reuse == "off"]
    held = [row.psnr_vs_reference for row in models if row.reuse == "statistics"]
    assert all(psnr is None or psnr > 40 for psnr in own)
    assert all(psnr is None or psnr > 20 for psnr in held)
    exact = [row for row in models if (row.precision, row.reuse) == ("fp32", "off")]
    assert len(exact) == 2
    assert all(row.psnr_vs_reference is None or row.psnr_vs_reference > 100 for row in exact)
    assert all((row.overlap_efficiency or 0) > 0 for row in wholes)
    assert all(0 < (row.processors_busy or 0) <= 1.1 for row in wholes)
    assert report.machine.cores >= 1
    assert report.versions["torch"] == torch.__version__
    assert report.machine.cpu in report.format()
    assert [(row.precision, row.reuse, row.width) for row in report.floors] == [
        (row.precision, row.reuse, row.width) for row in models
    ]
    assert all(0 < floor.reached < 1 for floor in report.floors)


@pytest.mark.parametrize("window", [{"past": 1, "future": 1}, {"past": 1, "recurrent": True}])
def test_the_reference_is_the_network_itself(window: dict[str, int], tmp_path: Path) -> None:
    """One prior for each frame, windows that repeat the shot's ends, odd sizes padded and cut back."""
    torch.manual_seed(0)
    net = dv.DiffIRS2(tiny(**window)).eval()
    clip = tmp_path / "clip.mkv"
    write_sample_clip(clip, 30, 22, frames=4)
    reference = ReferenceRestorer(net, device="cpu", seed=3)
    restored: list[torch.Tensor] = []

    class Kept(NullSink):
        def write(self, frame: dv.Frame) -> None:
            restored.append(frame.data)

    run(VideoReader(clip), reference, Kept())
    expected = dv.Restorer(net, device="cpu", precision="fp32", seed=3, backend="eager")
    frames = [*VideoReader(clip)]
    stream = expected.open_stream()
    others = [frame.data for frame in (*stream.push(frames), *stream.finish())]
    torch.testing.assert_close(torch.stack(restored), torch.stack(others), atol=1e-5, rtol=0)


def test_an_untrained_network_adds_what_a_trained_one_does(tmp_path: Path, config: Path) -> None:
    """So that a decibel means what it means there."""
    restorer = dv.Restorer(load_network(str(config)), device="cpu", precision="fp32", backend="eager")
    clip = tmp_path / "clip.mkv"
    write_sample_clip(clip, 96, 64, frames=2)
    noisy = dv.Clip.from_frames([*VideoReader(clip)])
    added = restorer.restore(noisy).data - noisy.data
    assert 0.03 < float(added.square().mean().sqrt()) < 0.3


@pytest.mark.parametrize("name", ["deblur", "sr-x4"])
def test_an_untrained_networks_prior_is_of_a_trained_ones_size(name: str, tmp_path: Path) -> None:
    """As initialised it is a hundred times as large, and enlarges rounding errors as no trained one does."""
    sizes: dict[str, float] = {}
    clip = tmp_path / "clip.mkv"
    write_sample_clip(clip, 64, 64, frames=1)
    frame = next(iter(VideoReader(clip))).data[None]
    for model in (f"configs/models/{name}.yaml", "denoise-nano"):
        net = load_network(model)
        noise = torch.randn(1, net.config.prior_width, generator=torch.Generator().manual_seed(3))
        with torch.inference_mode():
            prior = net.estimate_prior(frame.repeat(1, net.config.frames, 1, 1), noise)
        sizes[model] = float(prior.square().mean().sqrt())
    untrained, trained = sizes.values()
    assert trained / 2 < untrained < 5 * trained


def test_bench_refuses_what_it_cannot_measure() -> None:
    with pytest.raises(dv.UsageError, match="repeats must be at least 1, got 0"):
        BenchPlan(model="denoise-nano", repeats=0)
    with pytest.raises(dv.UsageError, match="frames must be at least 1, got 0"):
        BenchPlan(model="denoise-nano", frames=0)
    with pytest.raises(dv.UsageError, match="has a size of its own"):
        BenchPlan(model="denoise-nano", clip=Path("a.mkv"), sizes=((32, 16), (64, 32)))


def test_a_file_has_its_own_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "a.mkv", "--size", "32x16"]) == 2
    assert "'a.mkv' has a size of its own" in capsys.readouterr().err


def test_command_prints_a_table_and_writes_json_and_a_chart(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, chart = tmp_path / "bench.json", tmp_path / "bench.png"
    command = ["bench", "--model", str(config), "--size", "32x16", "--frames", "3", "--repeats", "1"]
    command += ["--reuse", "prior", "--device", "cpu", "--backend", "eager"]
    assert main([*command, "--json", str(report), "--chart", str(chart)]) == 0
    assert "end_to_end" in capsys.readouterr().out
    written = json.loads(report.read_text())
    assert written["machine"]["cores"] >= 1
    assert {"rows", "floors", "versions", "commit"} <= written.keys()
    assert [row["stage"] for row in written["rows"]] == [
        "reference",
        "decode",
        "encode",
        "model",
        "end_to_end",
    ]
    assert all(row.keys() == ROW for row in written["rows"])
    assert Image.open(chart).width > 1000


def test_command_names_what_is_wrong_with_a_config(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("{dimm: 8}")
    assert main(["bench", "--model", str(config), "--size", "32x16"]) == 2
    assert "dimm" in capsys.readouterr().err
