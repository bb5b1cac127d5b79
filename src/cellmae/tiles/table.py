"""The table of a plate's tiles: where each lies, how good it is, and whether it is kept."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cellmae.errors import DamagedError
from cellmae.files import digest_bytes
from cellmae.tiles.fields import FieldImages
from cellmae.tiles.quality import Grid, Quality

PLACE_COLUMNS = ("plate", "well", "site", "field", "y", "x")
NOWHERE = -1
"""``field``, ``y`` and ``x`` of a field that was lost."""


def read_tiles(path: str | Path) -> pd.DataFrame:
    """Read a plate's tile table.

    Returns
    -------
    A row a tile: ``plate``, ``well``, ``site``, ``field`` (index in the store), ``y``, ``x`` (first row and
    column in pixels), ``mean_{channel}``, ``sd_{channel}``, ``focus_{channel}``, ``saturated``, ``foreground``
    (see :class:`cellmae.tiles.quality.Quality`), ``keep``, ``reason`` (empty when kept). Then a row a lost
    field: ``field``, ``y`` and ``x`` are -1, the measures null, ``reason`` says why.
    """
    manifest = Path(path).with_suffix(".json")
    try:
        return pd.read_parquet(path, page_checksum_verification=True)
    except FileNotFoundError:
        raise DamagedError(f"{path} is missing: run snakemake again", manifest=manifest) from None
    except (OSError, ValueError) as error:
        line = str(error).splitlines()[0]
        message = f"{path} is no tile table ({line}): delete it and run snakemake again"
        raise DamagedError(message, manifest=manifest) from None


def tile_rows(fields: Sequence[FieldImages], qualities: Sequence[Quality], grid: Grid, *, plate: str) -> pd.DataFrame:
    """Lay out the tiles of the stored fields, with their measures and without a verdict."""
    count = len(grid.tops) * len(grid.lefts)
    y, x = (corner.ravel() for corner in np.meshgrid(grid.tops, grid.lefts, indexing="ij"))
    columns: dict[str, object] = {
        "plate": plate,
        "well": np.repeat([field.well for field in fields], count),
        "site": np.repeat(np.array([field.site for field in fields], dtype=np.int32), count),
        "field": np.repeat(np.arange(len(fields), dtype=np.int32), count),
        "y": np.tile(y.astype(np.int32), len(fields)),
        "x": np.tile(x.astype(np.int32), len(fields)),
    }
    for measure in ("mean", "sd", "focus"):
        for channel, name in enumerate(fields[0].channels):
            columns[f"{measure}_{name}"] = _join([getattr(quality, measure)[channel] for quality in qualities])
    for measure in ("saturated", "foreground"):
        columns[measure] = _join([getattr(quality, measure) for quality in qualities])
    return pd.DataFrame(columns)


def _join(measures: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(measures).astype(np.float32)


def lost_rows(fields: Sequence[FieldImages], lost: Mapping[int, str], columns: pd.Index, *, plate: str) -> pd.DataFrame:
    """A row for each lost field, with the columns of the tile table."""
    names = [fields[place] for place in lost]
    rows = pd.DataFrame(
        {
            "plate": plate,
            "well": [field.well for field in names],
            "site": np.array([field.site for field in names], dtype=np.int32),
            **{column: np.full(len(names), NOWHERE, dtype=np.int32) for column in ("field", "y", "x")},
            "keep": np.zeros(len(names), dtype=bool),
            "reason": list(lost.values()),
        }
    )
    measures = [column for column in columns if column not in rows]
    return rows.assign(**dict.fromkeys(measures, np.float32("nan")))[list(columns)]


def digest_table(table: pd.DataFrame) -> str:
    """Digest of a table's content, which does not depend on how a file holds it."""
    rows = pd.util.hash_pandas_object(table, index=False).to_numpy()
    return digest_bytes(",".join(table.columns).encode(), rows.tobytes())
