"""RxRx3-core (https://huggingface.co/datasets/recursionpharma/rxrx3-core): RxRx3's wells, images in Parquet files.

A row of ``data/*.parquet`` is a JPEG 2000 image of one channel, and ``__key__``, such as
``gene-088/Plate9/AA41_s1_3``, says which.
"""

from functools import lru_cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from cellmae.errors import ConfigError, DataError
from cellmae.screen.layouts.layout import ImagedPlates, existing_root
from cellmae.screen.layouts.rxrx3 import RxRx3Layout
from cellmae.screen.listing import listing
from cellmae.screen.patterns import FilePattern, size_and_time
from cellmae.screen.plate import Plate
from cellmae.screen.wells import parse_wells

SHARDS = "data/*.parquet"
KEY = "__key__"
KEY_PARTS = (
    r"^(?P<experiment>[^/]+)/(?P<plate_name>Plate[0-9]+)/(?P<well>[A-Za-z]{1,2}[0-9]{1,2})"
    r"_s(?P<site>[0-9]+)_w?(?P<channel>[0-9]+)$"
)
COLUMNS = ["well", "row", "column", "site", "channel", "path", "size", "mtime_ns"]


class RxRx3CoreLayout(RxRx3Layout):
    """Plates as RxRx3-core has them; also if only some of its Parquet files were downloaded."""

    metadata_name = "metadata_rxrx3_core.csv"

    def imaged_plates(self) -> ImagedPlates:
        """Return the plates that have images, by the keys of all shards."""
        visited: list[Path] = []
        shards = self._shards(visited)
        found = [_split(keys)[["experiment", "plate_name"]].drop_duplicates() for _, keys, _, _ in shards]
        if not found:
            raise ConfigError(f"screen.root: no file below {self.root} matches {SHARDS!r}")
        return ImagedPlates(
            pd.concat(found).drop_duplicates(ignore_index=True), [*visited, *(path for path, *_ in shards)]
        )

    def images(self, plate: Plate) -> pd.DataFrame:
        """List the rows of the shards that hold a plate; ``size`` is an equal share of the shard's."""
        parts = []
        for path, keys, size, mtime_ns in self._shards([]):
            rows = pc.indices_nonzero(pc.starts_with(keys, f"{plate.experiment}/{plate.name}/"))
            if len(rows):
                images = _split(keys.take(rows))
                name = path.relative_to(self.root).as_posix()
                references = [f"{name}#{row}" for row in rows.to_pylist()]
                parts.append(images.assign(path=references, size=size // len(keys), mtime_ns=mtime_ns))
        if not parts:
            return pd.DataFrame(columns=COLUMNS).astype({"well": "object", "row": "int64", "column": "int64"})
        images = pd.concat(parts, ignore_index=True)
        images = images.assign(site=images["site"].astype("int64"), **parse_wells(images["well"]))
        wanted = images["channel"].isin(list(self.channel_ids()))
        if not wanted.any():
            raise DataError(
                f"the images of the plate {plate.slug} have the channels {listing(images['channel'].unique())}; "
                f"screen.channels names {len(self.channel_ids())}"
            )
        return images.loc[wanted, COLUMNS].reset_index(drop=True)

    def _shards(self, visited: list[Path]) -> list[tuple[Path, pa.Array, int, int]]:
        """Return the path, the keys, the size and the time of each shard."""
        shards = []
        pattern = FilePattern(SHARDS, key="screen.root", needs_well=False)
        for path in sorted(path for _, path in pattern.find(existing_root(self.root), visited=visited)):
            facts = size_and_time(path)
            if facts is not None:
                shards.append((path, _keys(path, *facts), *facts))
        return shards


@lru_cache(maxsize=128)
def _keys(path: Path, size: int, mtime_ns: int) -> pa.Array:
    """Return the keys of a shard, of this size and time; the images are not read."""
    try:
        with path.open("rb") as file:
            shard = pa.parquet.ParquetFile(file)
            if KEY not in shard.schema_arrow.names:
                names = listing(shard.schema_arrow.names)
                raise DataError(f"{path} has no column {KEY}; its columns are {names}: move it out of {path.parent}")
            keys = shard.read(columns=[KEY]).column(0).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read ({error}): fetch it anew") from None
    if keys.null_count or not pc.all(pc.match_substring_regex(keys, KEY_PARTS)).as_py():
        strange = keys.filter(pc.invert(pc.fill_null(pc.match_substring_regex(keys, KEY_PARTS), False))).to_pylist()
        raise DataError(
            f"{path}: {len(strange)} rows have no {KEY} such as gene-088/Plate9/AA41_s1_3, the first {strange[0]!r}"
        )
    return keys


def _split(keys: pa.Array) -> pd.DataFrame:
    """Return the parts of keys: experiment, plate_name, well, site and channel, as text."""
    return pd.DataFrame(
        {
            name: values.to_numpy(zero_copy_only=False)
            for name, values in zip(
                ("experiment", "plate_name", "well", "site", "channel"),
                pc.extract_regex(keys, KEY_PARTS).flatten(),
                strict=True,
            )
        }
    )
