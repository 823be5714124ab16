"""How close a restored picture or clip is to its ground truth: PSNR, SSIM, temporal flicker.

Every function takes tensors (T, 3, H, W), RGB, float in [0, 1] (values outside are measured as they are),
both of one shape and device, and answers with one value per frame, float32, on that device. A clip's figure
is the mean of its frames' figures, as the restoration literature reports it (`mean_psnr`).

Luma is ITU-R BT.601 studio range, ``Y = 16 + 65.481 R + 128.553 G + 24.966 B`` for RGB in [0, 1], measured
against a peak of 255: the convention of MATLAB's ``rgb2ycbcr`` and of the restoration literature that follows
it (SRCNN, EDSR, BasicSR). It reads about 1.3 dB above luma stretched to full range, whatever matrix the file
itself carries; only figures taken the same way compare.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diffir_video.errors import UsageError

_BT601_LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)
_BT601_OFFSET = 16 / 255

# Equal frames have no finite PSNR; in means they count as this, as VMAF's and others' tools do.
PSNR_CEILING = 100.0

SSIM_WINDOW = 11
_SSIM_SIGMA = 1.5
_SSIM_C1 = 0.01**2
_SSIM_C2 = 0.03**2


def luma(picture: Tensor) -> Tensor:
    """BT.601 studio-range luma of RGB.

    Args:
        picture: (T, 3, H, W) RGB, float in [0, 1].

    Returns:
        (T, 1, H, W) float32, from 16/255 for black to 235/255 for white.

    Raises:
        UsageError: the tensor has another shape, or holds integers.
    """
    if picture.ndim != 4 or picture.shape[1] != 3:
        raise UsageError(f"expected RGB of shape (T, 3, H, W), got {tuple(picture.shape)}")
    _check_range_type(picture)
    red, green, blue = picture.float().unbind(1)
    weighted = _BT601_LUMA[0] * red + _BT601_LUMA[1] * green + _BT601_LUMA[2] * blue
    return (weighted + _BT601_OFFSET).unsqueeze(1)


def psnr(restored: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio over the three channels together, peak 1.

    Args:
        restored, reference: (T, 3, H, W) RGB, float in [0, 1].

    Returns:
        (T,) in dB; ``inf`` for frames that are equal.

    Raises:
        UsageError: unequal or other shapes, or integers.
    """
    _check_pair(restored, reference)
    return _psnr_per_frame(restored, reference)


def psnr_y(restored: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of BT.601 studio-range luma, peak 255 (see the module's text).

    Args:
        restored, reference: (T, 3, H, W) RGB, float in [0, 1].

    Returns:
        (T,) in dB; ``inf`` for frames that are equal.

    Raises:
        UsageError: unequal or other shapes, or integers.
    """
    _check_pair(restored, reference)
    return _psnr_per_frame(luma(restored), luma(reference))


def mean_psnr(values: Tensor) -> float:
    """The mean of frames' PSNR, (T,) in dB; equal frames, and all above, count as `PSNR_CEILING`."""
    return values.clamp(max=PSNR_CEILING).mean().item()


def ssim(restored: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity of luma: Gaussian window of 11 x 11, sigma 1.5, K1 = 0.01, K2 = 0.03.

    Only windows that lie inside the picture count, as in the authors' own code (Wang, Bovik, Sheikh and
    Simoncelli, "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP 2004)
    and in scikit-image's ``structural_similarity(gaussian_weights=True, use_sample_covariance=False)``.

    Args:
        restored, reference: (T, 3, H, W) RGB, float in [0, 1], H and W at least 11.

    Returns:
        (T,), at most 1; 1 for frames that are equal.

    Raises:
        UsageError: unequal or other shapes, integers, or a picture smaller than the window.
    """
    _check_pair(restored, reference)
    _check_ssim_size(restored)
    return _ssim_of_planes(luma(restored), luma(reference))


def ssim_rgb(restored: Tensor, reference: Tensor) -> Tensor:
    """As `ssim`, of red, green and blue by themselves, then their mean.

    Args:
        restored, reference: (T, 3, H, W) RGB, float in [0, 1], H and W at least 11.

    Returns:
        (T,), at most 1; 1 for frames that are equal.

    Raises:
        UsageError: unequal or other shapes, integers, or a picture smaller than the window.
    """
    _check_pair(restored, reference)
    _check_ssim_size(restored)
    planes = _ssim_of_planes(restored.flatten(0, 1).unsqueeze(1), reference.flatten(0, 1).unsqueeze(1))
    return planes.view(-1, 3).mean(dim=1)


def _check_ssim_size(pictures: Tensor) -> None:
    if min(pictures.shape[-2:]) < SSIM_WINDOW:
        height, width = pictures.shape[-2:]
        raise UsageError(f"SSIM needs at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels, got {width}x{height}")


def _ssim_of_planes(restored: Tensor, reference: Tensor) -> Tensor:
    """(N, 1, H, W) in [0, 1], both → (N,)."""
    # Variances do not change with a shift, and small numbers keep them exact in float32.
    x, y = restored.float() - 0.5, reference.float() - 0.5
    moments = _gaussian_mean(torch.cat((x, y, x * x, y * y, x * y)))
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = moments.chunk(5)
    variances = (mean_xx - mean_x**2) + (mean_yy - mean_y**2)
    covariance = mean_xy - mean_x * mean_y
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    luminance = (2 * mean_x * mean_y + _SSIM_C1) / (mean_x**2 + mean_y**2 + _SSIM_C1)
    structure = (2 * covariance + _SSIM_C2) / (variances + _SSIM_C2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def temporal_flicker(restored: Tensor, reference: Tensor) -> Tensor:
    """How much a clip changes from frame to frame where its ground truth does not, or the reverse.

    The mean over pixels and channels of ``|(r[t] - r[t-1]) - (g[t] - g[t-1])|``: the temporal difference
    error, in which an error that stands still costs nothing and one that flickers costs all of it.

    Args:
        restored, reference: (T, 3, H, W) RGB, float in [0, 1], T at least 2.

    Returns:
        (T - 1,) in the pictures' own range, 0 at best.

    Raises:
        UsageError: unequal or other shapes, integers, or a single frame.
    """
    _check_pair(restored, reference)
    if len(restored) < 2:
        raise UsageError(f"temporal flicker needs at least 2 frames, got {len(restored)}")
    error = restored.float() - reference.float()
    return error.diff(dim=0).abs().mean(dim=(1, 2, 3))


def _check_pair(restored: Tensor, reference: Tensor) -> None:
    if restored.shape != reference.shape:
        raise UsageError(
            f"can't compare pictures of shapes {tuple(restored.shape)} and {tuple(reference.shape)}"
        )
    if restored.ndim != 4 or restored.shape[1] != 3:
        raise UsageError(f"expected RGB of shape (T, 3, H, W), got {tuple(restored.shape)}")
    for pictures in (restored, reference):
        _check_range_type(pictures)


def _check_range_type(pictures: Tensor) -> None:
    if not pictures.is_floating_point():
        raise UsageError(f"expected floating-point RGB in [0, 1], got {pictures.dtype}; divide 8 bits by 255")


def _psnr_per_frame(restored: Tensor, reference: Tensor) -> Tensor:
    squared_error = (restored.float() - reference.float()).square().mean(dim=(1, 2, 3))
    return -10 * squared_error.log10()


def _gaussian_mean(maps: Tensor) -> Tensor:
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * _SSIM_SIGMA**2))
    taps = (weights / weights.sum()).to(maps)
    rows = F.conv2d(maps, taps.view(1, 1, SSIM_WINDOW, 1))
    return F.conv2d(rows, taps.view(1, 1, 1, SSIM_WINDOW))
