"""Both stages train, resume to the last bit, and learn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import diffir_video as dv
from tests.training.conftest import Recipe
from training.cli import main
from training.config import TrainConfig
from training.data.loader import batches
from training.recurrence import restore_windows
from training.schedule import learning_rate
from training.stage1 import restore_with_gt_prior, train_stage1
from training.stage2 import train_stage2
from training.trainer import DivergenceError, Trainer


def losses(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def trained_stage1(recipe: Recipe, *overrides: str) -> Path:
    output = recipe.folder / "s1"
    train_stage1(recipe.config(f"output={output}", *overrides))
    return output / "checkpoints" / "last.safetensors"


def test_stage_1_leaves_a_loadable_checkpoint_and_its_recipe(recipe: Recipe) -> None:
    checkpoint = trained_stage1(recipe)
    net = dv.load_checkpoint(checkpoint)
    assert (net.stage, net.config) == (1, recipe.config().model)
    assert (recipe.folder / "s1" / "config.yaml").is_file()
    assert len(losses(recipe.folder / "s1")) == 4


def test_stage_2_trains_the_prior_first_and_then_everything(recipe: Recipe) -> None:
    checkpoint = trained_stage1(recipe)
    stage1 = dv.load_checkpoint(checkpoint)

    def trained(steps: int) -> dv.DiffIRS2:
        config = recipe.config(
            f"stage1={checkpoint}",
            "prior_steps=2",
            f"max_steps={steps}",
            f"output={recipe.folder / str(steps)}",
        )
        net = train_stage2(config).net
        assert isinstance(net, dv.DiffIRS2)
        return net

    def dirformer_moved(net: dv.DiffIRS2) -> bool:
        then = stage1.G.state_dict()
        return any(not torch.equal(tensor, then[name]) for name, tensor in net.G.state_dict().items())

    prior_only, joint = trained(2), trained(4)
    assert not dirformer_moved(prior_only)
    assert dirformer_moved(joint)
    assert dv.load_checkpoint(recipe.folder / "4" / "checkpoints" / "last.safetensors").stage == 2


class KilledError(Exception):
    """Stands for the end of a process in the middle of a run."""


def die_at_step_5(step: int, config: TrainConfig) -> float:
    """The learning rate, until step 5."""
    if step == 5:
        raise KilledError
    return learning_rate(step, config)


@pytest.mark.parametrize("stage", [1, 2])
def test_resumed_run_equals_an_uninterrupted_one_bit_for_bit(recipe: Recipe, stage: int) -> None:
    train, extra = train_stage1, []
    if stage == 2:
        train, extra = train_stage2, [f"stage1={trained_stage1(recipe)}", "prior_steps=3"]
    whole = train(recipe.config(*extra, f"output={recipe.folder / 'whole'}", "max_steps=6"))
    part = recipe.config(*extra, f"output={recipe.folder / 'part'}", "max_steps=6")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"training.stage{stage}.learning_rate", die_at_step_5)
        with pytest.raises(KilledError):
            train(part)
    resumed = train(part, resume=True)

    for net in ("net", "ema"):
        expected, got = getattr(whole, net).state_dict(), getattr(resumed, net).state_dict()
        assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert losses(recipe.folder / "part")[-1] == losses(recipe.folder / "whole")[-1]


@pytest.mark.parametrize(("decay", "kept"), [(0.999, 0.1), (0.05, 0.05)])
def test_average_follows_at_once_in_the_beginning_and_is_what_is_saved(
    recipe: Recipe, decay: float, kept: float
) -> None:
    """After one step it has kept a tenth of the random start, or less if the recipe says so."""
    one_step = ["max_steps=1", f"ema_decay={decay}"]
    still = ["learning_rate=1e-20", "final_learning_rate=1e-20", f"output={recipe.folder / 'still'}"]
    began = train_stage1(recipe.config(*one_step, *still)).net.state_dict()
    trainer = train_stage1(recipe.config(*one_step))
    saved = dv.load_checkpoint(recipe.folder / "run" / "checkpoints" / "last.safetensors").state_dict()
    for name, tensor in trainer.net.state_dict().items():
        average = kept * began[name] + (1 - kept) * tensor
        torch.testing.assert_close(trainer.ema.state_dict()[name], average, atol=1e-6, rtol=0)
        torch.testing.assert_close(saved[name], average, atol=1e-6, rtol=0)


def test_noise_is_of_the_seed_and_the_step_alone(recipe: Recipe) -> None:
    def noises(*overrides: str) -> list[torch.Tensor]:
        config = recipe.config("max_steps=2", *overrides)
        trainer = Trainer(config, dv.DiffIRS1(config.model), restore_with_gt_prior, resume=False)
        return [part.noise for _, parts in trainer.steps() for part in parts]

    first, again, other = (noises(f"output={recipe.folder / name}", f"seed={seed}") for name, seed in RUNS)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert not torch.equal(*first)


RUNS = [("first", 3), ("again", 3), ("other", 4)]


def test_gradient_is_clipped_to_the_norm_asked_for(recipe: Recipe) -> None:
    trainer = train_stage1(recipe.config("max_steps=1", "clip_gradient_norm=0.001"))
    share = 1 - trainer.config.adam_betas[0]
    averages = [state["exp_avg"] for state in trainer.learner.optimizer.state.values()]
    norm = torch.cat([average.flatten() for average in averages]).norm() / share
    assert float(norm) == pytest.approx(0.001, rel=1e-3)


def test_overfits_one_picture(recipe: Recipe) -> None:
    """One noisy picture, seen again and again, ends far closer to its ground truth than it began."""
    torch.manual_seed(0)
    net = dv.DiffIRS1(recipe.config("model.past=0", "model.future=0").model)
    gt = torch.rand(1, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    lq = (gt + 0.2 * torch.randn(gt.shape)).clamp(0, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    loss = torch.tensor(torch.inf)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (net.restore(lq, net.extract_prior(lq, gt)) - gt).abs().mean()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.25 * float((lq - gt).abs().mean())


def test_run_folder_is_not_overwritten(recipe: Recipe) -> None:
    train_stage1(recipe.config())
    with pytest.raises(dv.UsageError, match="--resume"):
        train_stage1(recipe.config())


def test_stage_2_refuses_what_is_no_stage_1_of_its_model(recipe: Recipe) -> None:
    checkpoint = trained_stage1(recipe)
    with pytest.raises(dv.UsageError, match="stage1=PATH"):
        train_stage2(recipe.config())
    with pytest.raises(dv.UsageError, match="another model"):
        train_stage2(recipe.config(f"stage1={checkpoint}", "model.dim=16"))
    train_stage2(recipe.config(f"stage1={checkpoint}"))
    second = recipe.folder / "run" / "checkpoints" / "last.safetensors"
    with pytest.raises(dv.UsageError, match="stage-2"):
        train_stage2(recipe.config(f"stage1={second}", f"output={recipe.folder / 'x'}"))


def test_divergence_stops_the_run_and_keeps_the_last_checkpoint(recipe: Recipe) -> None:
    config = recipe.config("learning_rate=1e30", "max_steps=6", "checkpoint_every=1")
    with pytest.raises(DivergenceError, match="step"):
        train_stage1(config)
    kept = dv.load_checkpoint(recipe.folder / "run" / "checkpoints" / "last.safetensors")
    assert all(bool(p.isfinite().all()) for p in kept.parameters())


def test_command_trains_validates_and_writes_a_sample_sheet(recipe: Recipe) -> None:
    recipe.config()
    photos = recipe.folder / "photos"
    settings = ["validate_every=2", f"data.validation=[{{root: {photos}, kind: photos, shrink: 1}}]"]
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    assert main(["stage1", "--config", str(recipe.folder / "recipe.yaml"), *arguments]) == 0
    assert len(list((recipe.folder / "run" / "samples").glob("*.png"))) == 2
    rows = [json.loads(line) for line in (recipe.folder / "run" / "log.jsonl").read_text().splitlines()]
    validated = [row for row in rows if "sigma25_psnr_y" in row]
    assert [row["step"] for row in validated] == [2, 4]
    assert 22 < validated[0]["sigma25_input"] < 27


def test_cpen_rests_while_frozen_and_learns_afterwards(recipe: Recipe) -> None:
    def cpen_after(steps: int) -> torch.Tensor:
        config = recipe.config(
            "cpen_frozen_steps=2", f"max_steps={steps}", f"output={recipe.folder / str(steps)}"
        )
        net = train_stage1(config).net
        assert isinstance(net, dv.DiffIRS1)
        return net.E.get_parameter("mlp.0.weight").detach()

    after_1, after_2, after_3 = (cpen_after(steps) for steps in (1, 2, 3))
    assert torch.equal(after_1, after_2)
    assert not torch.equal(after_2, after_3)


def test_stage_2_goes_on_from_a_stage_2_checkpoint(recipe: Recipe) -> None:
    stage1 = trained_stage1(recipe)
    train_stage2(recipe.config(f"stage1={stage1}", f"output={recipe.folder / 's2'}"))
    stage2 = recipe.folder / "s2" / "checkpoints" / "last.safetensors"

    # With a learning rate of next to nothing, what is left is where the run began.
    still = [f"stage1={stage1}", "learning_rate=1e-20", "final_learning_rate=1e-20", "max_steps=1"]
    gone_on = train_stage2(recipe.config(*still, f"init={stage2}", f"output={recipe.folder / 'on'}"))

    for name, tensor in dv.load_checkpoint(stage2).state_dict().items():
        torch.testing.assert_close(gone_on.net.state_dict()[name], tensor, atol=1e-6, rtol=0)
    with pytest.raises(dv.UsageError, match="stage-1"):
        train_stage2(recipe.config(*still, f"init={stage1}", f"output={recipe.folder / 'wrong'}"))


def test_what_was_trained_without_compensation_goes_on_with_it(recipe: Recipe) -> None:
    """No weight has to do with it; the checkpoint says what it was trained for at last."""
    stage1 = trained_stage1(recipe, "max_steps=1")
    train_stage2(recipe.config(f"stage1={stage1}", "max_steps=1", f"output={recipe.folder / 's2'}"))
    stage2 = recipe.folder / "s2" / "checkpoints" / "last.safetensors"

    still = ["learning_rate=1e-20", "final_learning_rate=1e-20", "max_steps=1"]
    start = [f"stage1={stage1}", f"init={stage2}", f"output={recipe.folder / 'on'}"]
    train_stage2(recipe.config("model.compensated=true", *still, *start))

    began = dv.load_checkpoint(stage2)
    taught = dv.load_checkpoint(recipe.folder / "on" / "checkpoints" / "last.safetensors")
    assert (began.config.compensated, taught.config.compensated) == (False, True)
    for name, tensor in began.state_dict().items():
        torch.testing.assert_close(taught.state_dict()[name], tensor, atol=1e-6, rtol=0)


def test_stage_1_takes_the_dirformer_of_another_checkpoint(recipe: Recipe) -> None:
    """Another CPEN can then learn beside it; another DIRformer is refused."""
    first = trained_stage1(recipe)
    still = ["learning_rate=1e-12", "final_learning_rate=1e-12", f"init={first}"]
    other_cpen = recipe.config(*still, "model.cpen_width=12", f"output={recipe.folder / 'on'}")
    gone_on, began = train_stage1(other_cpen).net, dv.load_checkpoint(first)
    for name, tensor in gone_on.G.state_dict().items():
        assert torch.allclose(tensor, began.G.state_dict()[name], atol=1e-6), name
    with pytest.raises(dv.UsageError, match="another shape"):
        train_stage1(recipe.config(*still, "model.dim=12", f"output={recipe.folder / 'wrong'}"))


def recurrent(recipe: Recipe, *overrides: str) -> TrainConfig:
    model = ("model.past=1", "model.future=0", "model.recurrent=true")
    return recipe.config(*model, "data.sequence_frames=4", "data.windows_per_sequence=2", *overrides)


def test_recurrent_network_trains_on_windows_in_a_row(recipe: Recipe) -> None:
    """Its second window's past is its own first output, and both stages can be run with it."""
    first = recipe.folder / "first"
    lq, gt = next(batches(recurrent(recipe), 0))
    assert (len(lq), len(gt)) == (4, 4)
    train_stage1(recurrent(recipe, f"output={first}", "shared_prior=true"))
    checkpoint = first / "checkpoints" / "last.safetensors"
    net = train_stage2(recurrent(recipe, f"stage1={checkpoint}", "shared_prior=true")).net
    assert net.config.recurrent
    prior = torch.zeros(4, net.config.prior_width)
    with torch.no_grad():
        in_turn = restore_windows(net, lq, prior, 2)
        again = net.restore(torch.cat([in_turn[:1].clamp(0, 1), lq[1:2, 3:]], dim=1), prior[:1])
    torch.testing.assert_close(in_turn[1:2], again)


def test_windows_of_a_recurrent_network_follow_each_other(recipe: Recipe) -> None:
    lq, _ = next(batches(recurrent(recipe), 0))
    for first, second in (lq[0:2], lq[2:4]):
        assert torch.equal(first[3:], second[:3])


def test_recurrent_network_needs_a_sequence_longer_than_its_windows(recipe: Recipe) -> None:
    with pytest.raises(dv.UsageError, match="in a row"):
        recurrent(recipe, "data.windows_per_sequence=4")
