"""The stage ``report``: one self-contained page to read, its figures and its tables."""

import lazy_loader

VERSION = 4

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"page": ["write_report"], "results": ["Results"]}
)
