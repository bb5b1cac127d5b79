"""Any other screen: images found by the pattern of their paths, and a plate map that says what was done."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from cellmae.screen.layouts.mapped import MappedLayout, channel_ids
from cellmae.screen.patterns import FilePattern, PlateFolders
from cellmae.screen.plate import Plate


class PatternLayout(MappedLayout):
    """Images by file name, annotations by plate map."""

    def __init__(self, screen: Mapping[str, Any]) -> None:
        super().__init__(screen)
        self._channels = channel_ids(screen)
        self._pattern = FilePattern(screen["pattern"], list(self._channels))

    def find_plates(self) -> PlateFolders:
        """Return the plates that have an image whose path follows the pattern."""
        return self._pattern.plates(self.root)

    def images(self, plate: Plate) -> pd.DataFrame:
        """List the image files of a plate."""
        return self._pattern.images(self.root, {"batch": plate.experiment, "plate": plate.name})

    def channel_ids(self) -> dict[str, str]:
        """Map what stands for a channel in the names of files to its name."""
        return self._channels if "channel" in self._pattern.placeholders else {}
