"""Plates as they lie on disk, whatever their layout: what images there are, and what was done to each well."""

import lazy_loader

VERSION = 3

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cost": ["Cost", "announce", "estimate_cost"],
        "index": ["image_settings", "index_fields", "index_wells"],
        "plate": ["Plate"],
        "selection": ["excluded"],
        "summary": ["Summary", "summarise"],
        "surveying": ["Survey", "plates", "survey"],
        "tables": ["read_fields", "read_wells", "write_table"],
    },
)
