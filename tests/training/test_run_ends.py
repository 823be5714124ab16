"""How runs end: stopped between two steps, blown up, without room on the disk, finished already."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import diffir_video as dv
from tests.training.conftest import Recipe
from training.cli import main
from training.config import SourceConfig, TrainConfig
from training.data.fetch import fetch
from training.data.frames import Footage, load_source
from training.gan import train_gan
from training.run_folder import RunFolder
from training.schedule import learning_rate
from training.stage1 import train_stage1
from training.stage2 import train_stage2
from training.trainer import DivergenceError


def state(run: Path) -> dict[str, object]:
    return torch.load(run / "checkpoints" / "state.pt", weights_only=True)


@contextmanager
def files_no_larger_than(size: int) -> Generator[None]:
    """A disk that is full, for files of more than `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_signal_saves_between_two_steps(
    recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    code: int,
    word: str,
) -> None:
    """Long before the first checkpoint is due; what goes on from it ends as if nothing had happened.

    A terminal and a batch system signal all processes: those that read the material too.
    """

    def signalled(step: int, config: TrainConfig) -> float:
        if step == 1:
            readers = multiprocessing.active_children()
            assert readers
            # From elsewhere: torch lets a reader end in peace where its own run tells it to.
            subprocess.run(["kill", f"-{number:d}", *(str(reader.pid) for reader in readers)], check=True)
            # As long as a reader would take to die of it, and torch to notice.
            time.sleep(0.3)
            signal.raise_signal(number)
        return learning_rate(step, config)

    recipe.config()
    command = ["stage1", "--config", str(recipe.folder / "recipe.yaml"), "--set", "checkpoint_every=100"]
    command += ["--set", "data.workers=1"]
    with monkeypatch.context() as patch:
        patch.setattr("training.stage1.learning_rate", signalled)
        assert main(command) == code
    said = capsys.readouterr().err
    assert said == f"diffir-train: {word} after step 2; --resume goes on from its last checkpoint\n"
    assert state(recipe.folder / "run")["step"] == 2
    assert main([*command, "--resume"]) == 0
    whole = train_stage1(recipe.config(f"output={recipe.folder / 'whole'}")).net.state_dict()
    resumed = state(recipe.folder / "run")["net"]
    assert isinstance(resumed, dict)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


def test_interrupt_before_the_first_step_says_that_nothing_is_kept(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(config: TrainConfig) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("training.trainer.validation_samples", interrupted)
    recipe.config()
    assert main(["stage1", "--config", str(recipe.folder / "recipe.yaml")]) == 130
    assert "interrupted; no checkpoint is written yet, so it has to start again" in capsys.readouterr().err


def test_interrupt_while_material_is_opened_does_not_wait_for_a_step(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Decoding and encoding may take hours, and what is made of it is kept."""

    def interrupted(source: SourceConfig, cache: Path) -> list[Footage]:
        signal.raise_signal(signal.SIGINT)
        return load_source(source, cache)

    recipe.config()
    monkeypatch.setattr("training.data.windows.load_source", interrupted)
    assert main(["stage1", "--config", str(recipe.folder / "recipe.yaml")]) == 130
    said = capsys.readouterr().err
    assert said == "diffir-train: interrupted; no checkpoint is written yet, so it has to start again\n"


def test_divergence_before_the_first_checkpoint_does_not_speak_of_one(recipe: Recipe) -> None:
    with pytest.raises(DivergenceError, match="no checkpoint is written yet"):
        train_stage1(recipe.config("learning_rate=1e30", "checkpoint_every=0"))
    with pytest.raises(DivergenceError, match="--resume goes on from its last checkpoint"):
        train_stage1(recipe.config("learning_rate=1e30", "checkpoint_every=1"))


def test_settings_of_0_log_and_save_at_the_end_only(recipe: Recipe) -> None:
    train_stage1(recipe.config("log_every=0", "checkpoint_every=0", "validate_every=0"))
    rows = (recipe.folder / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [4]
    assert state(recipe.folder / "run")["step"] == 4


def test_output_folder_that_cannot_be_made_is_exit_code_4(
    recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    (recipe.folder / "file").touch()
    recipe.config(f"output={recipe.folder}/file/run")
    command = ["stage1", "--config", str(recipe.folder / "recipe.yaml")]
    assert main([*command, "--set", f"output={recipe.folder}/file/run"]) == 4
    error = capsys.readouterr().err
    assert error.startswith("diffir-train: can't write ")
    assert error.count("\n") == 1


def test_material_is_not_fetched_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(dv.OutputError, match="can't write"):
        fetch(tmp_path / "file", groups=("photos",))


def test_full_disk_keeps_the_last_checkpoint_and_leaves_nothing_unfinished(recipe: Recipe) -> None:
    train_stage1(recipe.config())
    before = (recipe.folder / "run" / "checkpoints" / "state.pt").read_bytes()
    with (
        files_no_larger_than(len(before) // 2),
        pytest.raises(dv.OutputError, match=r"can't write .*state\.pt"),
    ):
        train_stage1(recipe.config("max_steps=6"), resume=True)
    names = sorted(p.name for p in (recipe.folder / "run" / "checkpoints").iterdir())
    assert names == ["last.safetensors", "state.pt"]
    assert (recipe.folder / "run" / "checkpoints" / "state.pt").read_bytes() == before


def test_what_a_kill_left_unfinished_goes(recipe: Recipe) -> None:
    folder = recipe.folder / "run" / "checkpoints"
    folder.mkdir(parents=True)
    for name in ("state.pt.4711", ".state.pt.4711", ".last.safetensors.abc.tmp"):
        (folder / name).touch()
    train_stage1(recipe.config())
    assert sorted(p.name for p in folder.iterdir()) == ["last.safetensors", "state.pt"]


def test_cache_that_cannot_be_written_is_an_output_error(recipe: Recipe, tmp_path: Path) -> None:
    """The pictures are readable, and are not said to be otherwise."""
    source = recipe.config().data.train[0]
    (tmp_path / "file").touch()
    with pytest.raises(dv.OutputError, match="can't write"):
        load_source(source, tmp_path / "file")
    with files_no_larger_than(4096), pytest.raises(dv.OutputError, match="can't write"):
        load_source(source, tmp_path / "cache")
    assert [p.name for p in (tmp_path / "cache").iterdir() if not p.name.endswith(".cuts.npy")] == []


def test_full_disk_keeps_the_log_of_a_run_that_is_resumed(recipe: Recipe) -> None:
    train_stage1(recipe.config())
    log, settings = recipe.folder / "run" / "log.jsonl", recipe.folder / "run" / "config.yaml"
    before = log.read_text(), settings.read_text()
    longer = recipe.config("max_steps=6")
    with files_no_larger_than(100), pytest.raises(dv.OutputError, match=r"config\.yaml"):
        train_stage1(longer, resume=True)
    assert (log.read_text(), settings.read_text()) == before


@pytest.mark.parametrize("saved", [b"garbage" * 10, pickle.dumps({"step": 1}), None])
def test_what_is_no_saved_state_is_told_in_one_line(recipe: Recipe, saved: bytes | None) -> None:
    train_stage1(recipe.config())
    file = recipe.folder / "run" / "checkpoints" / "state.pt"
    if saved is None:
        torch.save({"net": 3, "step": 1}, file)
    else:
        file.write_bytes(saved)
    with pytest.raises(dv.CheckpointError, match=r"state\.pt is no state that a run has saved$"):
        train_stage1(recipe.config("max_steps=6"), resume=True)


def test_log_is_json_whatever_the_numbers(recipe: Recipe) -> None:
    config = recipe.config()
    folder = RunFolder(config, resume=False)
    folder.open(config, 0)
    folder.log({"step": 1, "loss": math.inf, "lr": 0.5, "pixel": math.nan})
    folder.close()
    row = (recipe.folder / "run" / "log.jsonl").read_text()
    assert row == '{"step": 1, "loss": null, "lr": 0.5, "pixel": null}\n'


_HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print(flush=True)
input()
"""


def test_two_runs_do_not_write_to_one_folder(recipe: Recipe) -> None:
    run = recipe.folder / "run"
    run.mkdir()
    command = [sys.executable, "-c", _HOLD, str(run / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(dv.OutputError, match=r"another run is writing to .*run; wait for it"):
            train_stage1(recipe.config())
        other.communicate(b"\n")
    train_stage1(recipe.config())


def test_what_a_killed_run_left_in_the_cache_is_removed_after_a_day(recipe: Recipe) -> None:
    config = recipe.config()
    config.data.cache.mkdir()
    old, young = (config.data.cache / name for name in (".0-a.npy.7", ".1-b.npy.7"))
    old.touch()
    young.touch()
    two_days_ago = time.time() - 2 * 86_400
    os.utime(old, (two_days_ago, two_days_ago))
    load_source(config.data.train[0], config.data.cache)
    assert (old.exists(), young.exists()) == (False, True)


def test_resumed_run_takes_the_betas_of_its_recipe(recipe: Recipe) -> None:
    train_stage1(recipe.config("max_steps=2"))
    resumed = train_stage1(recipe.config("adam_betas=[0.5, 0.6]"), resume=True)
    assert resumed.learner.optimizer.param_groups[0]["betas"] == (0.5, 0.6)


def test_finished_run_says_so(recipe: Recipe, caplog: pytest.LogCaptureFixture) -> None:
    train_stage1(recipe.config())
    with caplog.at_level("INFO"):
        train_stage1(recipe.config(), resume=True)
    assert "is finished, after 4 steps" in caplog.text


def test_run_of_another_stage_is_not_resumed(recipe: Recipe) -> None:
    train_stage1(recipe.config())
    stage1 = recipe.folder / "run" / "checkpoints" / "last.safetensors"
    with pytest.raises(dv.CheckpointError) as caught:
        train_stage2(recipe.config(f"stage1={stage1}"), resume=True)
    assert "holds a run of stage1, not of stage2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recipe_of_another_stage_is_refused(recipe: Recipe) -> None:
    checkpoint = recipe.folder / "some.safetensors"
    with pytest.raises(dv.UsageError, match=r"stage1 = .*: stage 1 does not start from it"):
        train_stage1(recipe.config(f"stage1={checkpoint}"))
    with pytest.raises(dv.UsageError, match=r"stage2 = .*: stage 2 does not start from it"):
        train_stage2(recipe.config(f"stage1={checkpoint}", f"stage2={checkpoint}"))
    with pytest.raises(dv.UsageError, match=r"init = .*: the GAN stage does not start from it"):
        train_gan(recipe.config(f"stage1={checkpoint}", f"stage2={checkpoint}", f"init={checkpoint}"))


def test_checkpoints_may_be_built_in_names(recipe: Recipe) -> None:
    """Of another model than the small recipe's: found, and refused for what they are."""
    with pytest.raises(dv.UsageError, match="denoise-nano-s1 holds another model"):
        train_stage2(recipe.config("stage1=denoise-nano-s1"))
    with pytest.raises(dv.UsageError, match="denoise-nano holds a DIRformer of another shape"):
        train_stage1(recipe.config("init=denoise-nano"))
