"""The floating-point operations that a model takes, counted, and those that a device can do, measured."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from cellmae.models import Architecture, MaskedAutoencoder, ViTEncoder
from timing import Contestant

PRODUCT = "matrix product"
REFERENCE_PEAKS = {"H200": 790e12}
"""FLOP/s of large bfloat16 matrix products as measured elsewhere, by a part of the device's name."""

EDGES = {"cuda": 8192, "cpu": 2048}  # of the matrices whose product is called the peak


def training_flops(architecture: Architecture, *, channels: int, crop_size: int, mask_ratio: float) -> float:
    """Count the operations of forward and backward pass a crop, a multiply-add as two.

    What the task needs: the matrix products up to the squared error of masked patches. Optimizer, Fourier term, norms
    and softmax are left out, as is usual for FLOP utilisation.
    """
    encoder, crops = _shapes(architecture, channels, crop_size)
    autoencoder = MaskedAutoencoder(encoder, mask_ratio=mask_ratio).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        reconstruction = autoencoder(crops, torch.empty(1, encoder.tokens, device="meta"))
        (reconstruction.prediction - reconstruction.target).square().mean().backward()
    return counter.get_total_flops()


def embedding_flops(architecture: Architecture, *, channels: int, crop_size: int) -> float:
    """Count the operations of an unmasked forward pass a crop, a multiply-add as two."""
    encoder, crops = _shapes(architecture, channels, crop_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder.embed(crops)
    return counter.get_total_flops()


def _shapes(architecture: Architecture, channels: int, crop_size: int) -> tuple[ViTEncoder, torch.Tensor]:
    """Return an encoder and one crop without numbers in them."""
    # In evaluation mode no path is dropped: papers count whole models.
    encoder = ViTEncoder(architecture, channels=channels, crop_size=crop_size).to("meta").eval()
    return encoder, torch.empty(1, channels, crop_size, crop_size, device="meta")


def peak_contestant(device: torch.device, dtype: torch.dtype) -> Contestant:
    """Return the large matrix product whose speed, FLOP/s, stands for the device's peak."""
    edge = EDGES[device.type]
    left, right = (torch.randn(edge, edge, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    return Contestant(PRODUCT, lambda: torch.mm(left, right, out=out), units=2.0 * edge**3)


def reference_peak(device: torch.device) -> float | None:
    """Return the reference peak of the device in FLOP/s, where there is one."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in REFERENCE_PEAKS.items() if part in name), None)
