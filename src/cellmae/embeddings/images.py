"""One vector a well, from the tiles of a plate and an encoder."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from torch import nn

from cellmae.embeddings.wells import write_embeddings
from cellmae.errors import DataError
from cellmae.logging import logger, progress
from cellmae.models import Encoder, choose_device, load_encoder, prepare_cpu, read_model, takes, uses_bfloat16
from cellmae.models.adabn import adapt_batch_norm
from cellmae.tiles import CropSource, grid_crops, open_store, read_tiles
from cellmae.tiles.crops import CROPS_PER_FIELD

GPU_CROPS = 256
CPU_PIXELS = 2**18  # 64 crops of 64 pixels: more would only take memory
ADAPTING_BATCH = 64  # on every device, so that all give the same vectors
ADAPTING_CROPS = 2048
"""From which batch statistics are taken: each has 16 places or more, so their sampling error is below one percent."""
WELL_COLUMNS = ["plate", "plate_name", "batch", "well", "row", "column"]


def embed_plate(
    *,
    store: str | Path,
    table: str | Path,
    model: str | Path,
    output: str | Path,
    manifest: str | Path,
    threads: int,
    batch_size: int | None = None,
    batch_plates: Sequence[str | Path] = (),
    device: str = "auto",
) -> None:
    """Embed the wells of a plate: the mean over the kept tiles of all fields of the well.

    A model that was trained with AdaBN takes the statistics of its batch norms from crops of the plate's experimental
    batch first.

    Parameters
    ----------
    store, table
        What the stage tiles wrote of the plate.
    model
        Folder of the model.
    output
        AnnData to write: ``X`` (wells, dim) float32; in ``obs`` the well, how many ``fields`` and ``crops`` it has,
        and means and deviations of each channel, which a model that standardises its crops does not see.
    manifest
        Manifest to write; lists under ``lost`` the wells of which no tile was kept, which get no vector.
    threads
        CPU threads.
    batch_size
        Crops that are embedded at once; by default what the device takes with ease.
    batch_plates
        Manifests of the tiles of the plates that stand for the experimental batch; the plate alone by default.
    device
        ``cpu``, ``cuda``, or ``auto``: a GPU where there is one.

    Raises
    ------
    DataError
        The model is damaged or of other channels than the plate, or no tile was kept.
    """
    prepare_cpu(threads)
    record = read_model(model)
    plate, tiles = open_store(store), read_tiles(table)
    if not takes(record, plate.channels, plate.tile_size):
        raise DataError(
            f"{model} embeds crops of {record['crop_size']} pixels and the channels {', '.join(record['channels'])}, "
            f"but {store} holds {plate.tile_size} pixels and {', '.join(plate.channels)}: train a model on such plates"
        )
    kept = tiles[tiles["keep"]]
    if kept.empty:
        raise DataError(f"{table}: no tile was kept, so no well can be embedded: look at the reasons in that table")
    wells = progress(
        grid_crops(plate, tiles), description=f"embedding {plate.path.stem}", unit="well", total=kept["well"].nunique()
    )
    encoder, where = load_encoder(model), choose_device(device)
    batch_size = batch_size or crops_at_once(where, plate.tile_size)
    if record["spec"].get("adabn"):
        stores = [Path(path).with_suffix(".zarr") for path in batch_plates] or [Path(store)]
        _adapt(encoder, stores, size=plate.tile_size, device=where)
    vectors = embed_wells(encoder, wells, batch_size=batch_size, device=where)

    obs = describe_wells(plate.fields, kept, plate.channels)
    lost = sorted(set(tiles["well"]) - set(obs["well"]))
    if lost:
        logger.warning("%s: no tile was kept of %d wells: %s", plate.path.stem, len(lost), ", ".join(lost))
    write_embeddings(
        output,
        manifest,
        vectors=np.stack([vectors[well] for well in obs["well"]]),
        obs=obs,
        source={"model": Path(model).name, "weights_digest": record["weights_digest"] or ""},
        crops=len(kept),
        lost=[{"well": well, "reason": "no tile was kept"} for well in lost],
    )


def crops_at_once(device: torch.device, crop_size: int) -> int:
    """Return how many crops of this edge in pixels a device embeds at once with ease."""
    if device.type != "cpu":
        return GPU_CROPS
    return max(1, min(GPU_CROPS, CPU_PIXELS // crop_size**2))


def _adapt(encoder: Encoder, stores: Sequence[Path], *, size: int, device: torch.device) -> None:
    """Give the batch norms of an encoder the statistics of some plates, from crops that are the same every time.

    Each layer sees what the layers before make of one batch, so the crops of a batch come from as many places.
    """
    tables = [store.with_suffix(".parquet") for store in stores]
    source = CropSource(stores, tables, size=size, crops="grid")
    batches = -(-min(ADAPTING_CROPS, source.n_tiles) // ADAPTING_BATCH)
    at_once = ADAPTING_BATCH * CROPS_PER_FIELD
    crops = (
        torch.from_numpy(source.batch(step, seed=0, batch_size=at_once)[::CROPS_PER_FIELD]) for step in range(batches)
    )
    encoder.to(device)
    adapt_batch_norm(cast(nn.Module, encoder), crops)


def embed_wells(
    encoder: Encoder, wells: Iterable[tuple[str, np.ndarray]], *, batch_size: int, device: torch.device
) -> dict[str, np.ndarray]:
    """Average the vectors of each well's crops, on GPUs in bfloat16.

    Batches are filled across wells and all of one size, the last with blank crops, so that a well's vector does not
    depend on which wells are embedded with it.

    Parameters
    ----------
    encoder
        Embeds crops.
    wells
        Each well, and its crops (crops, channels, y, x) uint8.
    batch_size
        Crops that are embedded at once.
    device
        Where.

    Returns
    -------
    For each well a vector (dim,) float32.
    """
    encoder.to(device)
    # On CPUs in float32: a machine with instructions for bfloat16 and one without shall give the same vectors.
    autocast = torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=device.type == "cuda" and uses_bfloat16("auto", device)
    )
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    with torch.inference_mode(), autocast:
        for names, crops in _batches(wells, batch_size):
            vectors = encoder.embed(torch.from_numpy(crops).to(device)).cpu().numpy().astype(np.float64)
            for name, vector in zip(names, vectors[: len(names)], strict=True):
                sums[name] = sums.get(name, 0.0) + vector
                counts[name] = counts.get(name, 0) + 1
    return {name: (total / counts[name]).astype(np.float32) for name, total in sums.items()}


def _batches(wells: Iterable[tuple[str, np.ndarray]], batch_size: int) -> Iterator[tuple[list[str], np.ndarray]]:
    names: list[str] = []
    batch = np.empty(0, np.uint8)
    for name, crops in wells:
        for crop in crops:
            if not names:
                batch = np.zeros((batch_size, *crop.shape), np.uint8)
            batch[len(names)] = crop
            names.append(name)
            if len(names) == batch_size:
                yield names, batch
                names = []
    if names:
        yield names, batch


def describe_wells(fields: pd.DataFrame, kept: pd.DataFrame, channels: Iterable[str]) -> pd.DataFrame:
    """Describe the wells that have kept tiles, in the order of rows and columns.

    Parameters
    ----------
    fields
        The store's fields.
    kept
        Rows of the tile table that were kept.
    channels
        Names of the channels.

    Returns
    -------
    ``plate``, ``plate_name``, ``batch``, ``well``, ``row``, ``column``, the number of ``fields`` and ``crops``, and for
    each channel ``mean_{channel}`` and ``sd_{channel}``, averaged over crops, in 8-bit units; the ``foreground``.
    """
    groups = kept.groupby("well")
    measures = [*(f"{measure}_{channel}" for measure in ("mean", "sd") for channel in channels), "foreground"]
    counts = groups.agg(fields=("field", "nunique"), crops=("field", "size")).astype("int32")
    facts = counts.join(groups[measures].mean().astype("float32"))
    wells = fields[WELL_COLUMNS].drop_duplicates("well").sort_values(["row", "column"])
    return wells.merge(facts, left_on="well", right_index=True).reset_index(drop=True)
