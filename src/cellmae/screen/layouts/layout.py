"""What the rest of the stage asks of a layout."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd

from cellmae.errors import ConfigError
from cellmae.screen.plate import Plate


@dataclass(frozen=True)
class ImagedPlates:
    """Plates of which there are images.

    Attributes
    ----------
    plates
        A row a plate: ``experiment`` (empty where unknown) and ``plate_name``; where tables name the images also
        ``images_digest``, which changes if and only if what they say of the plate does.
    folders
        Folders whose modification time tells of new plates.
    """

    plates: pd.DataFrame
    folders: list[Path]


class Layout(Protocol):
    """How one kind of screen lies on disk; made from the ``screen`` section of the configuration.

    Nothing here opens an image.

    Attributes
    ----------
    has_images
        Whether there are images at all.
    """

    has_images: bool

    def sources(self) -> list[Path]:
        """Return the files that annotations are read from."""

    def annotations(self, plate: Plate | None = None) -> pd.DataFrame:
        """Return what was done to each well, of the whole screen or of at least one plate.

        A row a well: ``experiment`` (empty where there is none), ``plate_name``, ``well``, ``row``, ``column``,
        ``perturbation``, ``treatment``, ``is_control`` (a negative control whatever its label), perhaps
        ``is_positive_control`` (likewise), and all else that is known under lower-case names. Text is of pandas'
        ``string`` type.
        """

    def imaged_plates(self) -> ImagedPlates | None:
        """Return the plates that have images; None where annotations alone say which plates there are."""

    def images(self, plate: Plate) -> pd.DataFrame:
        """List the image files of a plate.

        A row an image: ``well``, ``row``, ``column``, ``site``, ``channel`` (one of :meth:`channel_ids`; null where
        an image holds all channels), ``path``, a reference relative to the root as :func:`cellmae.images.open_image`
        takes it, ``size`` in bytes, ``mtime_ns``. If there are z stacks whose planes are images of their own, also
        ``z``, their number, from 1.
        """

    def channel_ids(self) -> dict[str, str]:
        """Map what stands for a channel in the names of files to the channel's name, in the order of channels.

        Empty where a file holds all channels, or there are no files.
        """


def existing_root(root: Path) -> Path:
    """Return the folder of the plates, on disk or in object storage; :class:`ConfigError` where there is none."""
    if not root.is_dir():
        raise ConfigError(f"screen.root: the folder {root} does not exist; give the folder that holds the plates")
    return root
