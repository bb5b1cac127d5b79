"""The simulated screen: RxRx3's layout, with plates that are known before they are drawn."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cellmae.screen import simulation
from cellmae.screen.layouts.rxrx3 import OPTIONAL_TEXT, RxRx3Layout
from cellmae.screen.metadata import TEXT


class SimulatedLayout(RxRx3Layout):
    """Wells by design; images as far as they have been drawn."""

    def __init__(self, screen: Mapping[str, Any]) -> None:
        super().__init__(screen)
        self._simulation = screen["simulation"]

    def sources(self) -> list[Path]:
        """Return nothing: all follows from the configuration."""
        return []

    def _metadata(self) -> pd.DataFrame:
        design = simulation.design(self._simulation)
        return design.astype(dict.fromkeys([*self.identity, *self.required, *OPTIONAL_TEXT], TEXT))

    def imaged_plates(self) -> None:
        """Return None: the design says which plates there are."""
