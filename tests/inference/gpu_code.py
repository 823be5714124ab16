"""The GPU's side of backend compile, as far as it goes without one: traced whole, its kernels compiled.

    python -m tests.inference.gpu_code kernels CONFIG bf16 9.0
    python -m tests.inference.gpu_code traces CONFIG

The first prints what each Triton kernel of a network needs on a GPU of that compute capability, the second
how often torch.compile has to begin anew for other numbers of frames. Not under Triton's interpreter.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.utils._triton
import triton
from torch._subclasses import FakeTensorMode
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from diffir_video.bench_material import load_network
from diffir_video.inference.cuda import motion, motion_kernels, steps
from diffir_video.inference.cuda.graphs import CompiledNetwork
from diffir_video.inference.graph import FoldedGraph
from diffir_video.inference.strips import StripSteps
from diffir_video.network.motion import pyramid

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
_TYPES = {
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.uint8: "*u8",
    torch.int32: "*i32",
}
_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
_RESOURCES = re.compile(r"REG:(\d+) STACK:(\d+)")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a kernel needs. stack: bytes of a thread that found no register. shared: bytes of a block."""

    kernel: str
    constants: dict[str, Any]
    warps: int
    registers: int
    stack: int
    shared: int


class Launches:
    """Stands in for a kernel and notes how it is launched; what would be computed is not."""

    def __init__(self, kernel: Any, noted: dict[str, Callable[[GPUTarget], Needs]]) -> None:
        self._kernel, self._noted = kernel, noted

    def __getitem__(self, grid: object) -> Callable[..., None]:
        return self._launch

    def _launch(self, *arguments: Any, num_warps: int = 4, num_stages: int = 3, **constants: Any) -> None:
        names = self._kernel.arg_names
        given = dict(zip(names, arguments, strict=False))
        signature = {name: _type_of(value) for name, value in given.items()}
        signature |= dict.fromkeys(constants, "constexpr")
        # What Triton knows of arguments when it launches: PyTorch allocates so, and counts may be multiples.
        aligned = [["tt.divisibility", 16]]
        known = {
            (names.index(name),): aligned
            for name, value in given.items()
            if torch.is_tensor(value) or value % 16 == 0
        }
        source = ASTSource(self._kernel, signature, constants, known)
        options = {"num_warps": num_warps, "num_stages": num_stages}

        def needs(target: GPUTarget) -> Needs:
            compiled = triton.compile(source, target=target, options=options)
            registers, stack = _registers(compiled.asm["cubin"])
            return Needs(
                self._kernel.__name__, constants, num_warps, registers, stack, compiled.metadata.shared
            )

        self._noted.setdefault(
            repr((self._kernel.__name__, signature, constants, options, sorted(known))), needs
        )


def _type_of(value: Any) -> str:
    return _TYPES[value.dtype] if torch.is_tensor(value) else "i32"


def _registers(binary: bytes) -> tuple[int, int]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [str(_TOOLS / "cuobjdump"), "-res-usage", file.name]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = _RESOURCES.search(told)
    assert found is not None, told
    return int(found[1]), int(found[2])


@torch.inference_mode()
def kernels(config: str, precision: str, capability: str) -> list[Needs]:
    """What every kernel of a network needs, once for each way in which it is launched."""
    net = load_network(config)
    noted: dict[str, Callable[[GPUTarget], Needs]] = {}
    for name in ("norm_pointwise", "depthwise_project", "depthwise_gram"):
        setattr(steps, f"_{name}", Launches(getattr(steps.kernels, name), noted))
    for name in ("search", "move"):
        setattr(motion, f"_{name}", Launches(getattr(motion_kernels, name), noted))
    lq = torch.rand(1, net.config.lq_channels, 64, 64)
    FoldedGraph(net.G, DTYPES[precision], steps.TritonSteps())(lq)
    if net.config.compensated:
        assert len(pyramid(lq.view(-1, 3, 64, 64))) > 1
        motion.compensate(lq, net.config)
    major, minor = map(int, capability.split("."))
    target = GPUTarget("cuda", 10 * major + minor, 32)
    return [needs(target) for needs in noted.values()]


def traces(config: str) -> dict[str, list[int]]:
    """How many graphs were compiled after a batch of 4, 1, 2 and 3 frames, with own maps and with held ones.

    Of tensors that hold nothing: kernels are traced as on a GPU, and not run.
    """
    torch.utils._triton.has_triton = lambda: True  # pyright: ignore[reportPrivateUsage]
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    net = load_network(config)
    folded = FoldedGraph(net.G, torch.bfloat16, steps.TritonSteps())
    plain = FoldedGraph(net.G, torch.float32, StripSteps(None))
    with torch.inference_mode():
        _, *made = plain(torch.rand(1, net.config.lq_channels, 64, 64))
        maps = [one.bfloat16() for one in made]
    counts: dict[str, list[int]] = {"own": [], "held": []}
    with FakeTensorMode() as mode, torch.inference_mode():
        for module in folded.modules():
            for name, buffer in module.named_buffers(recurse=False):
                module._buffers[name] = mode.from_tensor(buffer)
        network = CompiledNetwork(folded, backend)
        held = [mode.from_tensor(one) for one in maps]
        for kind, given in (("own", []), ("held", held)):
            for frames in (4, 1, 2, 3):
                network(torch.empty(frames, net.config.lq_channels, 64, 96), *given)
                counts[kind].append(len(graphs))
    for graph in graphs:
        assert any("triton_kernel" in str(node.target) for node in graph.graph.nodes)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    of_kernels = commands.add_parser("kernels")
    of_kernels.add_argument("config")
    of_kernels.add_argument("precision", choices=DTYPES)
    of_kernels.add_argument("capability")
    of_traces = commands.add_parser("traces")
    of_traces.add_argument("config")
    arguments = parser.parse_args()
    if arguments.command == "kernels":
        for needs in kernels(arguments.config, arguments.precision, arguments.capability):
            print(json.dumps(asdict(needs)))
    else:
        print(json.dumps(traces(arguments.config)))


if __name__ == "__main__":
    main()
