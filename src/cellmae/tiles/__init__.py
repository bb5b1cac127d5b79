"""Fields become a uint8 store, a grid of tiles and their quality; and the readers that feed training."""

import lazy_loader

VERSION = 2
"""Bumped when the results of the stage change."""

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "crops": ["CropSource", "grid_crops"],
        "loading": ["prefetch"],
        "store": ["TileStore", "archive_store", "open_store"],
        "table": ["read_tiles"],
        "tiling": ["restore_store", "tile_plate"],
    },
)
