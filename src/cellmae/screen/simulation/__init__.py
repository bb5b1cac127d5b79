"""A simulated Cell Painting screen with known truth, in RxRx3's layout.

Genes of textbook complexes share a phenotype in the shape, texture, position and count of their cells' organelles;
staining, optics and plates get in the way as they do on a real microscope. Nothing on it is measured: it is there to
try the whole chain where the right answer is known.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cells": ["CHANNELS", "render_field"],
        "genes": ["COMPLEXES", "complex_pairs", "screened_genes"],
        "phenotypes": ["PHENOTYPES", "guide_phenotypes"],
        "plates": ["design", "simulate_plate", "write_truth"],
    },
)
