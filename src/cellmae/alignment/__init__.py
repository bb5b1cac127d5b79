"""Wells made comparable across batches: annotation, PCA, and typical variation normalisation (TVN).

>>> wells = annotate(embeddings, annotations)  # doctest: +SKIP
>>> alignment = fit_alignment(wells, method="tvn", pca=64)  # doctest: +SKIP
>>> alignment.apply(wells).obsm["X_tvn"]  # doctest: +SKIP
"""

import lazy_loader

VERSION = 3
"""Version of this stage's results; a bump reruns the stage."""

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "alignment": ["Alignment"],
        "annotation": ["annotate", "digest_wells"],
        "chunks": ["ArrayChunks", "BatchRows", "Chunks"],
        "fitting": ["fit_alignment"],
        "plates": ["align_plates", "fit_plates", "require_aligned"],
        "steps": ["METHODS"],
    },
)
