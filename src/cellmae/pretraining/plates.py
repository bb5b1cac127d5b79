"""The plates of a training: their crops, what is known of them, and those that are set aside."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cellmae.errors import DataError
from cellmae.files import digest_json, read_manifest
from cellmae.logging import logger, progress
from cellmae.models import FAMILIES
from cellmae.pretraining.batches import TrainingCrops
from cellmae.pretraining.evaluation import Evaluation
from cellmae.pretraining.labels import choose_classes, encode, perturbations
from cellmae.pretraining.plan import Plan
from cellmae.tiles import open_store

EVALUATION_CROPS = 256
CROPS_AT_ONCE = 64
VERIFIED_BYTES = 2**36  # of tiles that are read from end to end before a training


@dataclass(frozen=True)
class Plates:
    """Tiled plates, opened for training or to be measured on.

    Attributes
    ----------
    names
        Slugs of the plates.
    crops
        Their crops.
    classes
        Perturbations that a classifier tells apart; none for other families.
    digest
        Of all that a training takes from them.
    """

    names: Sequence[str]
    crops: TrainingCrops
    classes: Sequence[str]
    digest: str

    def evaluation(self, plan: Plan, device: torch.device) -> Evaluation:
        """Set some crops aside: those of the steps after the training's last, in the order they would come."""
        count = EVALUATION_CROPS
        crops = self.crops.batch(plan.steps, seed=plan.seed, batch_size=count)
        labels = self.crops.labels(plan.steps, seed=plan.seed, batch_size=count)
        return Evaluation(crops, labels, seed=plan.seed, batch_size=CROPS_AT_ONCE, device=device, adabn=plan.adabn)


def open_plates(
    spec: Mapping[str, Any],
    plan: Plan,
    tiles: Sequence[str | Path],
    wells: Sequence[str | Path] = (),
    *,
    crop_size: int,
    classes: Sequence[str] | None = None,
) -> Plates:
    """Open plates as a family needs them.

    Parameters
    ----------
    spec, plan
        Configuration of the model, and its training keys.
    tiles, wells
        Manifests of the tiles, and annotated wells where the family learns from labels.
    crop_size
        Edge of the crops in pixels.
    classes
        What is told apart, if that is known already.

    Raises
    ------
    DataError
        No plate, no kept tile, plates that differ, or too few classes.
    """
    if not tiles:
        raise DataError("no plates to take crops from: check screen.root, models.*.plates and validation_plates")
    manifests = [read_manifest(path, stage="tiles") for path in tiles]
    stores = [Path(path).with_suffix(".zarr") for path in tiles]
    _verify(stores, manifests)
    digests = [manifest["digest"] for manifest in manifests]
    labels = None
    if FAMILIES[spec["family"]].labelled:
        named = perturbations(stores, wells)
        classes = choose_classes(stores, named) if classes is None else classes
        labels = encode(named, classes)
        digests += [digest_json([values.tolist() for values in labels]), *classes]
    groups = [list(range(len(stores)))]
    if plan.adabn:
        groups = _by_batch(stores)
        digests += [str(group) for group in groups]
    crops = TrainingCrops(
        [([stores[i] for i in group], [stores[i].with_suffix(".parquet") for i in group]) for group in groups],
        size=crop_size,
        crops=plan.crops,
        labels=None if labels is None else [[labels[i] for i in group] for group in groups],
        steps=plan.steps,
        seed=plan.seed,
    )
    return Plates([manifest["plate"] for manifest in manifests], crops, classes or (), digest_json(digests))


def _verify(stores: Sequence[Path], manifests: Sequence[Mapping[str, Any]]) -> None:
    """Compare all pixels with their digests, where reading them takes minutes at most; else their files' sizes."""
    size = sum(math.prod(manifest["shape"]) for manifest in manifests)
    if size > VERIFIED_BYTES:
        logger.info("the tiles have %.0f GB: of their files only the sizes are checked", size / 1e9)
        return
    for store in progress(stores, description="verifying the tiles", unit="plate"):
        open_store(store, verify=True)


def _by_batch(stores: Sequence[Path]) -> list[list[int]]:
    """Return the numbers of the plates of each experimental batch."""
    batches = np.array([open_store(store).fields["batch"].iloc[0] for store in stores], dtype=str)
    return [np.flatnonzero(batches == batch).tolist() for batch in np.unique(batches)]
