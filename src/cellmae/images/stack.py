"""A z stack whose planes are files of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellmae.images.image import Image, ImageFormat


@dataclass(frozen=True)
class ProjectedStack:
    """The maximum over images of the same format.

    Attributes
    ----------
    images
        The z planes, at least one.
    """

    images: Sequence[Image]

    def format(self) -> ImageFormat:
        """Read the header of the first plane, see :class:`cellmae.images.Image`."""
        return self.images[0].format()

    def planes(self, expected: ImageFormat | None = None) -> np.ndarray:
        """Decode and project, see :class:`cellmae.images.Image`."""
        first, *others = self.images
        projected = first.planes(expected)
        if others:
            projected = projected.copy()  # it may be a view of the file's bytes
            count, height, width = projected.shape
            form = ImageFormat(count, height, width, projected.dtype)
            for image in others:
                np.maximum(projected, image.planes(form), out=projected)
        return projected
