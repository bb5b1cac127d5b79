"""The fields of a plate as images: which ones there are, what the plate's format is, and their planes one by one."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cellmae.errors import DataError
from cellmae.images import Image, ImageFormat, UnreadableImageError, open_image
from cellmae.tiles.workers import LostFieldError, Workers


@dataclass(frozen=True)
class FieldImages:
    """The images of one field: one a channel, or a single one that holds all channels."""

    well: str
    site: int
    images: tuple[Image | None, ...]
    channels: tuple[str, ...]

    @property
    def name(self) -> str:
        """How messages call the field."""
        return f"{self.well} site {self.site}"

    @property
    def planes_per_image(self) -> int:
        """Planes that every image must hold."""
        return len(self.channels) if len(self.images) == 1 else 1

    def format(self) -> ImageFormat:
        """Read the header of the first image; :class:`LostFieldError` where an image is missing or the header bad."""
        label, image = self._labelled_images()[0]
        try:
            found = image.format()
        except UnreadableImageError as error:
            raise LostFieldError(f"{label}: {error.reason}") from None
        if found.planes != self.planes_per_image:
            raise LostFieldError(f"{label}: {found.planes} planes, expected {self.planes_per_image}")
        return found

    def planes(self, expected: ImageFormat) -> Iterator[np.ndarray]:
        """Decode the field channel by channel; :class:`LostFieldError` at the first plane that cannot be used.

        Yields
        ------
        Arrays (height, width) in the order of the channels.
        """
        for label, image in self._labelled_images():
            try:
                yield from image.planes(expected)
            except UnreadableImageError as error:
                raise LostFieldError(f"{label}: {error.reason}") from None

    def _labelled_images(self) -> list[tuple[str, Image]]:
        """Every image with what messages call it: its channel, or ``image`` where it holds them all."""
        labels = self.channels if len(self.images) == len(self.channels) else ("image",)
        labelled = list(zip(labels, self.images, strict=True))
        if missing := [label for label, image in labelled if image is None]:
            raise LostFieldError(f"{', '.join(missing)}: no file")
        return [(label, image) for label, image in labelled if image is not None]


def list_fields(
    fields: pd.DataFrame, *, root: Path, channels: Sequence[str], z: int | None = None
) -> list[FieldImages]:
    """Turn a plate's field table into the images of its fields, in the table's order.

    Parameters
    ----------
    fields
        ``well``, ``site`` and ``path_{channel}`` for every channel, or one ``path`` for images that hold all
        channels; each a reference as :func:`cellmae.images.open_image` takes it, null where there is no image.
    root
        Folder that references are relative to.
    channels
        Names of the channels.
    z
        The plane to take of z stacks, from 0; None for the maximum over z.
    """
    columns = ["path"] if "path" in fields else [f"path_{channel}" for channel in channels]
    absent = [column for column in ("well", "site", *columns) if column not in fields]
    if absent:
        raise DataError(f"the field table lacks the columns {', '.join(absent)}: run the stage screen again")

    def open_or_none(reference: object) -> Image | None:
        if isinstance(reference, str):
            return open_image(root, reference, z=z)
        if isinstance(reference, Sequence | np.ndarray):
            return open_image(root, [str(plane) for plane in reference], z=z)
        return None

    images = [tuple(map(open_or_none, row)) for row in fields[columns].itertuples(index=False)]
    return [
        FieldImages(str(well), int(site), row, tuple(channels))
        for well, site, row in zip(fields["well"], fields["site"], images, strict=True)
    ]


def survey_formats(fields: Sequence[FieldImages], workers: Workers) -> tuple[ImageFormat | None, dict[int, str]]:
    """Read the header of every field and find the format that most of them have.

    Returns
    -------
    The plate's format (None where no header could be read; of equally frequent ones the larger), and the
    reason for each field, by its place in ``fields``, that is unreadable or of another format.
    """
    found = dict(enumerate(workers.map(FieldImages.format, fields)))
    lost = {place: str(error) for place, error in found.items() if isinstance(error, LostFieldError)}
    formats = {place: form for place, form in found.items() if isinstance(form, ImageFormat)}
    majority = _most_frequent(formats)
    for place, form in formats.items():
        if form != majority:
            lost[place] = f"{form}, the plate has {majority}"
    return majority, dict(sorted(lost.items()))


def _most_frequent(formats: Mapping[int, ImageFormat]) -> ImageFormat | None:
    counts = Counter(formats.values())
    return max(counts, key=lambda form: (counts[form], form.shape, form.dtype.str), default=None)
