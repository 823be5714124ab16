"""A chain restores with each of its restorers in turn, and stands wherever one of them may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import diffir_video as dv
from diffir_video.cli import main
from diffir_video.frame import StreamInfo
from diffir_video.job import JobOptions
from diffir_video.run_report import Progress
from diffir_video.stages import NoTransfers
from tests.media_samples import decoded_bytes, packets, sample, video_pts
from tests.network.test_variants import tiny
from tests.test_prior import noisy, scene
from tests.test_restorer import clip

HELD = dv.ReusePolicy(level="prior")


def restorer(seed: int = 0, *, reuse: dv.ReusePolicy | None = None, **settings: object) -> dv.Restorer:
    torch.manual_seed(seed)
    net = dv.DiffIRS2(tiny(**settings))
    return dv.Restorer(net, device="cpu", precision="fp32", reuse=reuse or dv.ReusePolicy())


def checkpoint(path: Path, **settings: object) -> str:
    torch.manual_seed(0)
    dv.save_checkpoint(dv.DiffIRS2(tiny(**settings)), path)
    return str(path)


def cleaning_and_enlarging() -> list[dv.Restorer]:
    return [restorer(past=1, future=1), restorer(1, past=2, future=1, scale=2)]


def through(stream: dv.ChainStream, frames: Sequence[dv.Frame], batch: int) -> list[dv.Frame]:
    batches = [frames[at : at + batch] for at in range(0, len(frames), batch)]
    return [frame for each in batches for frame in stream.push(each)] + stream.finish()


def test_a_clip_is_restored_by_one_after_the_other() -> None:
    first, second = cleaning_and_enlarging()
    restored = dv.Chain([first, second]).restore(clip())
    assert restored.data.shape == (6, 3, 42, 68)
    assert restored.pts == clip().pts
    assert torch.equal(restored.data, second.restore(first.restore(clip())).data)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_stream_is_that_of_the_clip_whatever_the_batch(batch: int) -> None:
    chain = dv.Chain(cleaning_and_enlarging())
    stream = chain.open_stream()
    out = dv.Clip.from_frames(through(stream, clip().frames(), batch))
    assert out.pts == clip().pts
    torch.testing.assert_close(out.data, chain.restore(clip()).data, atol=1e-6, rtol=0)
    assert stream.reuse.frames == 2 * len(clip())


def test_nothing_is_rounded_between_them() -> None:
    half = dv.Chain([dv.Restorer.from_pretrained("identity"), dv.Restorer.from_pretrained("identity")])
    assert torch.equal(half.restore(clip()).data, clip().data)


def test_it_reaches_as_far_as_all_of_them() -> None:
    chain = dv.Chain([*cleaning_and_enlarging(), restorer(recurrent=True, past=1)])
    assert chain.scale == 2
    assert chain.window == (4, 2)
    assert chain.reach == (3 + 32, 2)


def test_its_settings_are_those_of_all() -> None:
    first, second = cleaning_and_enlarging()
    settings = dv.Chain([first, second]).settings
    weights = [each.settings["weights"] for each in (first, second)]
    assert settings == {**first.settings, "weights": " + ".join(weights)}
    assert dv.Chain([second, first]).settings != settings
    assert dv.Chain([first, first]).settings != first.settings
    passing = dv.Chain([dv.Restorer.from_pretrained("identity"), restorer(reuse=HELD)])
    assert passing.settings["reuse"] == "off + prior"


def test_a_policy_that_is_given_to_a_stream_is_that_of_all() -> None:
    stream = dv.Chain(cleaning_and_enlarging()).open_stream()
    stream.policy = replace(stream.policy, level="prior", refresh_threshold=float("inf"))
    still = scene(1, height=24, width=32)
    frames = [dv.Frame(noisy(still, 10, number), number, clip().time_base) for number in range(6)]
    through(stream, frames, 2)
    assert stream.reuse.refreshes == {"first": 2}
    assert stream.reuse.held == 2 * 5
    assert stream.latest_decision is not None


@pytest.mark.parametrize(
    ("batches", "expected"), [(("auto", "auto"), None), ((3, "auto"), 3), ((4, 2), 2), (("auto", 5), 5)]
)
def test_a_batch_suits_all_of_them(batches: Sequence[int | str], expected: int | None) -> None:
    def batching(batch: int | str) -> dv.Restorer:
        return dv.Restorer(dv.DiffIRS2(tiny()), device="cpu", batch=batch)  # pyright: ignore[reportArgumentType]

    info = StreamInfo(width=64, height=48, time_base=clip().time_base, pixel_format="yuv420p")
    assert dv.Chain([batching(batch) for batch in batches]).batch_frames(info) == expected


def test_what_makes_no_chain_is_refused() -> None:
    with pytest.raises(dv.UsageError, match="one restorer or more"):
        dv.Chain([])
    with pytest.raises(dv.UsageError, match="'denoise-nano'"):
        dv.Chain(["denoise-nano"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(dv.UsageError, match="in a list, got Restorer"):
        dv.Chain(restorer())  # pyright: ignore[reportArgumentType]


def test_a_chain_in_a_chain_stands_for_its_restorers() -> None:
    first, second = cleaning_and_enlarging()
    assert dv.Chain([dv.Chain([first]), second]).restorers == (first, second)


def test_priors_are_shared_by_one_policy_and_what_has_none_follows() -> None:
    with pytest.raises(dv.UsageError, match="by one policy"):
        dv.Chain([restorer(), restorer(reuse=HELD)])
    chain = dv.Chain([dv.Restorer.from_pretrained("identity"), restorer(reuse=HELD)])
    assert chain.policy == HELD


def test_networks_of_two_devices_are_refused_and_the_identity_has_none() -> None:
    here, there = restorer(), restorer()
    there.device = torch.device("meta")
    with pytest.raises(dv.UsageError, match="on one device, got cpu and meta"):
        dv.Chain([here, there])
    assert dv.Chain([dv.Restorer.from_pretrained("identity"), there]).device.type == "meta"
    here.device, there.device = torch.device("cuda"), torch.device("cuda:0")
    assert dv.Chain([here, there]).device == here.device


def test_frames_are_moved_by_the_first_that_has_them_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    class Transfers:
        def __init__(self, device: torch.device) -> None:
            self.device = device

    restorers = cleaning_and_enlarging()
    monkeypatch.setattr("diffir_video.restorer.CudaTransfers", Transfers)
    for each in restorers:
        each.device = torch.device("cuda:1")
    chain = dv.Chain([dv.Restorer.from_pretrained("identity", device="cpu"), *restorers])
    opened = chain.open_stream().open_transfers()
    assert isinstance(opened, Transfers)
    assert opened.device == torch.device("cuda:1")
    assert isinstance(dv.Chain(cleaning_and_enlarging()).open_stream().open_transfers(), NoTransfers)


def test_less_of_a_chain_is_mixed_with_the_enlarged_original() -> None:
    chain = dv.Chain(cleaning_and_enlarging())
    blended = dv.Blended(chain, 0).open_stream()
    out = [*blended.push(clip().frames()), *blended.finish()]
    small = torch.nn.functional.avg_pool2d(dv.Clip.from_frames(out).data, 2)
    assert (small - clip().data).abs().mean() < 0.1


def test_a_file_in_segments_is_that_of_the_whole(tmp_path: Path) -> None:
    chain = dv.Chain(cleaning_and_enlarging())
    for frames in (10, 50):
        options = JobOptions(encoder="ffv1", segment_frames=frames)
        dv.restore_file(sample("bframes.mp4"), tmp_path / f"{frames}.mkv", restorer=chain, options=options)
    assert video_pts(tmp_path / "10.mkv") == video_pts(sample("bframes.mp4"))
    assert decoded_bytes(tmp_path / "10.mkv") == decoded_bytes(tmp_path / "50.mkv")


def test_a_job_goes_on_where_the_chain_is_the_same(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.frames_done > 25:
            raise StoppedError

    options, output = JobOptions(encoder="ffv1", segment_frames=10), tmp_path / "out.mkv"
    source, first, second = sample("bframes.mp4"), *cleaning_and_enlarging()
    with pytest.raises(StoppedError):
        dv.restore_file(source, output, restorer=dv.Chain([first, second]), options=options, progress=stop)
    with pytest.raises(dv.OutputError, match="model weights"):
        dv.restore_file(source, output, restorer=second, options=options)
    report = dv.restore_file(source, output, restorer=dv.Chain([first, second]), options=options)
    assert report.resumed_segments > 0
    assert video_pts(output) == video_pts(source)


def test_the_command_takes_several_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = [checkpoint(tmp_path / "clean.safetensors"), checkpoint(tmp_path / "large.safetensors", scale=2)]
    options = [word for model in models for word in ("--model", model)]
    output = tmp_path / "out.mkv"
    assert main(["restore", str(sample("bframes.mp4")), str(output), *options]) == 0
    assert "50 frames of 320x192" in capsys.readouterr().out
    sounds = [[bytes(packet) for packet in packets(path)[1]] for path in (output, sample("bframes.mp4"))]
    assert sounds[0] == sounds[1]


@pytest.mark.parametrize("option", ["--plot-reuse", "--report-decisions"])
def test_what_is_about_one_model_s_priors_is_refused(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--plot-reuse", "p.png"] if option == "--plot-reuse" else [option, "--report", "r.json"]
    models = ["--model", "denoise-nano", "--model", "upscale-x2-nano"]
    command = ["restore", str(sample("bframes.mp4")), str(tmp_path / "out.mkv"), *models, "--reuse", "prior"]
    assert main([*command, *more]) == 2
    assert f"{option} is about one model's priors" in capsys.readouterr().err
