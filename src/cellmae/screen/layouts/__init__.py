"""The ways in which screens lie on disk.

To add one, write a module with a class that follows :class:`~cellmae.screen.layouts.layout.Layout`, and enter
it below.
"""

from collections.abc import Callable, Mapping
from typing import Any

from cellmae.errors import ConfigError
from cellmae.screen.layouts.jump import JumpLayout
from cellmae.screen.layouts.layout import Layout
from cellmae.screen.layouts.omezarr import OmeZarrLayout
from cellmae.screen.layouts.pattern import PatternLayout
from cellmae.screen.layouts.profiles import ProfilesLayout
from cellmae.screen.layouts.rxrx1 import RxRx1Layout
from cellmae.screen.layouts.rxrx3 import RxRx3Layout
from cellmae.screen.layouts.rxrx3_core import RxRx3CoreLayout
from cellmae.screen.layouts.sheet import SheetLayout
from cellmae.screen.layouts.simulated import SimulatedLayout

LAYOUTS: dict[str, Callable[[Mapping[str, Any]], Layout]] = {
    "jump": JumpLayout,
    "ome-zarr": OmeZarrLayout,
    "pattern": PatternLayout,
    "profiles": ProfilesLayout,
    "rxrx1": RxRx1Layout,
    "rxrx3": RxRx3Layout,
    "rxrx3-core": RxRx3CoreLayout,
    "sheet": SheetLayout,
    "simulated": SimulatedLayout,
}


def open_layout(screen: Mapping[str, Any]) -> Layout:
    """Return the layout that the ``screen`` section of the configuration names."""
    name = screen["layout"]
    if name not in LAYOUTS:
        raise ConfigError(f"screen.layout: {name!r} is unknown; expected is one of {', '.join(sorted(LAYOUTS))}")
    return LAYOUTS[name](screen)
