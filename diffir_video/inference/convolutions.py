"""What DIRformer has besides its blocks; pixel (un)shuffles are part of the convolutions beside them."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffir_video.inference.strips import as_features, pixels
from diffir_video.network.config import ModelConfig
from diffir_video.network.dirformer import DIRformer, middle_frame, smoothed_pictures, upsample_base


class Convolutions(nn.Module):
    """The convolutions between the levels and at both ends; features are (N, C, H, W), channels_last."""

    def __init__(self, net: DIRformer, dtype: torch.dtype, features: torch.dtype) -> None:
        """dtype: of kernels and products. features: of what comes out of them."""
        super().__init__()
        config = net.config
        self.config, self._dtype, self._features = config, dtype, features
        # Its input comes as planes; a kernel in channels_last would have them rearranged first.
        self._keep("embed", with_unshuffle_before(net.patch_embed.proj.weight, config.unshuffle).to(dtype))
        for n in range(1, len(config.blocks)):
            self._keep(f"down{n}", self._ready(with_unshuffle_after(_weight(net, f"down{n}_{n + 1}.body.0"))))
            self._keep(f"up{n}", self._ready(shuffled_last(_weight(net, f"up{n + 1}_{n}.body.0"))))
            if n > 1:
                self._keep(f"reduce{n}", _weight(net, f"reduce_chan_level{n}").flatten(1).to(dtype))
        if config.tail == "upsample":
            self.tail = UpsampleTail(net, dtype)
        else:
            self._keep("output", self._ready(self._output_kernel(_weight(net, "output"))))

    def _keep(self, name: str, kernel: Tensor) -> None:
        self.register_buffer(f"{name}_kernel", kernel)

    def names(self) -> list[str]:
        """Of the kernels, as `kernel` takes them."""
        return [name.removesuffix("_kernel") for name, _ in self.named_buffers(recurse=False)]

    def kernel(self, name: str) -> Tensor:
        return self.get_buffer(f"{name}_kernel")

    def embed(self, lq: Tensor) -> Tensor:
        """(N, lq_channels, H, W) → the first level's features, H and W divided by `unshuffle`."""
        step = self.config.unshuffle
        return _channels_last(self._convolve_by_torch("embed", lq, stride=step, padding=step))

    def down(self, number: int, x: Tensor) -> Tensor:
        """From level `number` to the one below: (N, C, H, W) → (N, 2C, H/2, W/2)."""
        return _channels_last(self._convolve_by_torch(f"down{number}", x, stride=2, padding=1))

    def up(self, number: int, x: Tensor, skip: Tensor) -> Tensor:
        """To level `number`, beside its `skip`: (N, 2C, H/2, W/2) and (N, C, H, W) → (N, 2C, H, W)."""
        return torch.cat([shuffle(self._convolve_by_torch(f"up{number}", x)), skip], dim=1)

    def reduce(self, number: int, x: Tensor) -> Tensor:
        """The decoder's halving of channels after a skip; level 1 has none."""
        if number == 1:
            return x
        reduced = F.linear(pixels(x).to(self._dtype), self.kernel(f"reduce{number}"))
        return as_features(reduced.to(self._features), x)

    def to_picture(self, x: Tensor, lq: Tensor) -> Tensor:
        """The last features and the windows, (N, lq_channels, H, W) float32, → (N, 3, s·H, s·W) float32."""
        config = self.config
        base = middle_frame(lq, config)[:, :3]
        if config.tail == "upsample":
            return self._onto(base, self.enlarge(x))
        out = self.output(x)
        if config.blend:
            out, logits = torch.split(out, [out.shape[1] - config.blended + 1, config.blended - 1], dim=1)
            base = blend(lq, logits, config)
        return self._onto(base, F.pixel_shuffle(out.contiguous(), config.scale * config.unshuffle))

    def enlarge(self, x: Tensor) -> Tensor:
        """The last features → the picture's channels at four times the size, float32."""
        return self.tail(x.to(self._dtype)).float()

    def output(self, x: Tensor) -> Tensor:
        """The last features → the picture's channels and a blend's logits, before any shuffle, float32."""
        return self._convolve_by_torch("output", x).float()

    def _convolve_by_torch(self, name: str, x: Tensor, *, stride: int = 1, padding: int = 1) -> Tensor:
        kernel = self.kernel(name)
        return F.conv2d(x.to(self._dtype), kernel, stride=stride, padding=padding).to(self._features)

    def _onto(self, base: Tensor, out: Tensor) -> Tensor:
        if not self.config.residual:
            return out
        if self.config.scale > 1:
            base = upsample_base(base, self.config)
        return out.add_(base)

    def _output_kernel(self, kernel: Tensor) -> Tensor:
        """A softmax stays the same with the middle frame's logit at 0: one channel less to compute."""
        blended = self.config.blended
        if not blended:
            return kernel
        picture, logits = torch.split(kernel, [len(kernel) - blended, blended])
        middle = self.config.past
        others = torch.cat([logits[:middle], logits[middle + 1 :]])
        return torch.cat([picture, others - logits[middle]])

    def _ready(self, kernel: Tensor) -> Tensor:
        return kernel.to(self._dtype).contiguous(memory_format=torch.channels_last)


class UpsampleTail(nn.Module):
    """The published super-resolution tail: (N, C, H, W) → (N, 3, 4H, 4W)."""

    def __init__(self, net: DIRformer, dtype: torch.dtype) -> None:
        super().__init__()
        twice = cast(nn.Sequential, net.tail[0])
        convolutions = {"first": twice[0], "second": twice[2], "last": net.tail[1]}
        for name, convolution in convolutions.items():
            kernel, bias = _convolution(cast(nn.Conv2d, convolution), dtype, shuffled=name != "last")
            self.register_buffer(f"{name}_kernel", kernel)
            self.register_buffer(f"{name}_bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        x = shuffle(self._convolve("first", x))
        return self._convolve("last", shuffle(self._convolve("second", x)))

    def _convolve(self, name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, self.get_buffer(f"{name}_kernel"), self.get_buffer(f"{name}_bias"), padding=1)


def _convolution(conv: nn.Conv2d, dtype: torch.dtype, *, shuffled: bool) -> tuple[Tensor, Tensor]:
    bias = cast(Tensor, conv.bias).detach()
    kernel = conv.weight.detach()
    if shuffled:
        kernel, bias = shuffled_last(kernel), shuffled_last(bias)
    return kernel.to(dtype).contiguous(memory_format=torch.channels_last), bias.to(dtype)


def with_unshuffle_before(kernel: Tensor, factor: int) -> Tensor:
    """A 3x3 kernel (O, C·f², 3, 3) on pixel-unshuffled input as one on the input itself, (O, C, 3f, 3f).

    To be used with stride f and padding f.
    """
    out_channels = len(kernel)
    cells = kernel.detach().view(out_channels, -1, factor, factor, 3, 3).permute(0, 1, 4, 2, 5, 3)
    return cells.reshape(out_channels, -1, 3 * factor, 3 * factor)


def with_unshuffle_after(kernel: Tensor) -> Tensor:
    """A 3x3 kernel (O, C, 3, 3) followed by PixelUnshuffle(2) as one kernel, (4·O, C, 4, 4).

    To be used with stride 2 and padding 1.
    """
    corners = [F.pad(kernel, (j, 1 - j, i, 1 - i)) for i in (0, 1) for j in (0, 1)]
    return torch.stack(corners, dim=1).flatten(0, 1)


def shuffled_last(weights: Tensor) -> Tensor:
    """Output channels (4·C, …), as PixelShuffle(2) wants them, in the order that `shuffle` wants."""
    cells = weights.reshape(-1, 4, *weights.shape[1:])
    return cells.transpose(0, 1).reshape(weights.shape)


def shuffle(x: Tensor) -> Tensor:
    """PixelShuffle(2) of channels ordered by `shuffled_last`: runs of C channels move as one.

    (N, 4·C, H, W) → (N, C, 2H, 2W), both channels_last.
    """
    count, channels, height, width = x.shape
    cells = x.permute(0, 2, 3, 1).reshape(count, height, width, 2, 2, channels // 4)
    picture = cells.permute(0, 1, 3, 2, 4, 5).reshape(count, 2 * height, 2 * width, channels // 4)
    return picture.permute(0, 3, 1, 2)


def blend(lq: Tensor, logits: Tensor, config: ModelConfig) -> Tensor:
    """Frames and smoothed pictures weighted by the softmax of `logits`, the middle frame's being 0.

    lq: (N, 3·frames, H, W); logits: (N, blended - 1, H / unshuffle, W / unshuffle), the middle frame's left
    out. Returns (N, 3, H, W).
    """
    zero, middle = torch.zeros_like(logits[:, :1]), config.past
    logits = torch.cat([logits[:, :middle], zero, logits[:, middle:]], dim=1)
    weights = F.interpolate(logits.softmax(dim=1), scale_factor=float(config.unshuffle), mode="nearest")
    first, *others = torch.split(lq, 3, dim=1)
    if config.blend_smoothed:
        others += smoothed_pictures(lq, config)
    out = first * weights[:, :1]
    for index, picture in enumerate(others, start=1):
        out.addcmul_(picture, weights[:, index : index + 1])
    return out


def _weight(net: DIRformer, module: str) -> Tensor:
    return net.get_parameter(f"{module}.weight").detach()


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
