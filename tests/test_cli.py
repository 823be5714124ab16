"""The command line: the contract's commands, exit codes and one-line errors."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
import torch

from diffir_video.checkpoint import load_checkpoint, read_notes, save_checkpoint
from diffir_video.cli import main
from diffir_video.cli.printing import notices
from diffir_video.cli.restoring import BACKENDS, PRECISIONS, REUSE_LEVELS
from diffir_video.errors import OutputError
from diffir_video.inference.backends import Backend
from diffir_video.media import probe_media
from diffir_video.precision import Precision
from diffir_video.prior import ReuseLevel
from diffir_video.zoo import find_weights
from tests.media_samples import decoded_bytes, sample, video_pts


def restore(source: object, output: object, *options: str) -> int:
    return main(["restore", str(source), str(output), "--model", "identity", *options])


def test_restore_writes_the_file_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        restore(sample("bframes.mp4"), tmp_path / "out.mkv", "--report", str(tmp_path / "report.json")) == 0
    )
    printed = capsys.readouterr()
    assert "50 frames of 160x96" in printed.out
    assert printed.err == ""
    assert video_pts(tmp_path / "out.mkv") == video_pts(sample("bframes.mp4"))
    assert json.loads((tmp_path / "report.json").read_text())["complete"] is True


@pytest.mark.parametrize(
    "option",
    [["--start", "1/0"], ["--end", "1:x"], ["--sample", "1/0s"], ["--start", "1:2:3:4"], ["--end", "1:-5"]],
)
def test_a_time_that_is_none_is_one_clear_error(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert restore(sample("bframes.mp4"), tmp_path / "out.mkv", *option) == 2
    assert "expected [hours:][minutes:]seconds, got '1" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["a file", "a sample", "pictures", "a folder"])
def test_a_rate_is_for_pictures_alone(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(sample("upright.mp4"), tmp_path / "in" / "a.mp4")
    source = tmp_path / "in" if kind == "a folder" else tmp_path / "in" / "a.mp4"
    output = {"pictures": "%d.png", "a folder": "out"}.get(kind, "out.mkv")
    sampled = ["--sample", "1s"] if kind == "a sample" else []
    assert restore(source, tmp_path / output, "--rate", "24", *sampled) == 2
    assert "timestamps of" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["in"]


def test_encoder_and_its_options_are_passed_on(tmp_path: Path) -> None:
    options = ["--encoder", "libx265", "--encoder-option", "preset=ultrafast", "--encoder-option", "crf=40"]
    assert restore(sample("upright.mp4"), tmp_path / "out.mkv", *options) == 0
    assert decoded_bytes(tmp_path / "out.mkv", "gray")


def test_reuse_is_reported_and_plotted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot, report = tmp_path / "reuse.png", tmp_path / "report.json"
    options = [
        "--reuse",
        "prior",
        "--max-prior-age",
        "3",
        "--prior-smoothing",
        "0.2",
        "--plot-reuse",
        str(plot),
    ]
    command = ["restore", str(sample("upright.mp4")), str(tmp_path / "out.mkv"), *options]
    assert main([*command, "--device", "cpu", "--report", str(report)]) == 0
    printed = capsys.readouterr().out
    assert "reuse prior: 2 priors for 5 frames (1 first, 1 age); 3 held" in printed
    chosen = json.loads(report.read_text())["model"]
    assert (chosen["precision"], chosen["backend"]) in product(("fp32", "bf16"), ("eager", "compile"))
    assert f"device cpu, precision {chosen['precision']}, backend {chosen['backend']}" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")
    reuse = json.loads(report.read_text())["run"]["reuse"]
    assert (reuse["frames"], reuse["refreshes"]) == (5, {"first": 1, "age": 1})
    assert [decision["reuse"] for decision in reuse["decisions"]] == ["new", "held", "held", "new", "held"]


def test_decisions_are_in_the_report_only_on_request(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = ["restore", str(sample("upright.mp4")), str(tmp_path / "out.mkv"), "--report", str(report)]
    assert main([*command, "--reuse", "statistics", "--refresh", "2"]) == 0
    reuse = json.loads(report.read_text())["run"]["reuse"]
    assert (reuse["level"], reuse["refreshes"], reuse["decisions"]) == (
        "statistics",
        {"first": 1, "age": 2},
        None,
    )
    assert main([*command, "--overwrite", "--report-decisions"]) == 0
    reuse = json.loads(report.read_text())["run"]["reuse"]
    assert [decision["reason"] for decision in reuse["decisions"]] == ["first", "off", "off", "off", "off"]


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert restore(sample("bframes.mp4"), tmp_path / "out.mp4", "--dry-run") == 0
    assert "50 frames of 160x96" in capsys.readouterr().out
    assert os.listdir(tmp_path) == []


def test_a_dry_run_names_what_it_leaves_for_the_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert restore(sample("bframes.mp4"), tmp_path / "out.mp4", "--dry-run", "--verify", "--restart") == 0
    assert "for the job itself: --verify, --restart" in capsys.readouterr().out


def test_a_dry_run_may_report(tmp_path: Path) -> None:
    report = tmp_path / "plan.json"
    command = ["--dry-run", "--report", str(report)]
    assert restore(sample("bframes.mp4"), tmp_path / "out.mp4", *command) == 0
    assert json.loads(report.read_text())["frames"] == 50


def test_a_command_killed_as_it_cleaned_up_is_ended_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("diffir_video.job.work_folder.WorkFolder.remove", lambda _: None)
        assert restore(sample("bframes.mp4"), tmp_path / "out.mp4") == 0
    assert len(os.listdir(tmp_path)) == 2
    assert restore(sample("bframes.mp4"), tmp_path / "out.mp4") == 0
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert restore(sample("bframes.mp4"), tmp_path / "out.mp4") == 4


def test_verify_shows_what_was_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert restore(sample("upright.mp4"), tmp_path / "out.mp4", "--verify") == 0
    assert "decoded frames" in capsys.readouterr().out


@pytest.mark.parametrize(("preset", "codec"), [("archive", "ffv1"), ("web", "h264"), ("fast", "h264")])
def test_a_preset_chooses_the_encoder(preset: str, codec: str, tmp_path: Path) -> None:
    assert restore(sample("upright.mp4"), tmp_path / "out.mkv", "--preset", preset, "--strength", "0.5") == 0
    assert probe_media(tmp_path / "out.mkv").codec == codec


def test_a_cut_input_is_restored_with_exit_code_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert restore(sample("cut_bframes.mp4"), tmp_path / "out.mp4") == 5
    assert "restored with losses" in capsys.readouterr().err
    assert video_pts(tmp_path / "out.mp4")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["restore", "good.mp4", "nowhere/out.mp4"], 4, "no folder"),
        (["restore", "good.mp4", "good.mp4", "--overwrite"], 4, "is the input"),
        (["restore", "good.mp4", "link.mp4", "--overwrite"], 4, "is the input"),
        (["restore", "good.mp4", "old.mp4"], 4, "exists"),
        (["restore", "good.mp4", "out.xyz"], 4, "no container"),
        (["restore", "good.mp4", "out.mp4", "--encoder", "nonsense"], 4, "no encoder"),
        (["restore", "good.mp4", "out.mp4", "--encoder-option", "nonsense=1"], 4, "no option nonsense"),
        (["restore", "good.mp4", "out.mp4", "--report", "nowhere/report.json"], 4, "no folder"),
        (["restore", "good.mp4", "out.mp4", "--model", "no-such-model"], 2, "no-such-model"),
        (["restore", "good.mp4", "out.mp4", "--model", "evil.pth"], 3, "evil.pth"),
        (["restore", "good.mp4", "out.mp4", "--model", "missing.pth"], 3, "missing.pth"),
        (["restore", "good.mp4", "out.mp4", "--encoder-option", "crf"], 2, "expected k=v"),
        (["restore", "good.mp4", "out.mp4", "--strength", "2"], 2, "strength must be"),
        (["restore", "good.mp4", "out.mp4", "--preset", "web", "--encoder", "ffv1"], 2, "give one"),
        (["restore", "good.mp4", "out.mp4", "--segment-frames", "0"], 2, "segment_frames"),
        (["restore", "good.mp4", "out.mp4", "--device", "tpu"], 2, "expected auto, cpu, cuda"),
        (["restore", "good.mp4", "out.mp4", "--max-prior-age", "0"], 2, "max prior age 0"),
        (["restore", "good.mp4", "out.mp4", "--prior-smoothing", "1"], 2, "prior smoothing 1.0"),
        (["restore", "good.mp4", "out.mp4", "--refresh", "often"], 2, "expected auto or a whole number"),
        (["restore", "good.mp4", "out.mp4", "--refresh", "9", "--max-prior-age", "9"], 2, "drop either"),
        (["restore", "good.mp4", "out.mp4", "--plot-reuse", "nowhere/plot.png"], 4, "no folder"),
        (["restore", "good.mp4", "out.mp4", "--plot-reuse", "plot.png"], 2, "no priors to plot"),
        (["restore", "good.mp4"], 2, "OUT"),
        (["nonsense"], 2, "invalid choice"),
        ([], 2, "COMMAND"),
        (["info", "text.mp4"], 3, "no such format"),
        (["info", "evil.pth"], 3, "evil.pth"),
        (["convert", "evil.pth", "out.safetensors"], 3, "evil.pth"),
        (["convert", "missing.pth", "out.safetensors"], 3, "missing.pth"),
        (["convert", "text.mp4", "out.safetensors"], 3, "neither a .safetensors file nor one by torch.save"),
        (["convert", "identity", "out.safetensors"], 2, "no weights"),
        (["convert", "denoise-nano", "out.pth"], 2, "use .safetensors"),
        (["convert", "denoise-nano", f"{'n' * 300}.safetensors"], 4, "name too long"),
        (["restore", "good.mp4", ""], 4, "names no file"),
        (["restore", "good.mp4", "."], 4, "names no file"),
        (["restore", "good.mp4", "out.mp4", "--report", "good.mp4"], 4, "is the input"),
        (["restore", "good.mp4", "out.mp4", "--report", "link.mp4"], 4, "is the input"),
        (["restore", "good.mp4", "out.mp4", "--report", "./out.mp4"], 4, "is the output"),
        (["restore", "good.mp4", "out.mp4", "--report", "folder"], 4, "it is a folder"),
        (
            ["restore", "good.mp4", "out.mp4", "--report", "x.png", "--plot-reuse", "x.png"],
            4,
            "--report writes",
        ),
        (["restore", "good.mp4", "out.mp4", "--plot-reuse", "plot.xyz"], 4, "no picture of this kind"),
        (["restore", "folder", "made", "--report", "folder/a.mp4"], 4, "is the input"),
        (["restore", "folder", "made", "--report", "old.mp4", "--model", "old.mp4"], 4, "is the model"),
        (["compare", "good.mp4", "link.mp4", "--json", "good.mp4"], 4, "is compared"),
        (["compare", "good.mp4", "link.mp4", "--picture", "link.mp4"], 4, "no picture of this kind"),
        (["compare", "good.mp4", "link.mp4", "--picture", "plot.xyz"], 4, "no picture of this kind"),
        (["bench", "good.mp4", "--json", "good.mp4"], 4, "is the clip"),
        (["bench", "good.mp4", "--chart", "x.png", "--json", "x.png"], 4, "--json writes"),
        (["bench", "--model", "denoise-nano", "--model", "identity"], 2, "one model at a time"),
        (["restore", "good.mp4", "out.mp4", "--refresh", "9"], 2, "--refresh is about"),
        (["restore", "good.mp4", "out.mp4", "--refresh-threshold", "1"], 2, "--refresh-threshold is about"),
        (["restore", "good.mp4", "out.mp4", "--prior-smoothing", "0.5"], 2, "--prior-smoothing is about"),
        (
            ["restore", "good.mp4", "out.mp4", "--reuse", "off", "--max-prior-age", "9"],
            2,
            "--max-prior-age is",
        ),
        (["restore", "good.mp4", "out%d.png", "--encoder", "ffv1"], 2, "--encoder is for a video"),
        (["restore", "good.mp4", "out%d.png", "--encoder-option", "crf=1"], 2, "--encoder-option is for"),
        (["restore", "good.mp4", "-", "--preset", "web"], 2, "--preset is for a video"),
        (["restore", "good.mp4", "-", "--segment-frames", "9"], 2, "--segment-frames needs a file"),
        (["restore", "good.mp4", "out%d.png", "--report-decisions"], 2, "--report-decisions needs a file"),
        (["restore", "good.mp4", "out.mp4", "--report-decisions"], 2, "give --report"),
        (["restore", "a.png", "b.png", "--isolate"], 2, "--isolate is for a video"),
        (["restore", ".", "out", "--sample", "2s"], 2, "'.' is a folder, give a video in it"),
        (["restore", "good.mp4", "o%d.png", "--sample", "2s"], 2, "'o%d.png' is pictures, give a name such"),
        (["restore", "good.mp4", "-", "--sample", "2s"], 2, "--sample needs a file as input and output"),
        (["restore", "good.mp4", "o.mp4", "--sample", "2s", "--verify"], 2, "drop it or --sample"),
        (["compare", "missing.mp4", "good.mp4"], 3, "missing.mp4"),
    ],
)
def test_what_goes_wrong_has_its_code_and_one_clear_line(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    lay_out_bad_inputs(tmp_path)
    if arguments[:1] == ["restore"] and "--model" not in arguments:
        arguments = [*arguments, "--model", "identity"]
    before = sorted(os.listdir(tmp_path))
    assert main(arguments) == code
    *usage, line = capsys.readouterr().err.splitlines()
    assert message in line
    assert not usage or code == 2
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "old.mp4").read_text() == "precious"


def test_debug_shows_the_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert restore(tmp_path / "missing.mp4", tmp_path / "out.mp4", "--debug") == 3
    assert "Traceback" in capsys.readouterr().err


def test_an_unforeseen_error_is_one_line_and_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr("diffir_video.job.restore_file", fail)
    assert restore(sample("upright.mp4"), tmp_path / "out.mp4") == 1
    assert capsys.readouterr().err.splitlines() == [
        "diffir-video: ZeroDivisionError: nobody thought of this (run again with --debug for the trace)"
    ]


def test_an_interrupt_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("diffir_video.media.SegmentWriter.write", interrupt)
    assert restore(sample("upright.mp4"), tmp_path / "out.mp4") == 130
    assert "interrupted; what is finished is kept" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_an_interrupted_command_that_cannot_go_on_does_not_say_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("diffir_video.compare.compare_files", interrupt)
    assert main(["compare", str(sample("upright.mp4")), str(sample("upright.mp4"))]) == 130
    assert capsys.readouterr().err == "diffir-video: interrupted\n"


@pytest.fixture
def signals_of_the_tests() -> Iterator[None]:
    """What a command that has the process for itself leaves ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_of_the_tests")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, 1)]
)
def test_a_worker_s_end_by_a_signal_is_the_command_s(
    number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("diffir_video.cli.command_line.Supervisor.start_worker", lambda _: -number)
    monkeypatch.setattr(sys, "argv", ["diffir-video", "restore", "in.mp4", "out.mp4"])
    assert main() == code
    assert f"the worker was ended by {number.name}" in capsys.readouterr().err


def test_the_identity_shares_nothing_and_says_nothing_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert restore(sample("upright.mp4"), tmp_path / "out.mkv", "--reuse", "prior") == 0
    assert "reuse" not in capsys.readouterr().out


def test_convert_takes_a_built_in_model_and_keeps_its_notes(tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    save_checkpoint(load_checkpoint(find_weights("denoise-live")), first, notes={"step": "9", "by": "us"})
    assert main(["convert", str(first), str(second)]) == 0
    assert read_notes(second) == {"step": "9", "by": "us"}
    assert main(["convert", "denoise-live", str(second), "--overwrite"]) == 0
    assert read_notes(second) == read_notes(find_weights("denoise-live"))


def test_compare_shows_its_figures_before_it_fails_to_draw_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OutputError("no room")

    monkeypatch.setattr("diffir_video.compare.draw_comparison", fail)
    reference, other = str(sample("bframes.mp4")), str(sample("index_at_end.mp4"))
    assert main(["compare", reference, other, "--picture", str(tmp_path / "picture.png")]) == 4
    assert "PSNR" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["-y.mp4", "concat:a.mp4"])
def test_names_are_taken_literally(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_bytes(sample("upright.mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert main(["restore", "--model", "identity", "--", name, "file:out.mp4"]) == 0
    assert sorted(os.listdir(tmp_path)) == sorted([name, "file:out.mp4"])


def test_models_lists_the_identity(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "identity" in capsys.readouterr().out


def test_models_says_in_a_whole_sentence_what_each_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.endswith(".") for line in lines)


def test_info_tells_what_a_media_file_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(sample("everything.mkv"))]) == 0
    printed = capsys.readouterr().out
    assert "h264 160x96 yuv420p" in printed
    assert "track 2     audio ac3 deu Kommentar" in " ".join(printed.splitlines())


def test_info_tells_how_a_track_of_mp4_is_called(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert restore(sample("everything.mkv"), tmp_path / "out.mp4") == 0
    assert main(["info", str(tmp_path / "out.mp4")]) == 0
    assert "audio ac3 deu Kommentar" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rotated.mp4", "picture 96x160 upright"),
        ("interlaced.ts", "scan interlaced"),
        ("hdr10.mp4", "matrix bt2020nc, primaries bt2020, transfer smpte2084, range limited"),
        ("packed_rgb.mkv", "colour matrix gbr, range full; primaries, transfer unspecified"),
        ("upright.mp4", "colour unspecified"),
        ("hdr10.mp4", "HDR graded on 0.0001 to 1000 cd/m², MaxCLL 1000, MaxFALL 400 cd/m²"),
    ],
)
def test_info_tells_how_a_picture_is_meant(
    capsys: pytest.CaptureFixture[str], name: str, expected: str
) -> None:
    assert main(["info", str(sample(name))]) == 0
    assert expected in "\n".join(" ".join(line.split()) for line in capsys.readouterr().out.splitlines())


def test_info_tells_of_the_model_without_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "identity"]) == 0
    assert "No network" in capsys.readouterr().out


def test_info_tells_what_a_built_in_model_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "denoise-live"]) == 0
    assert "DIRformer   3.5 kMAC per input pixel" in capsys.readouterr().out


def test_compare_measures_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    json_file = tmp_path / "figures.json"
    reference, other = str(sample("bframes.mp4")), str(sample("index_at_end.mp4"))
    assert main(["compare", reference, other, "--json", str(json_file)]) == 0
    assert "PSNR" in capsys.readouterr().out
    assert json.loads(json_file.read_text())


def test_the_module_runs_as_a_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "diffir_video.cli", "restore", "--model", "identity"]
    command += [str(tmp_path / "missing.mp4"), str(tmp_path / "out.mp4")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 3
    assert len(finished.stderr.splitlines()) == 1


def test_a_command_starts_without_what_only_compiling_needs() -> None:
    """torch's tracer alone takes as long to import as the rest of torch."""
    imported = "import sys, diffir_video.cli; print('torch._dynamo' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", imported], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "False"


class Evil:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("pwned",)


def lay_out_bad_inputs(folder: Path) -> None:
    (folder / "good.mp4").write_bytes(sample("upright.mp4").read_bytes())
    (folder / "link.mp4").symlink_to("good.mp4")
    (folder / "text.mp4").write_text("not a video\n" * 50)
    (folder / "old.mp4").write_text("precious")
    (folder / "folder").mkdir()
    (folder / "folder" / "a.mp4").write_bytes(sample("upright.mp4").read_bytes())
    (folder / "a.png").write_text("not a picture\n")
    torch.save({"params": Evil()}, folder / "evil.pth", pickle_module=pickle)


def test_the_command_line_offers_what_the_restorer_takes() -> None:
    assert get_args(Precision) == PRECISIONS
    assert get_args(ReuseLevel) == REUSE_LEVELS
    assert get_args(Backend) == BACKENDS


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_takes_its_time_is_said_on_a_terminal(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    engine = logging.getLogger("diffir_video.inference.native.library")
    with notices():
        engine.info("compiling the kernels")
        engine.warning("backend eager is used")
    engine.info("compiling the kernels again")
    told = capsys.readouterr().err
    assert told == ("compiling the kernels\nbackend eager is used\n" if is_terminal else "")
