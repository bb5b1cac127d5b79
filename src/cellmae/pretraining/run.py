"""Pretraining of a model, from tiles to the folder of a model."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cellmae.errors import DataError
from cellmae.files import digest_json
from cellmae.logging import logger, progress
from cellmae.models import VERSION as MODELS_VERSION
from cellmae.models import build_encoder, choose_device, prepare_cpu, read_model, save_encoder
from cellmae.models.folders import point_folder
from cellmae.pretraining import VERSION
from cellmae.pretraining.batches import TrainingCrops
from cellmae.pretraining.checkpoints import Checkpoints
from cellmae.pretraining.history import require_tensorboard
from cellmae.pretraining.interruption import deferred_interruption
from cellmae.pretraining.launch import train_in_ranks
from cellmae.pretraining.objective import MaskedObjective, build_objective
from cellmae.pretraining.plan import OPERATIONAL_KEYS, Plan, training_keys
from cellmae.pretraining.plates import Plates, open_plates
from cellmae.pretraining.randomness import masking_noise
from cellmae.pretraining.ranks import Ranks, join_ranks
from cellmae.pretraining.reconstructions import draw_reconstructions
from cellmae.pretraining.trainer import Trainer
from cellmae.tiles import VERSION as TILES_VERSION
from cellmae.tiles import prefetch
from cellmae.tiles.crops import CROPS_PER_FIELD, NoTilesError

HISTORY = "history.csv"
RECONSTRUCTIONS = "reconstructions.png"
STATE = "state"
EVENTS = "events"
SHOWN_CROPS = 4
SECONDS_A_MINUTE = 60.0
LOADING_THREADS = {"cpu": 1, "cuda": 4}


def pretrain(
    spec: Mapping[str, Any],
    *,
    tiles: Sequence[str | Path],
    wells: Sequence[str | Path] = (),
    validation_tiles: Sequence[str | Path] = (),
    validation_wells: Sequence[str | Path] = (),
    channels: Sequence[str],
    crop_size: int,
    folder: str | Path,
    threads: int,
    device: str = "auto",
    ranks: int = 1,
    nodes: int = 1,
) -> None:
    """Train a model on the tiles of some plates, or go on where an earlier call was stopped.

    Every crop, turn, mask and dropped path is a pure function of the seed, the step and the place in the batch: on one
    machine with the same threads, a training that was stopped in between ends with the same weights, to the last bit,
    and one in several ranks with the same weights but for rounding. (Batch normalisation sees the part of a rank.)

    Parameters
    ----------
    spec
        Configuration of the model, an entry of ``models``; keys as in :class:`cellmae.models.Architecture` and
        :class:`cellmae.pretraining.Plan`.
    tiles
        Manifests of the stage tiles, a plate each, beside which the store and the tile table lie.
    wells
        Annotated wells of the same plates, for a classifier.
    validation_tiles, validation_wells
        Those of plates that are not trained on: what the history says under ``eval_`` is measured there. Without any it
        is measured on crops of the training plates.
    channels, crop_size
        Names of the channels, and edge of the crops in pixels.
    folder
        Folder of the model. Gets ``history.csv``, ``encoder.safetensors`` and, last, ``model.yaml``; masked models
        ``reconstructions.png``; checkpoints in ``state/``.
    threads
        CPU threads, of all ranks of a machine together.
    device
        ``cpu``, ``cuda``, or ``auto``: a GPU where there is one.
    ranks
        Processes of a machine that train together, one a GPU.
    nodes
        Machines of a Slurm job that train together, this one among them.

    Raises
    ------
    ConfigError
        Keys that are unknown or do not fit each other or the tiles.
    DataError
        No tiles to train on, channels that differ, a loss that stays infinite, or too little memory.
    """
    plan = Plan.from_spec(spec)
    plan.check_ranks(ranks * nodes)
    if plan.tensorboard:
        require_tensorboard()
    if ranks * nodes > 1 and not torch.distributed.is_torchelastic_launched():
        arguments = {
            "spec": dict(spec),
            "tiles": list(map(str, tiles)),
            "wells": list(map(str, wells)),
            "validation_tiles": list(map(str, validation_tiles)),
            "validation_wells": list(map(str, validation_wells)),
            "channels": list(channels),
            "crop_size": crop_size,
            "folder": str(folder),
            "threads": max(1, threads // ranks),
            "device": device,
            "ranks": ranks,
            "nodes": nodes,
        }
        train_in_ranks(arguments, ranks=ranks, nodes=nodes)
        return

    folder = Path(folder)
    prepare_cpu(threads)
    plates = open_plates(spec, plan, tiles, wells, crop_size=crop_size)
    held_out = _open_held_out(spec, plan, validation_tiles, validation_wells, plates, crop_size=crop_size)
    if tuple(plates.crops.channels) != tuple(channels):
        raise DataError(
            f"screen.channels: the tiles have {', '.join(plates.crops.channels)}, the model expects "
            f"{', '.join(channels)}; tile the plates again"
        )
    versions = [VERSION, MODELS_VERSION, TILES_VERSION]
    fingerprint = digest_json(
        [versions, training_keys(spec), list(channels), crop_size, plates.digest, held_out.digest]
    )
    with join_ranks(choose_device(device)) as (place, where):
        torch.manual_seed(plan.seed)
        encoder = build_encoder(spec, channels=len(channels), crop_size=crop_size)
        objective = build_objective(spec["family"], encoder, plan, classes=len(plates.classes))
        outcome = Outcome(folder, spec, plates, held_out, fingerprint)
        with _explained_memory(plan):
            trainer = Trainer(objective, plan, where, ranks=place, evaluation=held_out.evaluation(plan, where))
            _train(trainer, Checkpoints(folder / STATE, fingerprint), outcome)
        if not place.is_first:
            return

        trainer.history.write(folder / HISTORY)
        facts = [f"{name} {value:.4g}" for name, value in trainer.history.summary().items()]
        logger.info("after %d steps: %s", trainer.step, ", ".join(facts))
        if plan.tensorboard:
            trainer.history.write_events(folder / EVENTS)
        if isinstance(objective, MaskedObjective):
            with trainer.averaged():
                _draw_unseen(trainer, held_out.crops, folder / RECONSTRUCTIONS)
        outcome.save(trainer, folder)


@dataclass(frozen=True)
class Outcome:
    """What a training leaves behind: a model in the end, and points on the way.

    Attributes
    ----------
    folder
        Of the model.
    spec
        Its configuration.
    plates, held_out
        What it is trained and measured on.
    fingerprint
        Digest of all that the weights depend on.
    """

    folder: Path
    spec: Mapping[str, Any]
    plates: Plates
    held_out: Plates
    fingerprint: str

    def save(self, trainer: Trainer, folder: Path) -> None:
        """Write the encoder as it is now."""
        plan, crops = trainer.plan, self.plates.crops
        seen = trainer.step * plan.batch_size
        with trainer.averaged():
            save_encoder(
                folder,
                trainer.objective.encoder,
                spec={key: value for key, value in self.spec.items() if key not in OPERATIONAL_KEYS},
                channels=crops.channels,
                crop_size=crops.size,
                plates=self.plates.names,
                training={
                    "version": VERSION,
                    "fingerprint": self.fingerprint,
                    "steps": trainer.step,
                    "crops": seen,
                    "flops": trainer.flops_per_crop * seen,
                    "tiles": crops.n_tiles,
                    "evaluated_on": list(self.held_out.names),
                    **({"classes": list(self.plates.classes)} if self.plates.classes else {}),
                    **trainer.history.summary(),
                },
            )

    def keep_points(self, trainer: Trainer) -> None:
        """Keep the encoder as a point, if the last step passed one."""
        batch = trainer.plan.batch_size
        for crops in trainer.plan.points:
            if (trainer.step - 1) * batch < crops <= trainer.step * batch:
                self.save(trainer, point_folder(self.folder, {"crops": crops}))

    def lacks_points(self, trainer: Trainer, step: int) -> list[int]:
        """Return the points that should have been kept when so many steps were done, and were not."""
        passed = [crops for crops in trainer.plan.points if crops <= step * trainer.plan.batch_size]
        return [crops for crops in passed if not self._is_kept(point_folder(self.folder, {"crops": crops}))]

    def _is_kept(self, folder: Path) -> bool:
        try:
            return read_model(folder)["training"]["fingerprint"] == self.fingerprint
        except (DataError, KeyError):
            return False


def _open_held_out(
    spec: Mapping[str, Any],
    plan: Plan,
    tiles: Sequence[str | Path],
    wells: Sequence[str | Path],
    training: Plates,
    *,
    crop_size: int,
) -> Plates:
    """Open the plates to measure on: those of validation, or else those of the training."""
    if not tiles:
        return training
    try:
        return open_plates(spec, plan, tiles, wells, crop_size=crop_size, classes=training.classes)
    except NoTilesError as error:
        logger.warning("the validation plates tell nothing, so the training plates are measured on: %s", error)
        return training


def _train(trainer: Trainer, checkpoints: Checkpoints, outcome: Outcome) -> None:
    """Take the steps that are left, with a checkpoint every few minutes, at the end, and when asked to stop."""
    plan, ranks, source = trainer.plan, trainer.ranks, outcome.plates.crops
    state = checkpoints.load(trainer.device)
    if state is not None and (lost := outcome.lacks_points(trainer, state["step"])):
        logger.info("models.points: the training has passed %s crops and kept nothing: it begins afresh", lost)
        state = None
    if state is not None:
        trainer.restore(state)
        logger.info("training goes on after step %d of %d", trainer.step, plan.steps)
    if trainer.step == plan.steps:
        return
    logger.info(
        "%d steps of %d crops from %d tiles on %s, %d threads, %d ranks",
        plan.steps - trainer.step, plan.batch_size, source.n_tiles, trainer.device, torch.get_num_threads(),
        ranks.count,
    )  # fmt: skip
    part = ranks.part(plan.batch_size)
    where = {"seed": plan.seed, "batch_size": plan.batch_size, "start": part.start, "stop": part.stop}
    batches = prefetch(
        source,
        range(trainer.step, plan.steps),
        **where,
        threads=LOADING_THREADS.get(trainer.device.type, 1),
        allocate=_pinned if trainer.device.type == "cuda" else _plain,
    )
    saved = time.monotonic()
    with closing(batches), deferred_interruption() as interruption:
        for crops in _steps(batches, plan.steps - trainer.step, ranks):
            labels = source.labels(trainer.step, **where)
            trainer.take_step(torch.from_numpy(crops), None if labels is None else torch.from_numpy(labels))
            if ranks.is_first:
                outcome.keep_points(trainer)
            overdue = time.monotonic() - saved >= plan.checkpoint_minutes * SECONDS_A_MINUTE
            due, stopped = ranks.any(overdue, interruption.signal is not None, device=trainer.device)
            if due or stopped or trainer.step == plan.steps:
                state = trainer.state()  # on all ranks, which share what they have counted
                if ranks.is_first:
                    checkpoints.save(trainer.step, state)
                saved = time.monotonic()
                trainer.restart_wait()
            if stopped:
                logger.info("stopped after step %d; the next run goes on from there", trainer.step)
                interruption.leave()


def _steps(batches: Iterable[np.ndarray], total: int, ranks: Ranks) -> Iterable[np.ndarray]:
    return progress(batches, description="pretraining", unit="step", total=total) if ranks.is_first else batches


def _plain(shape: tuple[int, ...]) -> np.ndarray:
    return np.empty(shape, np.uint8)


def _pinned(shape: tuple[int, ...]) -> np.ndarray:
    """Return memory that a GPU copies from while the CPU goes on."""
    return torch.empty(shape, dtype=torch.uint8, pin_memory=True).numpy()


@contextmanager
def _explained_memory(plan: Plan) -> Iterator[None]:
    """Say which keys spare memory where there was too little of it."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise DataError(
            f"out of memory with models.batch_size {plan.batch_size} in {plan.accumulate} piece(s): raise "
            "models.accumulate, with which the training goes on from its last checkpoint, or lower models.batch_size"
        ) from error


def _draw_unseen(trainer: Trainer, source: TrainingCrops, path: Path) -> None:
    """Draw crops of the step after the last: every few of its crops, since neighbours come from one field."""
    plan, step = trainer.plan, trainer.plan.steps
    count = SHOWN_CROPS * CROPS_PER_FIELD
    crops = source.batch(step, seed=plan.seed, batch_size=count)[::CROPS_PER_FIELD]
    noise = masking_noise(plan.seed, step, batch_size=SHOWN_CROPS, tokens=trainer.objective.encoder.tokens)
    draw_reconstructions(
        path,
        trainer.objective.model.eval(),
        torch.from_numpy(crops).to(trainer.device),
        torch.from_numpy(noise).to(trainer.device),
        channels=source.channels,
    )
