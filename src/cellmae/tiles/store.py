"""The store of a plate's fields: a Zarr v3 group that xarray opens and whose chunks are plain files to map.

``images`` (field, channel, y, x) uint8 has one uncompressed chunk a field: the file ``images/c/{field}/0/0/0``
holds the field's bytes in C order and nothing else. The coordinate ``digest`` keeps a digest of each. An archived
store has the same fields in compressed chunks, which are decoded rather than mapped.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from cellmae.errors import DamagedError, DataError
from cellmae.files import atomic_path, fingerprint_bytes, fingerprint_file
from cellmae.tiles import VERSION
from cellmae.versions import require_version

if TYPE_CHECKING:
    import xarray

STAGE = "tiles"
IMAGES = "images"
PLATE_COLUMNS = ("plate", "plate_name", "batch")  # the same for all fields: attributes of the group
FIELD_COLUMNS = ("well", "site", "row", "column")  # coordinates along the dimension field

ARCHIVE_LEVEL = 3  # of Zstandard; higher ones gain little on 8-bit images
MAX_NAMED_CHUNKS = 3  # damaged chunks that a message names


def chunk_path(store: Path, field: int) -> Path:
    """File of a field, as Zarr's default chunk key encoding names it."""
    return store / IMAGES / "c" / str(field) / "0" / "0" / "0"


class StoreWriter:
    """Writes fields in any order, from several threads, then the metadata that makes them a store.

    Fields are written as files, not through zarr, which would copy each of them twice.
    """

    def __init__(self, folder: Path) -> None:
        """Write into a folder that does not exist yet."""
        self.folder = folder

    def write(self, place: int, field: np.ndarray) -> str:
        """Write the field (channels, y, x) uint8 at a preliminary place, if need be again; return its digest."""
        path = chunk_path(self.folder, place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(field.data)
        return fingerprint_bytes(field.data)

    def finish(
        self,
        *,
        places: Sequence[int],
        digests: Sequence[str],
        fields: pd.DataFrame,
        channels: Sequence[str],
        shape: tuple[int, int, int],
        attributes: Mapping[str, Any],
    ) -> None:
        """Close the gaps that lost fields left, and write the metadata.

        Parameters
        ----------
        places
            Preliminary places of the fields that stay, ascending; they become fields 0, 1, 2, ...
        digests
            What :meth:`write` returned for them.
        fields
            Their rows of the field table, with :data:`PLATE_COLUMNS` and :data:`FIELD_COLUMNS`.
        channels
            Names of the channels.
        shape
            Channels, rows and columns of a field.
        attributes
            What else the store tells of itself.
        """
        for field, place in enumerate(places):
            if field != place:
                chunk_path(self.folder, place).parents[2].rename(chunk_path(self.folder, field).parents[2])
        plate = {column: str(fields[column].iloc[0]) for column in PLATE_COLUMNS}
        _create(
            self.folder,
            shape=(len(places), *shape),
            channels=channels,
            fields=fields,
            digests=digests,
            attributes={"stage": STAGE, **plate, **attributes},
        )


def _create(
    folder: Path,
    *,
    shape: tuple[int, int, int, int],
    channels: Sequence[str],
    fields: pd.DataFrame,
    digests: Sequence[str],
    attributes: Mapping[str, Any],
    compressor: ZstdCodec | None = None,
) -> zarr.Array:
    """Write all of a store but its fields; return the array for these."""
    group = zarr.create_group(folder, zarr_format=3, attributes=dict(attributes))
    images = group.create_array(
        IMAGES,
        shape=shape,
        chunks=(1, *shape[1:]),
        dtype="uint8",
        compressors=compressor,
        fill_value=0,
        dimension_names=("field", "channel", "y", "x"),
        config={"write_empty_chunks": True},
        attributes={"coordinates": " ".join((*FIELD_COLUMNS, "digest"))},
    )
    _write_coordinate(group, "channel", "channel", list(channels))
    for column in FIELD_COLUMNS:
        _write_coordinate(group, column, "field", fields[column].tolist())
    _write_coordinate(group, "digest", "field", list(digests))
    with warnings.catch_warnings():
        # xarray warns where metadata is not consolidated, zarr where it is.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(group.store, zarr_format=3)
    return images


def archive_store(path: str | Path) -> None:
    """Compress a plate's store in place: the same fields, slower to read. One that is archived stays as it is.

    Raises
    ------
    DataError
        There is no store, or it is damaged: it stays as it is.
    """
    store = open_store(path, verify=True)
    if store.is_archived:
        return
    with atomic_path(path) as partial:
        images = _create(
            partial,
            shape=store.shape,
            channels=store.channels,
            fields=store.fields,
            digests=store.digests,
            attributes=store.attributes,
            compressor=ZstdCodec(level=ARCHIVE_LEVEL),
        )
        for field in range(store.shape[0]):
            images[field] = store.field(field)


def _write_coordinate(group: zarr.Group, name: str, dimension: str, values: Sequence[str | int]) -> None:
    dtype: Any = str if isinstance(values[0], str) else "int32"
    array = group.create_array(
        name,
        shape=(len(values),),
        dtype=dtype,
        # Without the checksum, four damaged bytes in a list of strings ask for gigabytes.
        compressors=Crc32cCodec(),
        dimension_names=(dimension,),
    )
    array[:] = np.array(values, dtype=dtype)


@dataclass(frozen=True)
class TileStore:
    """A plate's fields, open for reading.

    Attributes
    ----------
    path
        Folder of the Zarr group.
    channels
        Names of the channels.
    shape
        Fields, channels, rows and columns.
    fields
        A row a field: ``field`` (its index), ``plate``, ``plate_name``, ``batch``, ``well``, ``site``,
        ``row``, ``column``.
    digests
        Digest of every field's bytes.
    tile_size
        Edge of the tiles in pixels.
    is_archived
        Whether fields are compressed.
    attributes
        The group's attributes; ``ranges`` holds the pixel values of each channel that became 0 and 255.
    """

    path: Path
    channels: tuple[str, ...]
    shape: tuple[int, int, int, int]
    fields: pd.DataFrame
    digests: tuple[str, ...]
    tile_size: int
    is_archived: bool
    attributes: Mapping[str, Any]

    @property
    def images(self) -> "xarray.DataArray":
        """All fields (field, channel, y, x) uint8 as a lazy array with coordinates."""
        import xarray

        return xarray.open_zarr(self.path)[IMAGES]

    def field(self, field: int) -> np.ndarray:
        """Return a field (channels, y, x) uint8, read-only: mapped, or decoded where the store is archived."""
        if self.is_archived:
            return np.asarray(_array(zarr.open_group(self.path, mode="r", zarr_format=3), IMAGES)[field])
        return np.memmap(chunk_path(self.path, field), mode="r", dtype=np.uint8, shape=self.shape[1:])

    def checked_field(self, field: int) -> np.ndarray:
        """Return a field whose bytes have been compared with their digest; :class:`DamagedError` where they differ."""
        try:
            pixels = np.asarray(self.field(field))
            whole = fingerprint_bytes(pixels.data) == self.digests[field]
        except (OSError, RuntimeError, ValueError):
            whole = False
        if whole:
            return pixels
        place = f"{self.fields['well'].iloc[field]} site {self.fields['site'].iloc[field]}"
        raise DamagedError(
            f"{self.path}: {place} was altered: delete it with its manifest and run snakemake again",
            manifest=self.path.with_suffix(".json"),
        )


def open_store(path: str | Path, *, verify: bool = False) -> TileStore:
    """Open a plate's store.

    Parameters
    ----------
    path
        Folder that :func:`cellmae.tiles.tile_plate` wrote.
    verify
        Read every field and compare its digest; otherwise only the files' sizes are checked.

    Raises
    ------
    DataError
        There is no store (any more), its metadata is garbled, or fields are missing, cut off or altered: names them.
    """
    path = Path(path)
    manifest, remedy = path.with_suffix(".json"), "delete it with its manifest and run snakemake again"
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
        attributes: dict[str, Any] = dict(group.attrs)
        coordinates = {
            name: np.asarray(_array(group, name)[:]).tolist() for name in ("channel", "digest", *FIELD_COLUMNS)
        }
        images = _array(group, IMAGES)
        _, channels, height, width = shape = images.shape
        plate = {column: attributes[column] for column in PLATE_COLUMNS}
        tile_size = int(attributes["tile_size"])
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing or holds no store; if it was deleted, run snakemake restore_tiles to have it again"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        message = f"{path} is no store of the stage tiles or is damaged ({error}): {remedy}"
        raise DamagedError(message, manifest=manifest) from None
    require_version(attributes.get("version"), VERSION, stage=STAGE, path=path, manifest=manifest)
    fields = pd.DataFrame({name: coordinates[name] for name in FIELD_COLUMNS})
    fields = pd.concat([pd.DataFrame(plate, index=fields.index), fields], axis=1)
    fields.insert(0, "field", np.arange(len(fields)))
    store = TileStore(
        path=path,
        channels=tuple(coordinates["channel"]),
        shape=(len(fields), channels, height, width),
        fields=fields,
        digests=tuple(coordinates["digest"]),
        tile_size=tile_size,
        is_archived=bool(images.compressors),
        attributes=attributes,
    )
    if shape != store.shape or len(store.channels) != channels:
        raise DamagedError(f"{path}: images of shape {shape} contradict its coordinates: {remedy}", manifest=manifest)
    if damage := _find_damage(store, verify=verify):
        named = "; ".join(damage[:MAX_NAMED_CHUNKS]) + ("; ..." if len(damage) > MAX_NAMED_CHUNKS else "")
        message = f"{path}: {len(damage)} of {len(fields)} fields are damaged: {named}: {remedy}"
        raise DamagedError(message, manifest=manifest)
    return store


def _array(group: zarr.Group, name: str) -> zarr.Array:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"{name} is no array")
    return array


def _find_damage(store: TileStore, *, verify: bool) -> list[str]:
    damage = []
    size = None if store.is_archived else int(np.prod(store.shape[1:]))
    names = store.fields["well"] + " site " + store.fields["site"].astype(str)
    for field, (name, digest) in enumerate(zip(names, store.digests, strict=True)):
        path = chunk_path(store.path, field)
        found = path.stat().st_size if path.exists() else None
        if found is None:
            verdict = "is missing"
        elif size is not None and found != size:
            verdict = f"has {found} bytes, expected {size}"
        elif verify and _fingerprint(store, field) != digest:
            verdict = "was altered"
        else:
            continue
        damage.append(f"{path.relative_to(store.path)} ({name}) {verdict}")
    return damage


def _fingerprint(store: TileStore, field: int) -> str | None:
    """Return the fingerprint of a field's pixels; None where they cannot be decoded."""
    if not store.is_archived:
        return fingerprint_file(chunk_path(store.path, field))
    try:
        return fingerprint_bytes(store.field(field).data)
    except (OSError, RuntimeError, ValueError):
        return None
