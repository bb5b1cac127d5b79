"""Images in a column of a Parquet file, as datasets on Hugging Face keep them: a row an image file's bytes."""

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from cellmae.images.files import SIGNATURE_BYTES, decode, kind_of
from cellmae.images.image import ImageFormat, RefusedError, as_unreadable

OPEN_FILES = 64
GROUPS_KEPT = 4

MOST_GROWTH = 16
"""Images are packed already: no codec of Parquet makes a byte of them more than so many."""


@dataclass(frozen=True)
class ParquetImage:
    """The image in a row of a Parquet file; its column is the only one that holds bytes.

    Attributes
    ----------
    path
        The file.
    row
        Number of the row, from 0.
    z
        The plane of a z stack within the image, from 0; None for the maximum over z.
    """

    path: Path
    row: int
    z: int | None = None

    def __str__(self) -> str:
        """Name it as the field table does."""
        return f"{self.path}#{self.row}"

    def format(self) -> ImageFormat:
        """Read the header, see :class:`cellmae.images.Image`."""
        try:
            data = self._bytes()
            return kind_of(data[:SIGNATURE_BYTES]).read_format(io.BytesIO(data))
        except Exception as error:
            raise as_unreadable(self, error) from error

    def planes(self, expected: ImageFormat | None = None) -> np.ndarray:
        """Decode all planes, see :class:`cellmae.images.Image`."""
        try:
            return decode(self._bytes(), expected, z=self.z)
        except Exception as error:
            raise as_unreadable(self, error) from error

    def _bytes(self) -> bytes:
        first_rows = _first_rows(self.path)
        if not self.row < first_rows[-1]:
            raise RefusedError(f"the file has {first_rows[-1]} rows")
        group = int(np.searchsorted(first_rows, self.row, side="right")) - 1
        data = _images(self.path, group)[self.row - first_rows[group]].as_py()
        if data is None:
            raise RefusedError("file is empty")
        return data


def image_column(schema: pa.Schema) -> str:
    """Return the column with the bytes of images: binary, or a struct that holds ``bytes``."""
    for field in schema:
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            return field.name
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            return field.name
    raise RefusedError(f"no column holds bytes; there are {', '.join(schema.names)}")


@lru_cache(OPEN_FILES)
def _first_rows(path: Path) -> np.ndarray:
    """Return the number of the first row of each row group, and that of all rows."""
    with path.open("rb") as file:
        metadata = pa.parquet.read_metadata(file)
    counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


@lru_cache(GROUPS_KEPT)
def _images(path: Path, group: int) -> pa.ChunkedArray:
    with path.open("rb") as opened:
        file = pa.parquet.ParquetFile(opened)
        try:
            column = file.read_row_group(group, columns=[image_column(file.schema_arrow)]).column(0)
        except pa.ArrowMemoryError as error:
            np.empty(MOST_GROWTH * path.stat().st_size, np.uint8)  # where memory is short, this fails as well
            raise RefusedError("truncated or damaged (asks for more memory than its bytes can fill)") from error
    if not pa.types.is_struct(column.type):
        return column
    return pa.chunked_array([pa.compute.struct_field(chunk, "bytes") for chunk in column.chunks])
