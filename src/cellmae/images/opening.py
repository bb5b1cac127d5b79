"""From what a field table says of an image to the image.

A reference is the path of a file, relative to the screen's root or absolute. What lies within a larger file has a part
after ``#``: ``shard.parquet#17`` is the image in row 17;
``plate.zarr/A/1/0/0#axes=tczyx&t=0&c=0,2&y=0:2048&x=2048:4096`` is a window of an array.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from cellmae.images.files import ImageFile
from cellmae.images.image import Image
from cellmae.images.omezarr import ZarrImage
from cellmae.images.parquet import ParquetImage
from cellmae.images.stack import ProjectedStack

ROW_OF_PARQUET = re.compile(r"(?P<path>.+\.parquet)#(?P<row>[0-9]+)")
WINDOW_OF_ZARR = re.compile(
    r"(?P<path>.+)#axes=(?P<axes>[tczyx]+)&t=(?P<t>[0-9]+)&c=(?P<c>[0-9]+(?:,[0-9]+)*)"
    r"&y=(?P<top>[0-9]+):(?P<bottom>[0-9]+)&x=(?P<left>[0-9]+):(?P<right>[0-9]+)"
)


def open_image(root: Path, reference: str | Sequence[str], *, z: int | None = None) -> Image:
    """Return the image that a field table refers to; nothing is read yet.

    Parameters
    ----------
    root
        Folder that references are relative to.
    reference
        What a field table holds: a reference, or those of all planes of a z stack, which are projected.
    z
        The plane to take of a stack within one file, from 0; None for the maximum over z.
    """
    if not isinstance(reference, str):
        return ProjectedStack([open_image(root, plane, z=z) for plane in reference])
    if match := ROW_OF_PARQUET.fullmatch(reference):
        return ParquetImage(root / match["path"], int(match["row"]), z)
    if match := WINDOW_OF_ZARR.fullmatch(reference):
        channels = tuple(map(int, match["c"].split(",")))
        y, x = (int(match["top"]), int(match["bottom"])), (int(match["left"]), int(match["right"]))
        return ZarrImage(root / match["path"], match["axes"], int(match["t"]), channels, y, x, z)
    return ImageFile(root / reference, z)
