"""From the images of a plate to its store, its tile table and its manifest."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cellmae.errors import DataError
from cellmae.files import atomic_path, digest_json, read_json, remove, write_manifest
from cellmae.images import ImageFormat
from cellmae.logging import logger, progress
from cellmae.tiles import VERSION
from cellmae.tiles.fields import FieldImages, list_fields, survey_formats
from cellmae.tiles.intensity import SAMPLED_FIELDS, FieldSample, Scaling, flat_everywhere, sample_field
from cellmae.tiles.kernels import is_flat
from cellmae.tiles.preparation import (
    ILLUMINATION_FIELDS,
    Preparation,
    estimate_gains,
    prepared_shape,
    read_gains,
)
from cellmae.tiles.quality import Grid, Quality, judge, measure
from cellmae.tiles.store import STAGE, StoreWriter, open_store
from cellmae.tiles.table import digest_table, lost_rows, tile_rows
from cellmae.tiles.workers import LOCAL, LostFieldError, Workers, field_workers

SAMPLE_SEED = 0
KEPT_BYTES = 2**27  # of sampled fields that stay in memory until they are stored
MAX_NAMED_FIELDS = 3  # lost fields that a message names

_OWN = threading.local()


class StoredField(NamedTuple):
    """A field that is on disk: its place in the plate's field table, its bytes' digest, its tiles' quality."""

    place: int
    digest: str
    quality: Quality


def tile_plate(
    fields: pd.DataFrame,
    *,
    root: Path,
    channels: Sequence[str],
    z: int | None = None,
    store: str | Path,
    table: str | Path,
    manifest: str | Path,
    size: int,
    ranges: Mapping[str, Sequence[float]] | None = None,
    range_percentiles: Sequence[float],
    illumination: str | None = None,
    binning: float = 1,
    min_contrast: float,
    min_focus: float,
    max_saturated: float,
    max_lost_share: float,
    threads: int,
    scheduler: str = LOCAL,
) -> None:
    """Scale a plate's fields to 8 bits, store them, and judge their tiles.

    Every channel has one range for the whole plate, from a sample of its fields, so that brightness stays
    comparable between wells. A field is lost when a file of it is missing, unreadable, of another format than
    most of the plate, or holds a flat plane in a channel that is not flat all over the plate; lost fields are
    listed with their reason in the table and the manifest.

    Parameters
    ----------
    fields
        The plate's field table, as the stage screen writes it.
    root
        Folder that the table's paths are relative to.
    channels
        Names of the channels, in the order of the store.
    z
        The plane to take of z stacks within a file, from 0; None for the maximum over z.
    store, table, manifest
        Files to write, each whole or not at all, the manifest last.
    size
        Edge of the tiles in pixels.
    ranges
        Pixel values that become 0 and 255, by channel; those of the other channels follow from the percentiles.
    range_percentiles
        Percentiles of a channel's pixels on the plate that become 0 and 255.
    illumination
        What planes are divided by: ``estimate`` it from the plate's fields, or files as
        :func:`cellmae.tiles.preparation.read_gains` finds them; None leaves planes as they are.
    binning
        Pixels in both directions that are averaged to one, if need be in parts.
    min_contrast, min_focus, max_saturated
        Which tiles are kept: see :func:`cellmae.tiles.quality.judge`.
    max_lost_share
        Share of the plate's fields that may be lost.
    threads, scheduler
        Fields that are worked on at the same time, each in the memory of one field; or who does so instead: see
        :func:`cellmae.tiles.workers.field_workers`.

    Raises
    ------
    DataError
        The plate has no fields, none that can be used, or more lost ones than ``max_lost_share``.
    ConfigError
        ``size`` is larger than the fields.
    """
    if fields.empty:
        raise DataError(f"{table}: the field table of the plate is empty: check screen.root and its metadata")
    remove(Path(manifest))
    plate = str(fields["plate"].iloc[0])
    files = list_fields(fields, root=root, channels=channels, z=z)

    with field_workers(threads, scheduler) as workers, atomic_path(store) as partial:
        form, lost = survey_formats(files, workers)
        _require_enough(plate, files, lost, max_lost_share)
        assert form is not None, "some field was readable, so that there is a majority"
        usable = [place for place in range(len(files)) if place not in lost]
        preparation = _prepare(files, usable, form, fields, root, illumination, binning, workers)
        grid = Grid.over(*preparation.shape, size)
        decoded: dict[int, list[np.ndarray]] = {}
        samples, useless = _sample_fields(files, usable, form, preparation, decoded, workers)
        if not samples:
            _require_enough(plate, files, lost | useless, max_lost_share)
        low, high = range_percentiles
        given = [(ranges[name][0], ranges[name][1]) if ranges and name in ranges else None for name in channels]
        scaling = Scaling.fit(samples, percentiles=(low, high), given=given)
        stored_ranges = scaling.ranges(channels)

        writer = StoreWriter(partial)
        stored, unstored = _store_fields(files, usable, form, preparation, scaling, grid, writer, decoded, workers)
        lost = dict(sorted((lost | unstored).items()))
        _require_enough(plate, files, lost, max_lost_share)
        places = [field.place for field in stored]
        digests = [field.digest for field in stored]
        writer.finish(
            places=places,
            digests=digests,
            fields=fields.iloc[places],
            channels=channels,
            shape=(len(channels), *preparation.shape),
            attributes={
                "version": VERSION,
                "tile_size": size,
                "ranges": stored_ranges,
                "illumination": illumination,
                "binning": binning,
                "foreground_threshold": scaling.foreground,
                "source_dtype": str(form.dtype),
            },
        )

    tiles = tile_rows([files[place] for place in places], [field.quality for field in stored], grid, plate=plate)
    reasons = judge(
        tiles,
        channels=[name for name, (low, high) in stored_ranges.items() if low < high],
        min_contrast=min_contrast,
        min_focus=min_focus,
        max_saturated=max_saturated,
    )
    tiles = tiles.assign(keep=reasons == "", reason=reasons)
    rows = pd.concat([tiles, lost_rows(files, lost, tiles.columns, plate=plate)], ignore_index=True)
    with atomic_path(table) as partial:
        rows.to_parquet(partial, index=False, write_page_checksum=True)

    write_manifest(
        manifest,
        stage=STAGE,
        version=VERSION,
        digest=digest_json([digests, list(channels), stored_ranges, digest_table(rows)]),
        plate=plate,
        fields=len(stored),
        tiles=len(tiles),
        kept=int(tiles["keep"].sum()),
        rejected=dict(sorted(Counter(reasons[reasons != ""].tolist()).items())),
        dropped=[
            {"well": files[place].well, "site": files[place].site, "reason": reason} for place, reason in lost.items()
        ],
        shape=[len(stored), len(channels), *preparation.shape],
        tile_size=size,
        channels=list(channels),
        ranges=stored_ranges,
    )
    logger.info(
        "%s: %d of %d fields stored, %d of %d tiles kept",
        *(plate, len(stored), len(files), tiles["keep"].sum(), len(tiles)),
    )


def restore_store(fields: pd.DataFrame, *, manifest: str | Path, **arguments: Any) -> None:
    """Make a plate's store again that was deleted; table and manifest stay as they are, and so does what rests on them.

    Parameters
    ----------
    fields, arguments
        As :func:`tile_plate` took them.
    manifest
        The plate's manifest, beside which the store belongs.

    Raises
    ------
    DataError
        The images, or the arguments, are not what they were.
    """
    manifest = Path(manifest)
    store = manifest.with_suffix(".zarr")
    if store.exists():
        open_store(store)
        return
    with atomic_path(store) as partial, TemporaryDirectory() as folder:
        again = Path(folder, manifest.name)
        tile_plate(fields, store=partial, table=again.with_suffix(".parquet"), manifest=again, **arguments)
        if read_json(again) != read_json(manifest):
            raise DataError(
                f"{manifest}: the images or the configuration changed since; tile the plate anew with snakemake "
                "--forcerun tile_plate, and train and embed what depends on it"
            )


def _prepare(
    files: Sequence[FieldImages],
    usable: Sequence[int],
    form: ImageFormat,
    fields: pd.DataFrame,
    root: Path,
    illumination: str | None,
    binning: float,
    workers: Workers,
) -> Preparation:
    shape = prepared_shape(form, binning)
    if illumination is None:
        return Preparation(shape)
    if illumination == "estimate":
        drawn = np.random.default_rng(SAMPLE_SEED).permutation(usable)[:ILLUMINATION_FIELDS]
        return Preparation(shape, estimate_gains([files[place] for place in sorted(drawn)], form, workers))
    name = str(fields["plate_name"].iloc[0])
    return Preparation(shape, read_gains(illumination, root=root, plate=name, channels=files[0].channels, form=form))


def _sample_fields(
    files: Sequence[FieldImages],
    usable: Sequence[int],
    form: ImageFormat,
    preparation: Preparation,
    decoded: dict[int, list[np.ndarray]],
    workers: Workers,
) -> tuple[list[FieldSample], dict[int, str]]:
    """Sample fields in random order until there are enough; return also those that say nothing, with reasons.

    Some of them are left in ``decoded``, so that they need not be decoded once more.
    """

    capacity = KEPT_BYTES // (form.nbytes * len(files[0].images)) if workers.is_local else 0

    def sample(place: int) -> FieldSample:
        planes = list(files[place].planes(form))
        if len(decoded) < capacity:
            decoded[place] = planes
        return sample_field(planes, preparation)

    drawn = np.random.default_rng(SAMPLE_SEED).permutation(usable).tolist()
    useless: dict[int, str] = {}
    samples: dict[int, FieldSample] = {}
    for place, result in zip(drawn, workers.map(sample, drawn), strict=True):
        if isinstance(result, LostFieldError):
            useless[place] = str(result)
        elif result.flat.all():
            useless[place] = "flat in every channel"
        else:
            samples[place] = result
        if len(samples) == SAMPLED_FIELDS:
            break
    # A plane that is flat in one field only is a failed exposure: the whole field is going to be lost.
    constant = flat_everywhere(list(samples.values()))
    for place in [place for place, found in samples.items() if (found.flat & ~constant).any()]:
        useless[place] = "flat in a channel in which other fields are not"
        del samples[place]
    return list(samples.values()), useless


def _store_fields(
    files: Sequence[FieldImages],
    usable: Sequence[int],
    form: ImageFormat,
    preparation: Preparation,
    scaling: Scaling,
    grid: Grid,
    writer: StoreWriter,
    decoded: dict[int, list[np.ndarray]],
    workers: Workers,
) -> tuple[list[StoredField], dict[int, str]]:
    """Scale, write and measure every usable field; return those on disk, and the reasons for the others."""

    def store_field(place: int) -> StoredField:
        field = _own_memory((len(scaling.low), *preparation.shape))
        for channel, plane in enumerate(decoded.pop(place, []) or files[place].planes(form)):
            if is_flat(plane) and not scaling.constant[channel]:
                raise LostFieldError(f"{files[place].channels[channel]}: flat, every pixel is {plane.flat[0]}")
            scaling.scale(preparation.apply(plane, channel), channel, out=field[channel])
        return StoredField(place, writer.write(place, field), measure(field, grid, foreground=scaling.foreground))

    stored: list[StoredField] = []
    lost: dict[int, str] = {}
    results = workers.map(store_field, usable)
    shown = progress(results, description="tiling", unit="field", total=len(usable))
    for place, result in zip(usable, shown, strict=True):
        if isinstance(result, LostFieldError):
            lost[place] = str(result)
        else:
            stored.append(result)
    return stored, lost


def _own_memory(shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of this thread's, the same for every field: fresh memory would cost as much as decoding."""
    if getattr(_OWN, "field", np.empty(0)).shape != shape:
        _OWN.field = np.empty(shape, np.uint8)
    return _OWN.field


def _require_enough(plate: str, files: Sequence[FieldImages], lost: Mapping[int, str], max_lost_share: float) -> None:
    if len(lost) < len(files) and len(lost) <= max_lost_share * len(files):
        return
    reasons = [f"{files[place].name}: {reason}" for place, reason in sorted(lost.items())]
    named = "; ".join(reasons[:MAX_NAMED_FIELDS]) + ("; ..." if len(reasons) > MAX_NAMED_FIELDS else "")
    raise DataError(
        f"plate {plate}: {len(lost)} of {len(files)} fields ({len(lost) / len(files):.0%}) cannot be used, "
        f"tiles.max_lost_share allows {max_lost_share:.0%}: repair them or allow more ({named})"
    )
