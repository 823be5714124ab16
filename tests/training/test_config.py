"""A recipe that can't run fails at once and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

import diffir_video as dv
from tests.training.conftest import Recipe
from training.cli import main
from training.recipe import load_config
from training.stage1 import train_stage1

RECIPES = Path(__file__).parents[2] / "configs" / "train"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_recipe_of_the_repository_is_valid(path: Path) -> None:
    assert load_config(path).max_steps > 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("max_stepz=5", "max_stepz"),
        ("data.nose={}", "nose"),
        ("data.train.0.kind=movies", "movies"),
        ("data.train.7.kind=clips", "7"),
        ("max_steps=many", "many"),
        ("max_steps=true", "True"),
        ("patch_size=31", "31"),
        ("batch_size=3", "batch_size"),
        ("data.sequence_frames=2", "window of 3"),
        ("prior_steps=-1", "prior_steps"),
        ("data.noise.sigma=[1]", "2 values"),
        ("model.dim=7", "dim"),
        ("data.train=[]", "no source"),
        ("nonsense", "key=value"),
        ("max_steps=0", "max_steps = 0: expected 1 or more"),
        ("learning_rate=0", "learning_rate = 0.0: expected above 0"),
        ("prior_learning_rate=-1", "prior_learning_rate"),
        ("log_every=-1", "log_every = -1: expected 0 or more"),
        ("validate_every=-1", "validate_every"),
        ("checkpoint_every=-5", "checkpoint_every"),
        ("adam_betas=[0.9, 1.0]", "adam_betas"),
        ("ema_decay=1.5", "ema_decay"),
        ("phases=[{steps: 0, patch_size: 32, batch_size: 4}]", "phases.0.steps = 0"),
        ("data.workers=-1", "data.workers = -1"),
        ("data.windows_per_sequence=0", "data.windows_per_sequence = 0"),
        ("data.train.0.weight=0", "data.train: weight of .*photos"),
        ("data.train.0.shrink=0", "shrink of the source"),
        ("data.codec={x264: 0, x265: 0, mpeg2: 0, jpeg: 0}", "data.codec: x264, x265"),
        ("data.codec.x264_crf=[30, 20]", "data.codec.x264_crf = \\[30, 20\\]: expected a range"),
        ("data.noise.sigma=[30, 20]", "data.noise.sigma"),
        ("data.downscale={area: 0, bilinear: 0, bicubic: 0, lanczos: 0}", "data.downscale: area"),
        ("data.damage.first.jpeg=[90, 30]", "jpeg = \\[90, 30\\]"),
        ("data.damage.holes={thin: 0, medium: 0, thick: 0}", "data.damage.holes: thin"),
        ("data.clip_damage.tape_strength=[1, 0]", "tape_strength"),
        ("data.train={", "the value is no YAML"),
        ("output=2026-13-01", "the value is no YAML: month"),
        ("seed=-1", "seed = -1: expected 0 to 4294967295"),
        ("seed=4294967296", "seed = 4294967296: expected 0 to 4294967295"),
        ("learning_rate=.inf", "learning_rate = inf: expected a finite number"),
        ("decay_factor=-1", "decay_factor = -1.0: expected above 0"),
        ("data.noise.clean=5", "data.noise, clean = 5.0: expected a share, 0 to 1"),
        ("data.noise.skew=-1", "data.noise.skew = -1.0"),
        ("data.codec.share=50", "data.codec, share = 50.0: expected a share, 0 to 1"),
        ("data.sharpen.share=2", "data.sharpen, share"),
        ("data.damage.first.blur=80", "a round of data.damage, blur"),
        ("data.damage.final_sinc=-0.1", "data.damage, final_sinc"),
        ("data.clip_damage.tape=30", "data.clip_damage, tape"),
        ("gan.prior=-1", "gan.prior = -1.0: expected 0 or more"),
    ],
)
def test_bad_setting_is_named(recipe: Recipe, override: str, message: str) -> None:
    with pytest.raises(dv.UsageError, match=message):
        recipe.config(override)


def test_prior_is_shared_among_two_windows_or_more(recipe: Recipe) -> None:
    with pytest.raises(dv.UsageError, match=r"data.windows_per_sequence = 1, expected 2 or more"):
        recipe.config("data.windows_per_sequence=1", "shared_prior=true")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("phases: 3", "phases = 3: expected a list"),
        ("phases: [3]", "phases.0 = 3: expected a mapping"),
        ("phases: [{steps: many, patch_size: 16, batch_size: 4}]", "phases.0.steps = 'many'"),
        ("max_steps: many", "max_steps = 'many': expected int"),
        ("{4: 5, more: 1}", "unknown settings \\['4', 'more'\\]"),
        ("\x00", "is no YAML"),
    ],
)
def test_settings_of_the_wrong_kind_are_named_when_a_recipe_is_shortened(
    recipe: Recipe, settings: str, message: str
) -> None:
    recipe.config()
    laid_over = recipe.folder / "over.yaml"
    laid_over.write_text(settings)
    with pytest.raises(dv.UsageError, match=message):
        load_config(recipe.folder / "recipe.yaml", ["shorten=2"], [laid_over])


def test_a_recipe_that_names_no_steps_is_shortened_too(recipe: Recipe) -> None:
    del recipe.values["max_steps"]
    whole = recipe.config().max_steps
    assert recipe.config("shorten=10").max_steps == whole // 10


def test_what_is_no_text_is_no_recipe(recipe: Recipe) -> None:
    with pytest.raises(dv.UsageError, match=r"0.png is no YAML, and no text"):
        load_config(recipe.folder / "photos" / "0.png")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("data=3", "data = 3: expected a mapping"),
        ("data={cache: x}", "data.train = None: expected a list"),
        ("data.train=[{root: x}]", "missing settings \\['kind'\\] in data.train.0"),
    ],
)
def test_folder_in_the_place_of_no_material_says_what_is_missing(
    recipe: Recipe, settings: str, message: str
) -> None:
    with pytest.raises(dv.UsageError, match=message):
        recipe.config(settings, f"data.train.root={recipe.folder / 'photos'}")


def test_overrides_reach_into_lists_and_numbers_may_be_written_2e_4(recipe: Recipe) -> None:
    config = recipe.config("data.train.0.weight=3", "learning_rate=2e-4")
    assert config.data.train[0].weight == 3
    assert config.learning_rate == pytest.approx(2e-4)


def test_missing_folder_and_empty_folder(recipe: Recipe) -> None:
    with pytest.raises(dv.UsageError, match="nowhere"):
        train_stage1(recipe.config(f"data.train.0.root={recipe.folder / 'nowhere'}"))
    (recipe.folder / "empty").mkdir()
    with pytest.raises(dv.UsageError, match="no readable photos"):
        train_stage1(recipe.config(f"data.train.0.root={recipe.folder / 'empty'}"))


def test_command_reports_in_one_line_with_exit_code_2(
    recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.config()
    assert main(["stage1", "--config", str(recipe.folder / "recipe.yaml"), "--set", "max_stepz=5"]) == 2
    assert main(["stage1", "--config", str(recipe.folder / "none.yaml")]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 2
    assert all(line.startswith("diffir-train: ") for line in errors)
