"""RxRx3-core: metadata and Parquet shards as they lie on Hugging Face (recursionpharma/rxrx3-core).

Each row of ``data/train-*.parquet`` is a plane: its key, such as ``gene-088/Plate9/AA41_s1_3``, and JPEG 2000.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow.parquet

from cellmae.errors import ConfigError, DataError
from cellmae.locations import modification_time_ns
from cellmae.screen.layouts.layout import ImagedPlates, existing_root
from cellmae.screen.layouts.rxrx3 import RxRx3Layout
from cellmae.screen.listing import listing
from cellmae.screen.plate import Plate
from cellmae.screen.wells import parse_wells

SHARDS = "train-*.parquet"
KEY = "__key__"
PLANE = re.compile(
    r"(?:.*/)?(?P<experiment>[^/]+)/(?P<plate>[^/]+)/(?P<well>[A-Za-z]{1,2}[0-9]+)_s(?P<site>[0-9]+)_w?(?P<channel>[0-9]+)"
    r"(?:\.jp2)?"
)


class Shard(NamedTuple):
    """A file of planes: its folder below the root, and what one plane takes of it."""

    path: str
    bytes_a_row: int
    mtime_ns: int


class RxRx3CoreLayout(RxRx3Layout):
    """Plates as RxRx3-core has them; also if only some of its shards were downloaded."""

    metadata_file = "metadata_rxrx3_core.csv"

    def imaged_plates(self) -> ImagedPlates | None:
        """Return the plates that have planes in some shard."""
        planes, _ = _planes(existing_root(self.root))
        plates = planes[["experiment", "plate_name"]].drop_duplicates()
        return ImagedPlates(plates, [self.root, self.root / "data"])

    def images(self, plate: Plate) -> pd.DataFrame:
        """List the planes of a plate; their bytes are a shard's in equal parts."""
        planes, shards = _planes(existing_root(self.root))
        own = planes[(planes["experiment"] == plate.experiment) & (planes["plate_name"] == plate.name)]
        own = own[own["channel"].isin(self._channels)].reset_index(drop=True)
        held = [shards[number] for number in own["shard"]]
        files = own[["site", "channel"]].assign(
            path=[f"{shard.path}#{row}" for shard, row in zip(held, own["row_of_shard"], strict=True)],
            size=[shard.bytes_a_row for shard in held],
            mtime_ns=[shard.mtime_ns for shard in held],
        )
        return pd.concat([parse_wells(own["well"]), files], axis=1)


@lru_cache(4)
def _planes(root: Path) -> tuple[pd.DataFrame, list[Shard]]:
    """Read the keys of all shards, of which there are 1.3 million: some seconds, once a process."""
    paths = sorted([*root.glob(SHARDS), *root.glob(f"data/{SHARDS}")])
    if not paths:
        raise ConfigError(f"screen.root: there is no data/{SHARDS} in {root}; the folder of RxRx3-core has them")
    tables, shards = [], []
    for number, path in enumerate(paths):
        try:
            with path.open("rb") as file:
                keys = pyarrow.parquet.read_table(file, columns=[KEY]).column(KEY).to_pandas()
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path} is no shard of RxRx3-core ({error}): download it anew") from None
        parts = keys.str.extract(f"^{PLANE.pattern}$")
        if parts[["experiment", "channel"]].isna().any(axis=None):
            strange = keys[parts["experiment"].isna()].head(3)
            raise DataError(f"{path} holds keys that name no plane: {listing(strange)}")
        status = path.stat()
        size = status.st_size // max(1, len(keys))
        shards.append(Shard(path.relative_to(root).as_posix(), size, modification_time_ns(status)))
        tables.append(parts.assign(shard=number, row_of_shard=range(len(keys))))
    planes = pd.concat(tables, ignore_index=True).rename(columns={"plate": "plate_name"})
    return planes.assign(site=planes["site"].astype("int64")), shards
