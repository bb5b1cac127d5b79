"""A table of one's own with a row an image or a row a field, such as the samplesheet of nf-core/cellpainting."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from cellmae.locations import location
from cellmae.screen.layouts.mapped import MappedLayout, channel_ids
from cellmae.screen.patterns import PlateFolders
from cellmae.screen.plate import Plate
from cellmae.screen.references import References
from cellmae.screen.sheets import ImageSheet


class SheetLayout(MappedLayout):
    """Images by table, see :class:`~cellmae.screen.sheets.ImageSheet`; annotations from it, too, or by plate map."""

    def __init__(self, screen: Mapping[str, Any]) -> None:
        root = location(screen["root"], key="screen.root")
        self._channels = channel_ids(screen, numbered=False)
        references = References(root, screen.get("url_prefix"))
        self._sheet = ImageSheet(root / screen["table"], screen, list(self._channels), references, key="screen.table")
        super().__init__(screen, None if screen.get("plate_map") else self._sheet)

    def find_plates(self) -> PlateFolders:
        """Return the plates of the table."""
        return PlateFolders(self._sheet.digests(), self._sheet.sources())

    def images(self, plate: Plate) -> pd.DataFrame:
        """List the images of a plate; those without a file have no path."""
        return self._sheet.images({"batch": plate.experiment, "plate": plate.name})

    def channel_ids(self) -> dict[str, str]:
        """Map what the table calls a channel to its name."""
        return self._channels if self._sheet.tells_channels else {}
