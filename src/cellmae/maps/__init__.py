"""One vector a perturbation, their similarities, and how much known biology these recall.

>>> treatments, genes = aggregate(aligned)  # doctest: +SKIP
>>> table, pairs = recall(genes, {"CORUM": read_relationships("CORUM.txt")})  # doctest: +SKIP
"""

import lazy_loader

VERSION = 2
"""Version of this stage's results; a bump reruns the stage."""

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "aggregation": ["aggregate", "build_map", "consistency"],
        "comparison": ["compare_models", "compare_probes", "compare_recalls"],
        "probe": ["probe", "score_probe"],
        "enrichment": ["enrich", "score_enrichment"],
        "neighbors": ["neighbors"],
        "reading": ["read_map", "read_stage"],
        "recall": ["MIN_PERTURBATIONS", "recall", "score_recall"],
        "relationships": ["read_relationships", "read_sets"],
        "scaling": ["scale_models"],
        "sets": ["recall_sets", "score_sets"],
        "similarity": ["Null", "cosine_matrix", "unit_vectors"],
        "truth": ["oracle", "read_truth"],
    },
)
