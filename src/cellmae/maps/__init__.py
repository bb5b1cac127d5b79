"""One vector a perturbation, their similarities, and how much known biology these recall.

>>> treatments, genes = aggregate(aligned)  # doctest: +SKIP
>>> table, pairs = recall(genes, {"CORUM": read_relationships("CORUM.txt")})  # doctest: +SKIP
"""

import lazy_loader

VERSION = 4
"""Version of this stage's results; a bump reruns the stage."""

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "aggregation": ["aggregate", "agreement", "build_map"],
        "average_precision": ["activity", "sharing"],
        "classification": ["probe_perturbations"],
        "comparison": ["compare_models", "compare_probes", "compare_recalls"],
        "compounds": ["read_potencies", "score_compounds"],
        "distributions": ["compare_distributions", "pair_cosines"],
        "enrichment": ["enrich", "score_enrichment"],
        "groups": ["Groups"],
        "magnitude": ["score_magnitude"],
        "mixing": ["batch_purity"],
        "neighbors": ["neighbors"],
        "probe": ["probe", "score_probe"],
        "proximity": ["brunner_munzel", "proximity_bias"],
        "reading": ["read_map", "read_scores", "read_stage"],
        "recall": ["MIN_PERTURBATIONS", "recall", "score_recall"],
        "relationships": ["read_relationships", "read_sets"],
        "replicates": ["score_replicates"],
        "replication": ["consistency", "score_consistency"],
        "scaling": ["scale_models"],
        "sets": ["recall_sets", "score_sets"],
        "similarity": ["Null", "cosine_matrix", "unit_vectors"],
        "strength": ["score_perturbations"],
        "truth": ["oracle", "read_truth"],
    },
)
