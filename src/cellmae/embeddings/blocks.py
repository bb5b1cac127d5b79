"""Which block of a transformer embeds best: a linear probe of each, on plates that the model was not trained on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import GroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cellmae.embeddings.images import crops_at_once, embed_wells
from cellmae.files import write_csv
from cellmae.logging import logger, progress
from cellmae.models import choose_device, load_encoder, prepare_cpu
from cellmae.screen import read_wells
from cellmae.tiles import grid_crops, open_store, read_tiles

MAX_FOLDS = 5
FEWEST_WELLS = 2  # of a perturbation: one to learn from, one to be told
PENALTIES = np.logspace(-1, 6, 15)
COLUMNS = ["block", "accuracy", "chance", "wells", "perturbations", "plates", "folds", "reason"]


class AllBlocks:
    """An encoder seen as one that embeds crops by all its blocks at once, one after the other in one vector."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.dim = encoder.architecture.depth * encoder.dim

    def to(self, device: torch.device) -> "AllBlocks":
        """Move to a device."""
        self.encoder.to(device)
        return self

    def embed(self, crops: torch.Tensor) -> torch.Tensor:
        """Embed crops (batch, channels, y, x) of 0 to 255 as (batch, dim) float32."""
        return self.encoder.embed_blocks(crops).transpose(0, 1).flatten(1)


def rank_blocks(
    model: str | Path,
    *,
    tiles: Sequence[str | Path],
    wells: Sequence[str | Path],
    output: str | Path,
    threads: int,
    batch_size: int | None = None,
    device: str = "auto",
) -> None:
    """Write ``blocks.csv``: how well the perturbation of a well can be told from each block of a model.

    An intermediate block often embeds better than the last (Kenyon-Dean et al. 2024, arXiv 2411.02572); ``embed_block``
    chooses it.

    Parameters
    ----------
    model
        Folder of the model.
    tiles, wells
        Manifests of the tiles of some plates, and their annotated wells.
    output
        CSV to write, best block first: see :func:`probe_blocks`.
    threads, batch_size, device
        As in :func:`cellmae.embeddings.embed_plate`.
    """
    prepare_cpu(threads)
    encoder = AllBlocks(load_encoder(model))
    where, vectors, annotated = choose_device(device), [], []
    for manifest, table in zip(tiles, wells, strict=True):
        store = open_store(Path(manifest).with_suffix(".zarr"))
        kept = read_tiles(Path(manifest).with_suffix(".parquet"))
        crops = progress(grid_crops(store, kept), description=f"embedding {Path(manifest).stem}", unit="well")
        at_once = batch_size or crops_at_once(where, store.tile_size)
        of_plate = embed_wells(encoder, crops, batch_size=at_once, device=where)
        known = read_wells(table).set_index("well").reindex(list(of_plate)).reset_index()
        annotated.append(known.assign(plate=Path(manifest).stem))
        vectors.append(np.stack(list(of_plate.values())))
    together = np.concatenate(vectors)
    blocks = together.reshape(len(together), encoder.encoder.architecture.depth, -1)
    ranking = probe_blocks(blocks, pd.concat(annotated, ignore_index=True))
    write_csv(output, ranking)


def probe_blocks(blocks: NDArray, wells: pd.DataFrame) -> pd.DataFrame:
    """Tell the perturbation of held-out wells from each block, by ridge regression on the classes.

    Wells are held out plate by plate where perturbations lie on several plates, else by turns within the plate. Every
    plate is centred first, so that what plates have in common with themselves alone tells nothing.

    Parameters
    ----------
    blocks
        (wells, depth, dim).
    wells
        ``plate``, ``perturbation`` and ``role`` of each.

    Returns
    -------
    A row a block, the best first: ``block`` as ``embed_block`` counts them, ``accuracy`` and that of guessing,
    ``chance``, the counts they rest on, and a ``reason`` where nothing could be told.
    """
    plates = wells["plate"].to_numpy(dtype=str)
    blocks = blocks.astype(np.float64)
    for plate in np.unique(plates):
        blocks[plates == plate] -= blocks[plates == plate].mean(axis=0)
    labels = wells["perturbation"].astype("string").fillna("").to_numpy(dtype=str)
    usable = wells["role"].isin(["treatment", "positive_control"]).to_numpy() & (labels != "")
    names, counts = np.unique(labels[usable], return_counts=True)
    usable &= np.isin(labels, names[counts >= FEWEST_WELLS])
    names, counts = np.unique(labels[usable], return_counts=True)
    facts = {"wells": int(usable.sum()), "perturbations": len(names), "plates": len(np.unique(plates[usable]))}
    numbers = np.arange(1, blocks.shape[1] + 1)
    if len(names) < 2:
        reason = f"{len(names)} perturbations in {FEWEST_WELLS} wells or more, of at least 2"
        logger.warning("blocks not ranked: %s", reason)
        return pd.DataFrame({"block": numbers, **facts, "reason": reason}).reindex(columns=COLUMNS)
    splits = _splits(labels[usable], plates[usable], fewest=int(counts.min()))
    accuracies = [_accuracy(blocks[usable, block], labels[usable], splits) for block in range(blocks.shape[1])]
    table = pd.DataFrame({"block": numbers, "accuracy": accuracies, **facts, "folds": len(splits), "reason": ""})
    table["chance"] = counts.max() / counts.sum()
    return table.sort_values(["accuracy", "block"], ascending=[False, False], ignore_index=True)[COLUMNS]


def _splits(labels: NDArray, plates: NDArray, *, fewest: int) -> list[tuple[NDArray, NDArray]]:
    on_plates = pd.Series(plates).groupby(labels).nunique()
    if on_plates.min() > 1:
        return list(GroupKFold(min(MAX_FOLDS, len(np.unique(plates)))).split(labels, groups=plates))
    return list(StratifiedKFold(min(MAX_FOLDS, fewest)).split(labels, labels))


def _accuracy(X: NDArray, labels: NDArray, splits: list[tuple[NDArray, NDArray]]) -> float:
    right = 0
    for train, test in splits:
        probe = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES)).fit(X[train], labels[train])
        right += int((probe.predict(X[test]) == labels[test]).sum())
    return right / sum(len(test) for _, test in splits)
