"""Downloads public screens, and known relationships and symbols of genes, each with its licence."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "fetch": ["fetch_references", "fetch_relationships", "fetch_screen", "fetch_symbols", "is_awaited"],
    },
)
