"""From what a field table says of an image to the image.

A reference is the path of a file, relative to the screen's root or absolute. What lies within a larger file has a part
after ``#``: ``shard.parquet#17`` is the image in row 17.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from cellmae.images.files import ImageFile
from cellmae.images.image import Image
from cellmae.images.parquet import ParquetImage
from cellmae.images.stack import ProjectedStack

ROW_OF_PARQUET = re.compile(r"(?P<path>.+\.parquet)#(?P<row>[0-9]+)")


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
        return ParquetImage(root / match["path"], int(match["row"]))
    return ImageFile(root / reference, z)
