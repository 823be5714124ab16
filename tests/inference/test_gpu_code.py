"""What a GPU would be given: kernels that fit it, and a network compiled once for any number of frames."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from diffir_video.inference.cuda.graphs import CompiledNetwork

pytest.importorskip("triton", reason="Triton is not installed")

ROOT = Path(__file__).parents[2]
# Of a block, on compute capability 8.6, 8.9 and 12.0; all others from 8.0 on have more (CUDA C++ programming
# guide, technical specifications per compute capability).
SHARED_MEMORY = 99 * 1024
REGISTERS_OF_A_MULTIPROCESSOR = 65536


def told(*arguments: str) -> list[Any]:
    """What `tests.inference.gpu_code` prints, in a process without Triton's interpreter."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.inference.gpu_code", *arguments]
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("model", "precision", "capability"),
    [
        ("deblur", "bf16", "9.0"),
        pytest.param("deblur", "fp32", "9.0", marks=SLOW),
        pytest.param("deblur", "fp16", "8.6", marks=SLOW),
        pytest.param("sr-x4", "bf16", "9.0", marks=SLOW),
        pytest.param("sr-x4", "fp32", "8.0", marks=SLOW),
        pytest.param("denoise-nano", "bf16", "9.0", marks=SLOW),
        pytest.param("denoise-nano", "fp32", "8.6", marks=SLOW),
        pytest.param("denoise-live", "fp16", "8.9", marks=SLOW),
        pytest.param("upscale-x2-nano", "bf16", "12.0", marks=SLOW),
    ],
)
def test_no_kernel_needs_more_than_a_gpu_has(model: str, precision: str, capability: str) -> None:
    needs = told("kernels", f"configs/models/{model}.yaml", precision, capability)
    assert {"norm_pointwise", "depthwise_project", "depthwise_gram"} <= {need["kernel"] for need in needs}
    for need in needs:
        assert need["shared"] <= SHARED_MEMORY, need
        assert need["stack"] == 0, need
        assert need["registers"] * need["warps"] * 32 <= REGISTERS_OF_A_MULTIPROCESSOR, need


@SLOW
def test_a_network_is_traced_whole_once_for_one_frame_and_once_for_more() -> None:
    (counts,) = told("traces", "configs/models/denoise-nano.yaml")
    assert counts == {"own": [1, 2, 2, 2], "held": [3, 4, 4, 4]}


def test_as_many_sizes_as_a_folder_has_are_compiled() -> None:
    class Network(nn.Module):
        def forward(self, lq: torch.Tensor, *held: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return lq + 1, *held

    network = CompiledNetwork(Network(), "eager")  # pyright: ignore[reportArgumentType]
    for size in range(8, 32):
        restored, *_ = network(torch.zeros(1, 3, size, 8))
        assert restored.shape == (1, 3, size, 8)
