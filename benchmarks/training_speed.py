"""Training step of a masked autoencoder, ours against Hugging Face's ViTMAE: crops a second and FLOP utilisation.

All have the same width, depth, patch, decoder, channels, crops, mask ratio, batch and precision, the same fused AdamW,
and get the same uint8 crops on the host, which each moves to the device and standardises. Ours does more in a step:
flips and turns, drop path, the Fourier term, clipping of the gradient, metrics, and a look whether the loss is finite.
"""

import argparse
import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from functools import partial
from itertools import count
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from arithmetic import training_flops
from cellmae.models import build_encoder, uses_bfloat16
from cellmae.pretraining import Plan
from cellmae.pretraining.objective import build_objective
from cellmae.pretraining.run import LOADING_THREADS
from cellmae.pretraining.trainer import Trainer
from racing import Task, add_arguments, race_models
from timing import Contestant

Step = Callable[[torch.Tensor], object]

BATCH_SIZES = {"tiny/8": 48, "S/16": 512, "B/16": 512, "B/8": 128, "L/16": 256, "L/8": 64, "": 64}
FIELD_EDGE = 512
LEARNING_RATE, BETAS, WEIGHT_DECAY = 1e-4, (0.9, 0.95), 0.05


def our_training(task: Task, *, compiled: bool) -> Step:
    """Return our training step; the one place that knows how a training of ours is set up."""
    plan = Plan.from_spec(
        {
            **task.spec,
            "batch_size": task.batch_size,
            "crops_total": 10**9,
            "learning_rate": LEARNING_RATE,
            "betas": BETAS,
            "weight_decay": WEIGHT_DECAY,
            "compile": compiled,
        }
    )
    encoder = build_encoder(task.spec, channels=task.channels, crop_size=task.crop_size)
    return Trainer(build_objective("mae", encoder, plan), plan, task.device).take_step


def hugging_face_training(task: Task, *, compiled: bool) -> Step:
    """Return the step of a plain training loop around ``ViTMAEForPreTraining``."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    architecture = task.architecture
    config = ViTMAEConfig(
        hidden_size=architecture.width,
        num_hidden_layers=architecture.depth,
        num_attention_heads=architecture.heads,
        intermediate_size=4 * architecture.width,
        decoder_hidden_size=architecture.decoder_width,
        decoder_num_hidden_layers=architecture.decoder_depth,
        decoder_num_attention_heads=architecture.decoder_heads,
        decoder_intermediate_size=4 * architecture.decoder_width,
        image_size=task.crop_size,
        patch_size=architecture.patch,
        num_channels=task.channels,
        mask_ratio=task.spec["mask_ratio"],
        norm_pix_loss=False,
    )
    bfloat16 = uses_bfloat16(task.spec["precision"], task.device)
    # PyTorch's fused attention is slow at bfloat16 on CPUs, where ours goes without it too.
    config._attn_implementation = "eager" if task.device.type == "cpu" and bfloat16 else "sdpa"
    model: nn.Module = ViTMAEForPreTraining(config)
    model = model.to(task.device).train()
    compute = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
    )

    def step(crops: torch.Tensor) -> None:
        pixels = functional.instance_norm(crops.to(task.device, non_blocking=True) / 255)
        with torch.autocast(task.device.type, dtype=torch.bfloat16, enabled=bfloat16):
            loss = compute(pixel_values=pixels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


CONTESTANTS: dict[str, Callable[[Task], Step]] = {
    "cellmae, compiled": partial(our_training, compiled=True),
    "cellmae": partial(our_training, compiled=False),
    "Hugging Face": partial(hugging_face_training, compiled=False),
    "Hugging Face, compiled": partial(hugging_face_training, compiled=True),
}
DEFAULT_CONTESTANTS = {"cpu": ["cellmae", "Hugging Face"], "cuda": ["cellmae, compiled", "cellmae", "Hugging Face"]}


def batches_from_store(task: Task, *, fields: int, threads: int) -> Generator[torch.Tensor, None, None]:
    """Write a plate into a temporary folder and yield random crops of it without end, as training gets them."""
    from cellmae.tiles import CropSource, prefetch
    from plates import CHANNELS, tile_noise

    size, channels = task.crop_size, CHANNELS[: task.channels]
    with tempfile.TemporaryDirectory() as folder:
        plate = tile_noise(
            Path(folder), fields=fields, edge=FIELD_EDGE, crop_size=size, threads=threads, channels=channels
        )
        source = CropSource([plate.store], [plate.table], size=size, crops="random")
        batches = prefetch(
            source, count(), seed=0, batch_size=task.batch_size, threads=threads,
            allocate=lambda shape: task.buffer().numpy(),
        )  # fmt: skip
        with closing(batches):
            yield from map(torch.from_numpy, batches)


def set_up(task: Task, stack: ExitStack, args: argparse.Namespace) -> list[Contestant]:
    """Set up who takes turns: the named ones on one batch, and the first of them on batches from a store too."""
    crops, units = task.crops(), float(task.batch_size)
    names = args.contestants or DEFAULT_CONTESTANTS[task.device.type]
    steps = {name: CONTESTANTS[name](task) for name in names}
    contestants = [Contestant(name, partial(step, crops), units) for name, step in steps.items()]
    if args.data == "store":
        threads = args.loader_threads or LOADING_THREADS[task.device.type]
        batches = stack.enter_context(closing(batches_from_store(task, fields=args.fields, threads=threads)))
        step = steps[names[0]]
        contestants.insert(1, Contestant(f"{names[0]}, from a store", lambda: step(next(batches)), units))
    return contestants


def task_flops(task: Task) -> float:
    """Count the operations that a crop takes."""
    return training_flops(
        task.architecture, channels=task.channels, crop_size=task.crop_size, mask_ratio=task.spec["mask_ratio"]
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument(
        "--contestants", nargs="+", choices=CONTESTANTS, metavar="NAME",
        help=f"who takes turns, the first is compared with the others: {'; '.join(CONTESTANTS)}",
    )  # fmt: skip
    parser.add_argument(
        "--data", choices=["synthetic", "store"], default="synthetic",
        help="store: the first contestant also trains from a tile store on disk",
    )  # fmt: skip
    parser.add_argument("--fields", type=int, default=64, help=f"fields of {FIELD_EDGE} pixels in that store")
    parser.add_argument("--loader-threads", type=int, help="batches prepared at once; by default as in training")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--mask-ratio", type=float, default=0.75)
    parser.add_argument("--fourier-weight", type=float, default=0.01, help="of our loss")
    parser.add_argument("--optimizer", choices=["adamw", "lion"], default="adamw", help="ours; the peer's is AdamW")
    return parser.parse_args()


def main() -> None:
    args = parse()
    keys = ("precision", "mask_ratio", "fourier_weight", "optimizer")
    race_models(
        args,
        partial(set_up, args=args),
        spec={"family": "mae", **{key: getattr(args, key) for key in keys}},
        batch_sizes=BATCH_SIZES,
        flops=task_flops,
        peak=lambda device: torch.bfloat16 if uses_bfloat16(args.precision, device) else torch.float32,
    )


if __name__ == "__main__":
    main()
