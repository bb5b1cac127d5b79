"""Plates as they lie on disk, whatever their layout: what images there are, and what was done to each well."""

import lazy_loader

VERSION = 2

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cost": ["Cost", "estimate_cost"],
        "index": ["index_fields", "index_wells"],
        "plate": ["Plate"],
        "summary": ["Summary", "summarise"],
        "surveying": ["Survey", "plates", "survey"],
        "tables": ["read_fields", "read_wells", "write_table"],
    },
)
