"""Pretraining of a masked autoencoder, from tiles to the folder of a model."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from cellmae.errors import DataError
from cellmae.files import digest_json, read_manifest
from cellmae.logging import logger, progress
from cellmae.models import MaskedAutoencoder, ViTEncoder, choose_device, read_architecture, save_encoder
from cellmae.pretraining import VERSION
from cellmae.pretraining.checkpoints import Checkpoints
from cellmae.pretraining.interruption import deferred_interruption
from cellmae.pretraining.plan import Plan, training_keys
from cellmae.pretraining.randomness import masking_noise
from cellmae.pretraining.reconstructions import draw_reconstructions
from cellmae.pretraining.trainer import Trainer
from cellmae.tiles import CropSource, prefetch
from cellmae.tiles.crops import CROPS_PER_FIELD

HISTORY = "history.csv"
RECONSTRUCTIONS = "reconstructions.png"
STATE = "state"
SHOWN_CROPS = 4
SECONDS_A_MINUTE = 60.0


def pretrain(
    spec: Mapping[str, Any],
    *,
    stores: Sequence[str | Path],
    tables: Sequence[str | Path],
    manifests: Sequence[str | Path],
    channels: Sequence[str],
    crop_size: int,
    folder: str | Path,
    threads: int,
    device: str = "auto",
) -> None:
    """Train a masked autoencoder on the tiles of some plates, or go on where an earlier call was stopped.

    Every crop, turn and mask is a pure function of the seed and the step: on one machine with the same threads, a
    training that was stopped in between ends with the same weights, to the last bit.

    Parameters
    ----------
    spec
        Configuration of the model, an entry of ``models``; keys as in :class:`cellmae.models.Architecture` and
        :class:`cellmae.pretraining.Plan`.
    stores, tables, manifests
        What the stage tiles wrote of each plate.
    channels, crop_size
        Names of the channels, and edge of the crops in pixels.
    folder
        Folder of the model. Gets ``history.csv``, ``reconstructions.png``, ``encoder.safetensors`` and, last,
        ``model.yaml``; checkpoints in ``state/``.
    threads
        CPU threads.
    device
        ``cpu``, ``cuda``, or ``auto``: a GPU where there is one.

    Raises
    ------
    ConfigError
        Keys that are unknown or do not fit each other or the tiles.
    DataError
        No tiles to train on, channels that differ, or a loss that stays infinite.
    """
    folder = Path(folder)
    torch.set_num_threads(threads)
    plan = Plan.from_spec(spec)
    architecture = read_architecture(spec, crop_size=crop_size)
    source = CropSource(stores, tables, size=crop_size, crops=plan.crops)
    if tuple(source.channels) != tuple(channels):
        raise DataError(
            f"screen.channels: the tiles have {', '.join(source.channels)}, the model expects "
            f"{', '.join(channels)}; tile the plates again"
        )
    tiles = [read_manifest(manifest, stage="tiles") for manifest in manifests]
    digests = [manifest["digest"] for manifest in tiles]
    fingerprint = digest_json([VERSION, training_keys(spec), list(channels), crop_size, digests])

    torch.manual_seed(plan.seed)
    encoder = ViTEncoder(architecture, channels=len(channels), crop_size=crop_size)
    trainer = Trainer(MaskedAutoencoder(encoder, mask_ratio=plan.mask_ratio), plan, choose_device(device))
    _train(trainer, source, Checkpoints(folder / STATE, fingerprint), threads=threads)

    trainer.history.write(folder / HISTORY)
    _draw_unseen(trainer, source, folder / RECONSTRUCTIONS)
    final = trainer.history.rows[-1]
    save_encoder(
        folder,
        encoder,
        spec=spec,
        channels=channels,
        crop_size=crop_size,
        plates=[manifest["plate"] for manifest in tiles],
        training={
            "version": VERSION,
            "steps": plan.steps,
            "crops": plan.steps * plan.batch_size,
            "tiles": source.n_tiles,
            "skipped_steps": final["skipped"],
            "mse": final["mse"],
            "masked_r2": final["masked_r2"],
        },
    )


def _train(trainer: Trainer, source: CropSource, checkpoints: Checkpoints, *, threads: int) -> None:
    """Take the steps that are left, with a checkpoint every few minutes, at the end, and when asked to stop."""
    plan = trainer.plan
    if (state := checkpoints.load(trainer.device)) is not None:
        trainer.restore(state)
        logger.info("training goes on after step %d of %d", trainer.step, plan.steps)
    if trainer.step == plan.steps:
        return
    logger.info(
        "%d steps of %d crops from %d tiles on %s, %d threads",
        plan.steps - trainer.step, plan.batch_size, source.n_tiles, trainer.device, threads,
    )  # fmt: skip
    batches = prefetch(source, range(trainer.step, plan.steps), seed=plan.seed, batch_size=plan.batch_size, threads=1)
    saved = time.monotonic()
    with closing(batches), deferred_interruption() as interruption:
        for crops in _steps(batches, plan.steps - trainer.step):
            trainer.take_step(torch.from_numpy(crops))
            due = time.monotonic() - saved >= plan.checkpoint_minutes * SECONDS_A_MINUTE
            if due or interruption.signal or trainer.step == plan.steps:
                checkpoints.save(trainer.step, trainer.state())
                saved = time.monotonic()
            if interruption.signal:
                logger.info("stopped after step %d; the next run goes on from there", trainer.step)
                interruption.leave()


def _draw_unseen(trainer: Trainer, source: CropSource, path: Path) -> None:
    """Draw crops of the step after the last: every few of its crops, since neighbours come from one field."""
    plan, step = trainer.plan, trainer.plan.steps
    count = SHOWN_CROPS * CROPS_PER_FIELD
    crops = source.batch(step, seed=plan.seed, batch_size=count)[::CROPS_PER_FIELD]
    tokens = trainer.autoencoder.encoder.tokens
    noise = masking_noise(plan.seed, step, batch_size=SHOWN_CROPS, tokens=tokens)
    draw_reconstructions(
        path,
        trainer.autoencoder.eval(),
        torch.from_numpy(crops).to(trainer.device),
        torch.from_numpy(noise).to(trainer.device),
        channels=source.channels,
    )


def _steps(batches: Iterable, total: int) -> Iterable:
    return progress(batches, description="pretraining", unit="step", total=total)
