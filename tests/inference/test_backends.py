"""Every backend computes what plain torch computes, kernel by kernel and as a whole network."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import diffir_video as dv
from diffir_video import Restorer
from diffir_video.errors import BackendError
from diffir_video.inference import FoldedDIRformer, InferenceOptions
from diffir_video.inference.cuda.exported import WithWeights, export
from diffir_video.inference.fold import FoldedBlock
from diffir_video.inference.graph import FoldedGraph
from diffir_video.inference.native import NativeProduct, NativeSteps, Terms, library
from diffir_video.inference.strips import BlockSteps, StripSteps
from diffir_video.network.dirformer import TransformerBlock
from tests.inference.test_folded import TOLERANCE, difference, frame, network, priors, reference
from tests.network.test_variants import config, tiny

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")

HAS_BYTES = library.load_kernels().has_bytes
NEEDS_BYTES = pytest.mark.skipif(not HAS_BYTES, reason="this processor has no VNNI")
FLOATS_AND_BYTES = [0, pytest.param(-1, marks=NEEDS_BYTES)]

# Channels and heads: whole vectors or not, heads narrower than a vector, one head of all channels.
BLOCKS = [(8, 2), (16, 2), (32, 4), (48, 1), (52, 2), (96, 2)]


def folded_block(channels: int, heads: int, *, norm: str = "bias", expansion: float = 1.7) -> FoldedBlock:
    torch.manual_seed(channels + heads)
    model = tiny(norm=norm, ffn_expansion=expansion, prior_width=8)
    block = TransformerBlock(channels, heads=heads, config=model)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    folded = FoldedBlock(block, torch.float32)
    with torch.inference_mode():
        folded.fold(torch.randn(8))
    return folded


def features(channels: int, height: int, width: int, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(count, channels, height, width, generator=generator)
    return x.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def assert_twins(steps: BlockSteps, block: FoldedBlock, x: Tensor, tolerance: float = TOLERANCE) -> None:
    plain = StripSteps(None)
    maps = plain.maps(block, x)
    for ours, expected in (
        (steps.maps(block, x), maps),
        (steps.attend(block, x, maps) - x, plain.attend(block, x, maps) - x),
        (steps.attend(block, x, maps[:1]) - x, plain.attend(block, x, maps[:1]) - x),
        (steps.feed_forward(block, x) - x, plain.feed_forward(block, x) - x),
    ):
        assert float((ours - expected).norm() / expected.norm()) <= tolerance


@pytest.mark.parametrize(("channels", "heads"), BLOCKS)
def test_native_kernels_are_their_plain_twins(channels: int, heads: int) -> None:
    assert_twins(NativeSteps(0), folded_block(channels, heads), features(channels, 37, 71))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (70, 17)])
@pytest.mark.parametrize("norm", ["bias", "bias_free"])
def test_native_kernels_take_any_size_and_both_norms(size: tuple[int, int], norm: str) -> None:
    block = folded_block(32, 2, norm=norm, expansion=0.4)
    assert_twins(NativeSteps(0), block, features(32, *size, count=3))


@pytest.mark.parametrize("terms", FLOATS_AND_BYTES)
@torch.inference_mode()
def test_native_kernels_give_the_same_bytes_for_any_number_of_threads(terms: Terms) -> None:
    block, x, steps = folded_block(32, 4), features(32, 90, 150, count=1), NativeSteps(terms)
    threads = torch.get_num_threads()
    results: list[tuple[Tensor, ...]] = []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            maps = steps.maps(block, x)
            results.append((maps, steps.attend(block, x, maps), steps.feed_forward(block, x)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, three) for one, three in zip(*results, strict=True))


@pytest.mark.parametrize("shape", [(3, 5, 7, 9), (40, 70, 64, 33)])
def test_the_product_that_rates_are_measured_by_is_one(shape: tuple[int, int, int, int]) -> None:
    height, width, inputs, outputs = shape
    x, weight = torch.randn(height, width, inputs), torch.randn(outputs, inputs)
    torch.testing.assert_close(NativeProduct(weight, 0)(x), x @ weight.T, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(sys.platform != "linux", reason="torch's OpenMP has another interface here")
@torch.inference_mode()
def test_native_kernels_work_in_torchs_threads_and_give_the_same_bytes_in_their_own() -> None:
    """Threads beside those would share processors with them: they spin after each of torch's operations."""
    block, x, steps = folded_block(32, 4), features(32, 90, 150), NativeSteps(0)
    kernels = library.load_kernels()
    assert kernels.team.value == library.torch_team() is not None
    shared = steps.feed_forward(block, x)
    kernels.team.value = None
    try:
        assert torch.equal(steps.feed_forward(block, x), shared)
    finally:
        kernels.team.value = library.torch_team()


@pytest.mark.parametrize("terms", FLOATS_AND_BYTES)
@pytest.mark.parametrize("no_number", [torch.nan, torch.inf])
@torch.inference_mode()
def test_native_kernels_pass_on_what_is_no_number(terms: Terms, no_number: float) -> None:
    """A frame that has some is redone; it has to be seen."""
    block, x, steps = folded_block(16, 2), features(16, 8, 8), NativeSteps(terms)
    x[0, 3, 4, 4] = no_number
    assert not steps.feed_forward(block, x)[0, 3, 4, 4].isfinite()
    assert steps.feed_forward(block, x)[1].isfinite().all()


@NEEDS_BYTES
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (48, 33), (128, 100)])
def test_products_of_bytes_are_those_of_rounded_factors(inputs: int, outputs: int) -> None:
    """Each pixel and each output by a scale of its own; a pixel of zeros and an output of zeros are zero."""
    torch.manual_seed(0)
    x, weight = 3 * torch.randn(7, 70, inputs), torch.randn(outputs, inputs)
    x[2, 3], weight[5], weight[6] = 0, 0, 1e-3 * weight[6]
    by_pixel = x.double().abs().amax(2, keepdim=True).clamp_min(1e-30) / 127
    by_output = weight.double().abs().amax(1, keepdim=True).clamp_min(1e-30) / 127
    pixels, weights = (x / by_pixel).round() * by_pixel, (weight / by_output).round() * by_output
    made, expected = NativeProduct(weight, -1)(x).double(), pixels @ weights.T
    assert float((made - expected).norm() / expected.norm()) < 1e-3
    assert float((made - x.double() @ weight.T.double()).norm() / expected.norm()) > 5e-3
    assert not made[2, 3].any()
    assert not made[..., 5].any()


@NEEDS_BYTES
@pytest.mark.parametrize(("channels", "heads"), BLOCKS)
@pytest.mark.parametrize("norm", ["bias", "bias_free"])
def test_blocks_in_bytes_are_near_their_plain_twins(channels: int, heads: int, norm: str) -> None:
    block = folded_block(channels, heads, norm=norm)
    assert_twins(NativeSteps(-1), block, features(channels, 37, 71), tolerance=0.03)


@NEEDS_BYTES
@pytest.mark.parametrize("name", ["deblur", "sr-x4", "denoise-nano", "denoise-live", "upscale-x2-nano"])
def test_int8_restores_within_fifty_decibels_of_float32(name: str) -> None:
    """Of what the network adds to a picture, which has the size that 20 dB ask for."""
    model = config(name)
    net = network(model)
    lq = frame(model, 3 * model.multiple, 2 * model.multiple)
    (prior,) = priors(model, 1)
    folded = FoldedDIRformer(net, options=InferenceOptions(backend="compile", products="int8"))
    folded.fold(prior)
    assert difference(folded.restore(lq), reference(net, lq, prior), lq, model) <= 10 ** (-(50 - 20) / 20)


def test_int8_is_refused_where_it_would_be_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        BackendError, match="int8 is for backend compile on a CPU, not eager on cpu; use fp32"
    ):
        Restorer.from_pretrained("denoise-nano", device="cpu", precision="int8", backend="eager")
    monkeypatch.setattr(library.load_kernels(), "has_bytes", False)
    with pytest.raises(BackendError, match=r"no VNNI.*use precision fp32"):
        Restorer.from_pretrained("denoise-nano", device="cpu", precision="int8")


@pytest.mark.skipif(not library.load_kernels().has_tiles, reason="this processor has no AMX")
@pytest.mark.parametrize(("channels", "heads"), [(16, 2), (24, 2), (48, 1), (96, 2), (144, 3)])
@pytest.mark.parametrize("size", [(1, 1), (5, 16), (17, 30), (37, 71)])
@pytest.mark.parametrize("terms", [1, 3])
@torch.inference_mode()
def test_products_by_tiles_are_those_by_vectors(
    channels: int, heads: int, size: tuple[int, int], terms: Terms
) -> None:
    """Whole tiles and parts of them, of pixels, inputs and outputs; sums differ by their order alone."""
    block, x, kernels = folded_block(channels, heads), features(channels, *size), library.load_kernels()
    made: list[list[Tensor]] = []
    for tiles in (True, False):
        kernels.use_tiles(tiles)
        try:
            steps = NativeSteps(terms)
            maps = steps.maps(block, x)
            made.append([maps, steps.attend(block, x, maps), steps.feed_forward(block, x)])
        finally:
            kernels.use_tiles(True)
    for by_tiles, by_vectors in zip(*made, strict=True):
        # What is rounded to bfloat16 after a product may then round the other way.
        assert float((by_tiles - by_vectors).norm() / by_vectors.norm()) < 1e-4


@pytest.mark.skipif(not library.load_kernels().has_tiles, reason="this processor has no AMX")
@pytest.mark.parametrize(("channels", "heads"), BLOCKS)
def test_three_products_of_bfloat16_are_nearly_one_of_float32(channels: int, heads: int) -> None:
    block, x = folded_block(channels, heads), features(channels, 37, 71)
    assert_twins(NativeSteps(3), block, x, tolerance=1e-4)
    with pytest.raises(AssertionError):
        assert_twins(NativeSteps(1), block, x, tolerance=1e-3)


@pytest.mark.skipif(not library.load_kernels().has_tiles, reason="this processor has no AMX")
@pytest.mark.parametrize("name", ["deblur", "sr-x4", "denoise-nano", "denoise-live"])
def test_bf16x3_restores_what_float32_does(name: str) -> None:
    model = config(name)
    net = network(model)
    lq = frame(model, 3 * model.multiple, 2 * model.multiple)
    (prior,) = priors(model, 1)
    folded = FoldedDIRformer(net, options=InferenceOptions(backend="compile", products="bf16x3"))
    folded.fold(prior)
    assert difference(folded.restore(lq), reference(net, lq, prior), lq, model) <= 1e-4


def test_bf16x3_is_refused_where_it_would_be_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        BackendError, match="bf16x3 is for backend compile on a CPU, not eager on cpu; use fp32"
    ):
        Restorer.from_pretrained("denoise-nano", device="cpu", precision="bf16x3", backend="eager")
    kernels = library.load_kernels()
    monkeypatch.setattr(kernels, "has_half", True)
    monkeypatch.setattr(kernels, "has_tiles", False)
    with pytest.raises(BackendError, match=r"no AMX.*slower than fp32"):
        Restorer.from_pretrained("denoise-nano", device="cpu", precision="bf16x3")


@pytest.mark.skipif(not library.load_kernels().has_half, reason="this processor has no AVX512-BF16")
@pytest.mark.parametrize("name", ["sr-x4", "denoise-nano"])
def test_native_half_precision_is_closer_than_plain_half_precision(name: str) -> None:
    """Sums and everything between products stay in float32."""
    model = config(name)
    net = network(model)
    lq = frame(model, 2 * model.multiple, 2 * model.multiple)
    (prior,) = priors(model, 1)
    expected, errors = reference(net, lq, prior), {}
    for backend in ("eager", "compile"):
        options = InferenceOptions(backend=backend)
        folded = FoldedDIRformer(net, dtype=torch.bfloat16, options=options)
        folded.fold(prior)
        errors[backend] = difference(folded.restore(lq), expected, lq, model)
    assert errors["compile"] < errors["eager"] < 0.1


@pytest.mark.parametrize("tile", ["auto", "off", 16, 50])
@pytest.mark.parametrize("name", ["denoise-nano", "denoise-live", "upscale-x2-nano"])
def test_a_whole_network_is_the_same_by_native_kernels(name: str, tile: str) -> None:
    """Five frames blended, two and what is smoothed of them, and a blend that is enlarged."""
    model = config(name)
    net = network(model)
    lq = frame(model, 40, 88, count=2)
    options = InferenceOptions(tile=tile, batch=2, backend="compile")  # pyright: ignore[reportArgumentType]
    folded = FoldedDIRformer(net, options=options)
    for prior in priors(model, 2):
        folded.fold(prior)
        assert difference(folded.restore(lq), reference(net, lq, prior), lq, model) <= TOLERANCE


@pytest.mark.parametrize("size", [(8, 8), (8, 200), (72, 8)])
def test_native_pictures_may_be_smaller_than_what_smoothing_reads(size: tuple[int, int]) -> None:
    model = config("denoise-live")
    net = network(model)
    lq = frame(model, *size)
    folded = FoldedDIRformer(net, options=InferenceOptions(backend="compile"))
    (prior,) = priors(model, 1)
    folded.fold(prior)
    assert difference(folded.restore(lq), reference(net, lq, prior), lq, model) <= TOLERANCE


def test_a_whole_network_gives_the_same_bytes_for_any_number_of_threads() -> None:
    model = config("denoise-live")
    lq = frame(model, 104, 168)
    folded = FoldedDIRformer(network(model), options=InferenceOptions(backend="compile"))
    (prior,) = priors(model, 1)
    folded.fold(prior)
    threads, results = torch.get_num_threads(), list[Tensor]()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            results.append(folded.restore(lq))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_a_machine_without_a_compiler_is_told_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Asked for by name it is an error; "auto" goes on eagerly and says why."""
    library.load_kernels.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    net = dv.DiffIRS2(tiny()).eval()
    try:
        with pytest.raises(BackendError, match="needs a C compiler, and CC='no-such-compiler' is not one"):
            dv.Restorer(net, device="cpu", backend="compile")
        assert dv.Restorer(net, device="cpu").inference.backend == "eager"
        assert "backend eager is used" in caplog.text
        monkeypatch.setenv("CC", "false")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        with pytest.raises(BackendError, match="false"):
            dv.Restorer(net, device="cpu", backend="compile")
    finally:
        library.load_kernels.cache_clear()


@pytest.mark.slow
@torch.inference_mode()
def test_where_no_compiler_is_installed_the_packaged_one_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("ziglang", reason="the extra `compiler` is not installed")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    library.load_kernels.cache_clear()
    try:
        assert library.load_kernels().lanes >= 4
        (kept,) = (path for path in tmp_path.rglob("*") if path.is_file())
        assert kept.suffix == ".so"
        assert_twins(NativeSteps(0), folded_block(52, 2), features(52, 37, 71))
    finally:
        library.load_kernels.cache_clear()


def test_a_compiler_may_come_with_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", "env gcc -g0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.load_kernels.cache_clear()
    try:
        assert library.load_kernels().lanes >= 4
        assert len(list(tmp_path.rglob("kernels-*.so"))) == 1
    finally:
        library.load_kernels.cache_clear()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86 has vectors of several widths")
@pytest.mark.parametrize(
    "less",
    [
        "-mno-avx512f",
        pytest.param("-mno-avx512f -mno-avxvnni", marks=pytest.mark.slow),
        pytest.param("-mno-avx", marks=pytest.mark.slow),
    ],
)
@torch.inference_mode()
def test_kernels_of_lesser_processors_are_twins_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, less: str
) -> None:
    monkeypatch.setenv("CC", f"gcc {less}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.load_kernels.cache_clear()
    try:
        kernels = library.load_kernels()
        assert kernels.lanes == (4 if less == "-mno-avx" else 8)
        for terms in (0, -1) if kernels.has_bytes else (0,):
            tolerance = 0.03 if terms else TOLERANCE
            assert_twins(NativeSteps(terms), folded_block(52, 2), features(52, 37, 71), tolerance=tolerance)
        net, lq = network(config("denoise-nano")), frame(config("denoise-nano"), 40, 88)
        (prior,) = priors(config("denoise-nano"), 1)
        folded = FoldedDIRformer(net, options=InferenceOptions(backend="compile"))
        folded.fold(prior)
        expected = reference(net, lq, prior)
        assert difference(folded.restore(lq), expected, lq, config("denoise-nano")) <= TOLERANCE
    finally:
        library.load_kernels.cache_clear()


def test_kernels_are_not_taken_from_where_others_may_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "diffir-video"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.load_kernels.cache_clear()
    try:
        with pytest.raises(BackendError, match="may be written by others"):
            library.load_kernels()
    finally:
        library.load_kernels.cache_clear()


def test_tensorrt_needs_a_gpu() -> None:
    with pytest.raises(BackendError, match="needs a GPU, not device cpu"):
        dv.Restorer(dv.DiffIRS2(tiny()), device="cpu", backend="tensorrt")


def test_options_that_make_no_sense_are_refused() -> None:
    for options, message in (
        ({"tile": 8}, "tile 8: expected auto, off, or 16 pixels"),
        ({"batch": 0}, "batch 0: expected auto or a number of frames"),
        ({"backend": "fastest"}, "backend 'fastest': expected one of"),
    ):
        with pytest.raises(dv.UsageError, match=message):
            InferenceOptions(**options)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("name", "holds_maps"),
    [
        ("nano", False),
        pytest.param("nano", True, marks=pytest.mark.slow),
        pytest.param("upsample", False, marks=pytest.mark.slow),
    ],
)
def test_the_exported_program_is_the_network_in_core_operators_alone(name: str, *, holds_maps: bool) -> None:
    """Folded weights are its inputs: another prior needs no other program."""
    model = tiny(tail="upsample", scale=4, norm="bias_free", blocks=[1, 1], heads=[1, 2])
    if name == "nano":
        model = tiny(past=1, future=1, unshuffle=2, blend=True, blocks=[1, 1, 1], heads=[1, 2, 2])
    net = network(model)
    lq = frame(model, 2 * model.multiple, 2 * model.multiple, count=2)
    graph = FoldedGraph(net, torch.float32, StripSteps(None))
    first, second = priors(model, 2)
    with torch.no_grad():
        for block in graph.blocks():
            block.fold(first)
        _, *maps = graph(lq[:1])
        held = maps if holds_maps else []
        program = export(WithWeights(graph), lq, held)
        for node in program.graph.nodes:
            if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
                assert torch.Tag.core in node.target.tags, node.target
        for block in graph.blocks():
            block.fold(second)
        restored = program.module()(lq, WithWeights(graph).weights(), tuple(held))[0]
        torch.testing.assert_close(restored, graph(lq, *held)[0], atol=1e-5, rtol=1e-5)


@pytest.fixture
def triton_steps() -> BlockSteps:
    """Under Triton's interpreter where there is no GPU (see tests/conftest.py)."""
    pytest.importorskip("triton", reason="Triton is not installed")
    from diffir_video.inference.cuda.steps import TritonSteps

    return TritonSteps()


@pytest.mark.parametrize(("channels", "heads", "norm"), [(16, 2, "bias"), (20, 1, "bias_free")])
def test_triton_kernels_are_their_plain_twins(
    triton_steps: BlockSteps, channels: int, heads: int, norm: str
) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    block = folded_block(channels, heads, norm=norm).to(device)
    assert_twins(triton_steps, block, features(channels, 5, 15).to(device))


@NEEDS_CUDA
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("backend", ["eager", "compile"])
def test_a_whole_network_is_the_same_on_cuda(backend: str, precision: str) -> None:
    model = config("denoise-nano")
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    net = network(model).cuda()
    lq = frame(model, 40, 88, count=4).cuda()
    folded = FoldedDIRformer(net, dtype=dtype, options=InferenceOptions(backend=backend))  # pyright: ignore[reportArgumentType]
    for prior in priors(model, 2).cuda():
        folded.fold(prior)
        expected = reference(net, lq, prior)
        limit = 1e-3 if precision == "fp32" else 0.1
        assert difference(folded.restore(lq), expected, lq, model) <= limit
        kept = folded.restore_keeping_maps(lq[:1])
        assert difference(folded.restore_with_held_maps(lq)[:1], kept, lq[:1], model) <= limit
