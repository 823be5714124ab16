"""Weights are recognised by what they hold, and nothing but tensors is ever read."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from safetensors.torch import save_file

import diffir_video as dv
from diffir_video.checkpoint import CONFIG_KEY, STAGE_KEY
from tests.network.test_variants import tiny


@pytest.fixture
def net() -> dv.DiffIRS2:
    torch.manual_seed(0)
    return dv.DiffIRS2(tiny(past=1, future=2, unshuffle=2))


def test_safetensors_keep_configuration_stage_and_weights(net: dv.DiffIRS2, tmp_path: Path) -> None:
    dv.save_checkpoint(net, tmp_path / "net.safetensors")
    loaded = dv.load_checkpoint(tmp_path / "net.safetensors")
    assert (loaded.stage, loaded.config) == (2, net.config)
    for name, tensor in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize("kind", [dv.DiffIRS1, dv.DiffIRS2])
def test_pth_round_trip_of_a_single_frame_model(kind: type, tmp_path: Path) -> None:
    net = kind(tiny(unshuffle=2, scale=2))
    dv.save_checkpoint(net, tmp_path / "net.pth")
    loaded = dv.load_checkpoint(tmp_path / "net.pth")
    assert type(loaded) is kind
    assert loaded.config == net.config


def test_window_without_configuration_says_what_is_missing(net: dv.DiffIRS2, tmp_path: Path) -> None:
    torch.save({"params": net.state_dict()}, tmp_path / "net.pth")
    with pytest.raises(dv.CheckpointError, match="window"):
        dv.load_checkpoint(tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"past": 1, "future": 2, "unshuffle": 2}, "window"),
        ({"scale": 2, "residual_upsample": "bicubic"}, "residual_upsample"),
        ({"cpen_zero_sum": True}, "cpen_zero_sum"),
    ],
)
def test_a_pth_that_would_be_loaded_as_another_network_is_not_written(
    settings: dict[str, Any], what: str, tmp_path: Path
) -> None:
    with pytest.raises(dv.UsageError, match=rf"net\.pth: use \.safetensors.*{what}"):
        dv.save_checkpoint(dv.DiffIRS2(tiny(**settings)), tmp_path / "net.pth")
    assert list(tmp_path.iterdir()) == []


def test_ema_is_preferred(tmp_path: Path) -> None:
    plain, ema = dv.DiffIRS1(tiny()), dv.DiffIRS1(tiny())
    torch.save({"params": plain.state_dict(), "params_ema": ema.state_dict()}, tmp_path / "net.pth")
    loaded = dv.load_checkpoint(tmp_path / "net.pth")
    assert torch.equal(loaded.G.patch_embed.proj.weight, ema.G.patch_embed.proj.weight)


class Payload:
    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.flag}",)


def test_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    flag = tmp_path / "owned"
    for name, write in {
        "legacy.pth": lambda p: p.write_bytes(pickle.dumps({"params": Payload(flag)})),
        "zip.pth": lambda p: torch.save({"params": Payload(flag)}, p),
    }.items():
        write(tmp_path / name)
        with pytest.raises(dv.CheckpointError, match=name):
            dv.load_checkpoint(tmp_path / name)
    assert not flag.exists()


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("content", [b"", b"text", b"\xff" * 64, bytes(64)])
def test_garbage_is_refused_as_no_checkpoint(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(dv.CheckpointError, match=rf"{name} is no (checkpoint|readable safetensors)"):
        dv.load_checkpoint(tmp_path / name)


def test_missing_file_and_foreign_tensors(tmp_path: Path) -> None:
    with pytest.raises(dv.CheckpointError, match="no checkpoint"):
        dv.load_checkpoint(tmp_path / "none.pth")
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(dv.CheckpointError, match="no DiffIR"):
        dv.load_checkpoint(tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(dv.CheckpointError, match="dict"):
        dv.load_checkpoint(tmp_path / "list.pth")


def test_truncated_state_names_what_is_missing(tmp_path: Path) -> None:
    state = dv.DiffIRS1(tiny()).state_dict()
    del state["G.latent.0.attn.qkv.weight"]
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(dv.CheckpointError, match=r"G\.latent\.0\.attn\.qkv\.weight"):
        dv.load_checkpoint(tmp_path / "net.pth")


def test_a_checkpoint_is_as_readable_as_any_other_file(net: dv.DiffIRS2, tmp_path: Path) -> None:
    (tmp_path / "any").write_text("")
    dv.save_checkpoint(net, tmp_path / "net.safetensors")
    assert (tmp_path / "net.safetensors").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_a_link_stays_one_and_its_target_is_written(net: dv.DiffIRS2, tmp_path: Path) -> None:
    (tmp_path / "link.safetensors").symlink_to("net.safetensors")
    dv.save_checkpoint(net, tmp_path / "link.safetensors")
    assert (tmp_path / "link.safetensors").is_symlink()
    assert dv.load_checkpoint(tmp_path / "net.safetensors").config == net.config


def test_a_name_may_be_as_long_as_names_can_be(net: dv.DiffIRS2, tmp_path: Path) -> None:
    suffix = ".safetensors"
    dv.save_checkpoint(net, tmp_path / f"{'n' * (255 - len(suffix))}{suffix}")
    with pytest.raises(dv.OutputError, match="File name too long"):
        dv.save_checkpoint(net, tmp_path / f"{'n' * 255}{suffix}")
    assert len(list(tmp_path.iterdir())) == 1


def test_which_stage_is_loaded_is_for_isinstance_to_tell() -> None:
    assert get_type_hints(dv.load_checkpoint)["return"] == dv.DiffIRS1 | dv.DiffIRS2


def test_unwritable_place_and_suffix(net: dv.DiffIRS2, tmp_path: Path) -> None:
    with pytest.raises(dv.OutputError):
        dv.save_checkpoint(net, tmp_path / "missing" / "net.safetensors")
    with pytest.raises(dv.UsageError, match="safetensors"):
        dv.save_checkpoint(net, tmp_path / "net.bin")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"dim": 8.0},
        {"dim": 10**9},
        {"prior_width": 10**6},
        {"timesteps": 10**9},
        {"timesteps": 2.5},
        {"blocks": [1.5, 1]},
        {"residual": "no"},
        {"scale": True},
        {"linear_start": -1},
        {"linear_end": 1.0},
        {"ffn_expansion": 0.01},
    ],
)
def test_a_configuration_that_makes_no_network_is_a_broken_checkpoint(
    net: dv.DiffIRS2, changes: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "net.safetensors"
    config = json.dumps(net.config.to_dict() | changes)
    save_file({"G.x": torch.zeros(1)}, path, metadata={CONFIG_KEY: config, STAGE_KEY: "2"})
    with pytest.raises(dv.CheckpointError, match=r"net\.safetensors"):
        dv.load_checkpoint(path)


def test_a_level_of_a_great_number_is_a_broken_checkpoint(tmp_path: Path) -> None:
    state = dv.DiffIRS2(tiny()).state_dict() | {"G.encoder_level9.0.attn.temperature": torch.zeros(1, 1, 1)}
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(dv.CheckpointError, match=r"encoder levels \[1, 9\]"):
        dv.load_checkpoint(tmp_path / "net.pth")
