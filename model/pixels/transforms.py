"""Frames to the network's input, and its logits to masks of the video's size.

Legend: H, W pixels of the video, S side of the model's square input, h, w low-resolution logits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.pixels.transfers import on_device

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


def resize_frame(pixels_HW3: Tensor, image_size: int) -> Tensor:
    """uint8 `[H, W, 3]` to uint8 `[S, S, 3]`, contiguous: bilinear with antialias, aspect ratio not kept.

    On uint8 as in `transformers` (`sam2` takes PIL's default, bicubic). Safe to run in a helper thread.
    """
    size = (image_size, image_size)
    height, width, _ = pixels_HW3.shape
    if (height, width) == size:
        return pixels_HW3.contiguous()
    # Torch resizes interleaved pixels faster than planes, with the same bits. It tells them by the strides, also by
    # those of dimensions of size 1. The flat view makes these the usual ones.
    interleaved = pixels_HW3.contiguous().flatten().view(1, height, width, 3)
    planes = interleaved.permute(0, 3, 1, 2)
    if planes.is_cpu:
        resized = F.interpolate(planes, size=size, mode="bilinear", antialias=True)
    else:  # elsewhere torch has no such operation on uint8
        resized = F.interpolate(planes.float(), size=size, mode="bilinear", antialias=True).round_().to(torch.uint8)
    return resized.squeeze(0).permute(1, 2, 0).contiguous()


def normalize(pixels_FSS3: Tensor, device: torch.device, dtype: torch.dtype, levels_23: Tensor | None = None) -> Tensor:
    """uint8 `[F, S, S, 3]` to the network's input `[F, 3, S, S]`, computed in float32 on `device`.

    `levels_23` are those of `channel_levels` on that device, for callers that keep them.
    """
    pixels = on_device(pixels_FSS3, device).permute(0, 3, 1, 2).float()
    mean, std = (channel_levels(device) if levels_23 is None else levels_23).view(2, 3, 1, 1)
    normalized: Tensor = (pixels / 255 - mean) / std
    return normalized.to(dtype)


def channel_levels(device: torch.device) -> Tensor:
    """Mean and standard deviation of the three channels, float32 `[2, 3]`.

    They are kept with a network, never with a process: a device may be gone and another one have its name.
    """
    with torch.inference_mode(False):
        return on_device((IMAGE_MEAN, IMAGE_STD), device, torch.float32)


def resize_mask(mask_HW: Tensor, image_size: int) -> Tensor:
    """Bool `[H, W]` to bool `[S, S]`: antialiased, then cut at one half, as in `sam2`.

    A mask so thin that nothing reaches one half keeps every pixel that it touches: no prompt becomes empty.
    """
    if tuple(mask_HW.shape) == (image_size, image_size):
        return mask_HW
    size = (image_size, image_size)
    share = F.interpolate(mask_HW[None, None].float(), size=size, mode="bilinear", align_corners=False, antialias=True)
    mask = share[0, 0] >= 0.5
    return mask if mask.any() else share[0, 0] > 0


def upsample_logits(logits_Bhw: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Low-resolution logits `[B, h, w]` to the size of the video, bilinear, float32 `[B, H, W]`."""
    return F.interpolate(logits_Bhw.float().unsqueeze(1), size=size_hw, mode="bilinear", align_corners=False).squeeze(1)
