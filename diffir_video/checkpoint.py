"""Loading and saving weights: published ``.pth`` files, recognised by tensors, and our ``.safetensors``."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from diffir_video.errors import CheckpointError, OutputError, UsageError
from diffir_video.network import DiffIR, DiffIRS1, DiffIRS2, ModelConfig, Stage
from diffir_video.small_files import check_place, write_whole

CONFIG_KEY = "diffir_video.config"
STAGE_KEY = "diffir_video.stage"

# Second names of tensors in a published stage-2 state dict.
_TWICE = {"diffusion.condition.": "condition.", "diffusion.model.": "denoise."}

_LIGHTNING_PREFIX = "generator."

# What a file by torch.save begins with: a zip archive, or a pickle.
_TORCH_FILES = (b"PK", b"\x80")


def load_checkpoint(path: str | os.PathLike[str]) -> DiffIRS1 | DiffIRS2:
    """The network of a checkpoint: eval mode, float32, on the CPU; which stage, `isinstance` tells.

    Takes a ``.safetensors`` file, or a published ``.pth``: a state dict, bare or under ``params_ema`` or
    ``params`` (the EMA preferred), or a Lightning ``state_dict`` whose keys start with ``generator.``. Stage
    and variant come from names and shapes; our own files also say them in their metadata.
    Raises CheckpointError if the file is missing, malformed, holds anything but tensors, or fits no DiffIR.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    # Wherever the caller's tensors are made by default.
    with torch.device("cpu"):
        if path.suffix == ".safetensors":
            state, metadata = _read_safetensors(path)
        else:
            state, metadata = _unwrap(_read_pickle(path), path), {}
        config, stage = _recognise(state, metadata, path)
        return _build(config, stage, state, path)


def save_checkpoint(
    net: DiffIR, path: str | os.PathLike[str], *, notes: Mapping[str, str] | None = None
) -> None:
    """Write the network with its configuration; ``.safetensors``, or ``.pth`` in the published layout.

    Tensors that a published state dict holds twice are stored once in safetensors. `notes` joins the
    safetensors metadata; a ``.pth`` has no place for it. The file appears under its name only when complete.
    Raises OutputError if it can't be written, UsageError on another suffix, and for a ``.pth`` of a network
    whose configuration its tensors alone don't tell: a window of frames, say.
    """
    path = Path(path)
    check_place(path)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    try:
        if path.suffix == ".safetensors":
            once = {n: t for n, t in state.items() if not n.startswith(tuple(_TWICE))}
            metadata = {CONFIG_KEY: json.dumps(net.config.to_dict()), STAGE_KEY: str(net.stage)}
            content = to_safetensors(once, metadata={**(notes or {}), **metadata})
        elif path.suffix == ".pth":
            _check_tells_all(net, state, path)
            content = _to_pth(state)
        else:
            raise UsageError(f"can't save weights as {path}: use .safetensors or .pth")
    except (RuntimeError, SafetensorError) as exc:
        raise OutputError(f"can't write the checkpoint {path}: {exc}") from exc
    write_whole(path, content)


def read_notes(path: str | os.PathLike[str]) -> dict[str, str]:
    """What a checkpoint says beside its network, as `save_checkpoint` takes it; nothing for a ``.pth``.

    Raises CheckpointError for a ``.safetensors`` file that can't be read.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        return {}
    try:
        with cast(Any, safe_open(path, framework="pt")) as file:
            metadata: dict[str, str] = dict(file.metadata() or {})
    except (OSError, SafetensorError) as exc:
        raise CheckpointError(f"{path} is no readable safetensors file: {exc}") from exc
    return {key: text for key, text in metadata.items() if key not in (CONFIG_KEY, STAGE_KEY)}


def _to_pth(state: Mapping[str, Tensor]) -> bytes:
    data = io.BytesIO()
    torch.save({"params": dict(state)}, data)
    return data.getvalue()


def _check_tells_all(net: DiffIR, state: Mapping[str, Tensor], path: Path) -> None:
    """Raise UsageError where a state dict alone would be loaded as another network, or not at all."""
    advice = f"can't save this network as {path}: use .safetensors, which holds the configuration too"
    try:
        config, stage = infer_config(state)
    except (LookupError, ValueError, ArithmeticError, TypeError) as exc:
        raise UsageError(f"{advice} ({exc})") from exc
    lost = [f.name for f in fields(config) if getattr(config, f.name) != getattr(net.config, f.name)]
    if lost or stage != net.stage:
        raise UsageError(f"{advice} (its tensors don't tell {', '.join(lost) or 'the stage'})")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with cast(Any, safe_open(path, framework="pt")) as file:
            state: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return state, dict(file.metadata() or {})
    except (OSError, SafetensorError) as exc:
        raise CheckpointError(f"{path} is no readable safetensors file: {exc}") from exc


def _read_pickle(path: Path) -> Any:
    _check_is_torch_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as exc:
        raise CheckpointError(
            f"{path} holds more than tensors and is refused: loading it could run code"
        ) from exc
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError) as exc:
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise CheckpointError(f"{path} is no readable checkpoint: {reason}") from exc


def _check_is_torch_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            begin = file.read(2)
    except OSError as exc:
        raise CheckpointError(f"can't read {path}: {exc.strerror}") from exc
    if not begin.startswith(_TORCH_FILES):
        raise CheckpointError(f"{path} is no checkpoint: neither a .safetensors file nor one by torch.save")


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a dict of tensors")
    content = cast(dict[Any, Any], content)
    for wrapper in ("params_ema", "params", "state_dict"):
        if isinstance(content.get(wrapper), Mapping):
            content = dict(content[wrapper])
            break
    if any(str(key).startswith(_LIGHTNING_PREFIX) for key in content):
        content = {
            str(key).removeprefix(_LIGHTNING_PREFIX): value
            for key, value in content.items()
            if str(key).startswith(_LIGHTNING_PREFIX)
        }
    strange = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if strange or not content:
        raise CheckpointError(f"{path} holds no state dict: {strange[:3] or 'it is empty'} are no tensors")
    return {str(key): value for key, value in content.items()}


def _recognise(
    state: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path
) -> tuple[ModelConfig, Stage]:
    try:
        if CONFIG_KEY in metadata:
            stage: Stage = 1 if metadata.get(STAGE_KEY) == "1" else 2
            return ModelConfig.from_dict(json.loads(metadata[CONFIG_KEY])), stage
        return infer_config(state)
    except (LookupError, ValueError, ArithmeticError, TypeError, RecursionError) as exc:
        raise CheckpointError(f"the tensors in {path} are those of no DiffIR known here: {exc}") from exc


def infer_config(state: Mapping[str, Tensor]) -> tuple[ModelConfig, Stage]:
    """Configuration and stage of a published state dict, from names and shapes alone.

    Which frames a windowed model sees can't be told from shapes, nor the noise schedule where its buffers are
    missing, as in stage 1: the first is an error, the second takes the published values. Raises KeyError or
    ValueError when the tensors fit no DiffIR.
    """
    stage: Stage = 2 if "condition.E.0.weight" in state else 1
    cpen = "condition." if stage == 2 else "E."
    dim, patch_channels = state["G.patch_embed.proj.weight"].shape[:2]
    numbers = {int(m[1]) for m in map(re.compile(r"G\.encoder_level(\d+)\.").match, state) if m}
    depth = 1 + max(numbers)
    if depth != 1 + len(numbers):
        raise ValueError(f"encoder levels {sorted(numbers)} are not numbered 1, 2, 3 and so on")
    levels = [f"G.encoder_level{number}" for number in range(1, depth)] + ["G.latent"]
    blocks = tuple(_count(state, level) for level in levels)
    heads = tuple(state[f"{level}.0.attn.temperature"].shape[0] for level in levels)
    hidden = [state[f"{level}.0.ffn.project_out.weight"].shape[1] for level in levels]
    cpen_width, cpen_channels = state[f"{cpen}E.0.weight"].shape[:2]
    upsample = "G.tail.1.weight" in state
    enlarged = 4 if upsample else round((state["G.output.weight"].shape[0] / 3) ** 0.5)

    image_channels = 4 if patch_channels == 4 else 3
    lq_planes = cpen_channels - (48 if stage == 1 else 0)
    lq_unshuffle = round((lq_planes / image_channels) ** 0.5)
    scale = 4 // lq_unshuffle
    unshuffle = enlarged // scale
    if patch_channels != image_channels * unshuffle**2:
        raise ValueError(
            f"{patch_channels} input channels at unshuffle {unshuffle} mean a window of frames, whose place "
            "in time no shape tells: save such models as .safetensors with their configuration"
        )
    config = ModelConfig(
        dim=dim,
        blocks=blocks,
        refinement_blocks=_count(state, "G.refinement"),
        heads=heads,
        ffn_expansion=_shortest_expansion(dim, hidden),
        norm="bias" if f"{levels[0]}.0.norm1.body.bias" in state else "bias_free",
        tail="upsample" if upsample else "conv",
        residual=image_channels == 3,
        image_channels=image_channels,
        scale=scale,
        unshuffle=unshuffle,
        cpen_blocks=len(
            {m[1] for m in map(re.compile(rf"{re.escape(cpen)}E\.(\d+)\.body\.").match, state) if m}
        ),
        cpen_width=cpen_width,
        prior_width=state[f"{cpen}mlp.2.weight"].shape[0],
    )
    if stage == 2:
        if (betas := state.get("diffusion.betas")) is not None:
            ends = {"linear_start": round(float(betas[0]), 6), "linear_end": round(float(betas[-1]), 6)}
            config = replace(config, timesteps=len(betas), **ends)
        config = replace(
            config,
            denoiser_blocks=sum(
                bool(re.fullmatch(r"denoise\.resmlp\.\d+\.resmlp\.0\.weight", k)) for k in state
            ),
        )
    return config, stage


def _count(state: Mapping[str, Tensor], level: str) -> int:
    return len({name[len(level) + 1 :].split(".")[0] for name in state if name.startswith(f"{level}.")})


def _shortest_expansion(dim: int, hidden: list[int]) -> float:
    """The factor with the fewest decimals whose products with all widths truncate to `hidden`."""
    for decimals in range(1, 8):
        factor = round(hidden[-1] / (dim * 2 ** (len(hidden) - 1)), decimals)
        for candidate in (factor, round(factor + 10**-decimals, decimals)):
            if all(int(dim * 2**level * candidate) == width for level, width in enumerate(hidden)):
                return candidate
    raise ValueError(f"no expansion factor gives the feed-forward widths {hidden} at {dim} channels")


def _check_shapes(
    kind: type[DiffIRS1] | type[DiffIRS2], config: ModelConfig, state: Mapping[str, Tensor], path: Path
) -> None:
    """Raise CheckpointError before memory is taken for a network that the file has no weights for."""
    try:
        with torch.device("meta"):
            expected = {name: tuple(weight.shape) for name, weight in kind(config).named_parameters()}
    except (RuntimeError, MemoryError) as exc:
        raise CheckpointError(f"{path} names a network of no possible size: {config}") from exc
    found = {name: tuple(state[name].shape) if name in state else "missing" for name in expected}
    for name, shape in expected.items():
        if found[name] != shape:
            raise CheckpointError(
                f"the tensors in {path} do not fit the network they name: {name} is {found[name]}, "
                f"expected {shape}"
            )


def _build(config: ModelConfig, stage: Stage, state: Mapping[str, Tensor], path: Path) -> DiffIRS1 | DiffIRS2:
    kind = DiffIRS1 if stage == 1 else DiffIRS2
    _check_shapes(kind, config, state, path)
    net = kind(config)
    # Before the weights come, whatever the caller's default dtype is.
    net.float()
    # The diffusion's buffers follow from the configuration: a file may leave them out.
    complete = dict(net.named_buffers()) | dict(state)
    for second, first in _TWICE.items():
        if stage == 2:
            for name, tensor in state.items():
                if name.startswith(first):
                    complete.setdefault(second + name.removeprefix(first), tensor)
    try:
        net.load_state_dict(complete)
    except RuntimeError as exc:
        detail = " ".join(str(exc).split())
        raise CheckpointError(f"the tensors in {path} do not fit the network they name: {detail}") from exc
    return net.eval()
