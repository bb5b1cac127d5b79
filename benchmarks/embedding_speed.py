"""Unmasked embedding of crops, ours against a plain timm VisionTransformer: crops a second and FLOP utilisation.

All have the same width, depth, heads, patch and channels, get the same uint8 crops on the host, standardise them, and
return the mean of the patch tokens to the host. "embed" is the encoder's method, "embed_wells" what a plate goes
through; "embed, bfloat16" and "embed, bfloat16, compiled" lay autocast and torch.compile around the encoder's method.
The peak is that of bfloat16 matrix products, also for what computes in float32.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional

from arithmetic import embedding_flops
from cellmae.embeddings.images import embed_wells
from cellmae.models import ViTEncoder
from racing import Task, add_arguments, race_models
from timing import Contestant

Embed = Callable[[torch.Tensor], object]

BATCH_SIZES = {"tiny/8": 64, "": 512}
CROPS_PER_WELL = 36  # the inner tiles of a field of 2048 pixels


def our_encoder(task: Task) -> ViTEncoder:
    """Return our encoder with random weights."""
    encoder = ViTEncoder(task.architecture, channels=task.channels, crop_size=task.crop_size)
    return encoder.to(task.device).eval()


def our_embed(task: Task, *, bfloat16: bool = False, compiled: bool = False) -> Embed:
    """Return the encoder's own method, as it is or with what is laid around it."""
    embed = our_encoder(task).embed
    if compiled:
        embed = torch.compile(embed)

    def run(crops: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(task.device.type, dtype=torch.bfloat16, enabled=bfloat16):
            return embed(crops.to(task.device, non_blocking=True)).cpu()

    return run


def our_embed_wells(task: Task) -> Embed:
    """Return what embeds the wells of a plate; the one place that knows how."""
    encoder = our_encoder(task)

    def wells(crops: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        for number, start in enumerate(range(0, len(crops), CROPS_PER_WELL)):
            yield f"well {number}", crops[start : start + CROPS_PER_WELL]

    return lambda crops: embed_wells(encoder, wells(crops.numpy()), batch_size=task.batch_size, device=task.device)


def timm_embed(task: Task, *, dtype: torch.dtype) -> Embed:
    """Return a plain vision transformer with weights of this type."""
    architecture = task.architecture
    model = VisionTransformer(
        img_size=task.crop_size,
        patch_size=architecture.patch,
        in_chans=task.channels,
        embed_dim=architecture.width,
        depth=architecture.depth,
        num_heads=architecture.heads,
        num_classes=0,
        global_pool="avg",
    )
    model = model.to(task.device, dtype).eval()

    def run(crops: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            pixels = functional.instance_norm(crops.to(task.device, non_blocking=True) / 255)
            return model(pixels.to(dtype)).float().cpu()

    return run


CONTESTANTS: dict[str, Callable[[Task], Embed]] = {
    "embed": our_embed,
    "embed_wells": our_embed_wells,
    "embed, bfloat16": partial(our_embed, bfloat16=True),
    "embed, bfloat16, compiled": partial(our_embed, bfloat16=True, compiled=True),
    "timm, float32": partial(timm_embed, dtype=torch.float32),
    "timm, bfloat16": partial(timm_embed, dtype=torch.bfloat16),
}


def set_up(task: Task, stack: ExitStack, args: argparse.Namespace) -> list[Contestant]:
    """Set up who takes turns; compiled ones by default only where that takes no minute."""
    crops, units = task.crops(), float(task.batch_size)
    default = [name for name in CONTESTANTS if task.device.type == "cuda" or "compiled" not in name]
    names = args.contestants or default
    return [Contestant(name, partial(CONTESTANTS[name](task), crops), units) for name in names]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument(
        "--contestants", nargs="+", choices=CONTESTANTS, metavar="NAME",
        help=f"who takes turns, the first is compared with the others: {'; '.join(CONTESTANTS)}",
    )  # fmt: skip
    return parser.parse_args()


def main() -> None:
    args = parse()
    race_models(
        args,
        partial(set_up, args=args),
        spec={"family": "mae"},
        batch_sizes=BATCH_SIZES,
        flops=lambda task: embedding_flops(task.architecture, channels=task.channels, crop_size=task.crop_size),
        peak=lambda device: torch.bfloat16,
    )


if __name__ == "__main__":
    main()
