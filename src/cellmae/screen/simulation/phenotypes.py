"""What a knock-out does to a cell: the true phenotypes of the simulated screen."""

import numpy as np
import pandas as pd

from cellmae.screen.simulation.genes import screened_genes

PHENOTYPES: dict[str, str] = {
    "nucleus_size": "area of the nucleus",
    "nucleus_elongation": "from round to spindle-shaped nuclei",
    "nucleus_lobes": "from smooth to lobed nuclear outlines",
    "chromatin_clumps": "from even to clumped chromatin",
    "nucleolus_count": "number of nucleoli",
    "nucleolus_size": "diameter of a nucleolus",
    "cell_size": "area of the cell",
    "cell_elongation": "from round to stretched cells",
    "cell_count": "number of cells in a field",
    "er_mesh": "from fine to coarse endoplasmic reticulum",
    "er_spread": "from perinuclear to spread endoplasmic reticulum",
    "actin_fibres": "stress fibres against cortical actin",
    "actin_spacing": "distance between stress fibres",
    "actin_ruffles": "from a smooth to a ruffled cell edge",
    "mitochondria_length": "from fragmented to long mitochondria",
    "mitochondria_spread": "from perinuclear to peripheral mitochondria",
    "golgi_fragments": "number of Golgi stacks",
    "golgi_dispersion": "from compact to scattered Golgi",
    "golgi_distance": "distance of the Golgi from the nucleus",
}

AFFECTED = 5  # phenotypes that a complex changes
COMPLEX_EFFECT = 2.2  # length of a complex's phenotype, in the units of a phenotype
GENE_STRENGTH = (0.6, 1.3)
OPPOSITE_SHARE = 0.15  # members of a complex whose loss does the opposite, as that of an inhibitor
OWN_EFFECT = 0.25  # length of what only this gene does, relative to its complex
GUIDE_EFFICIENCY = (0.5, 1.0)

GENE_STREAM, COMPLEX_STREAM, GUIDE_STREAM, GRADE_STREAM = 1, 2, 3, 4


def guide_phenotypes(*, genes: int, guides: int, strength: float, seed: int, weakest: float = 1.0) -> pd.DataFrame:
    """Draw the true phenotype of every guide.

    A unit is a change that a person sees when two wells lie side by side, and about twice the spread between
    cells of one well.

    Parameters
    ----------
    genes, guides
        Number of genes, and of guides a gene.
    strength
        Factor on all phenotypes.
    seed
        Seed of the screen. The phenotype of a complex does not depend on the number of genes or guides.
    weakest
        Strength of the weakest complexes next to the strongest, evenly spread on a logarithmic scale in between.

    Returns
    -------
    pandas.DataFrame
        Index ``treatment`` (the guide), column ``perturbation`` (the gene), and a column a phenotype.
    """
    screened = screened_genes(genes)
    complexes = list(dict.fromkeys(screened["complex"].dropna()))
    effects = {name: _complex_effect(seed, number) for number, name in enumerate(complexes)}
    grades = {name: weakest ** _grade(seed, number) for number, name in enumerate(complexes)}
    rows, names = [], []
    for number, (gene, complex_name) in enumerate(screened["complex"].items()):
        rng = np.random.default_rng([seed, GENE_STREAM, number])
        effect = np.zeros(len(PHENOTYPES))
        if isinstance(complex_name, str):
            sign = -1 if rng.random() < OPPOSITE_SHARE else 1
            own = _unit(rng.normal(size=len(PHENOTYPES))) * OWN_EFFECT * COMPLEX_EFFECT
            effect = (sign * effects[complex_name] + own) * rng.uniform(*GENE_STRENGTH) * grades[complex_name]
        guide_rng = np.random.default_rng([seed, GUIDE_STREAM, number])
        for guide, efficiency in enumerate(guide_rng.uniform(*GUIDE_EFFICIENCY, size=guides), start=1):
            names.append((f"{gene}_guide_{guide}", gene))
            rows.append(effect * efficiency * strength)
    index, perturbation = zip(*names, strict=True)
    frame = pd.DataFrame(rows, columns=list(PHENOTYPES), index=pd.Index(index, name="treatment"))
    frame.insert(0, "perturbation", perturbation)
    return frame


def _complex_effect(seed: int, number: int) -> np.ndarray:
    rng = np.random.default_rng([seed, COMPLEX_STREAM, number])
    effect = np.zeros(len(PHENOTYPES))
    affected = rng.choice(len(PHENOTYPES), size=AFFECTED, replace=False)
    effect[affected] = rng.choice([-1, 1], size=AFFECTED) * rng.uniform(0.5, 1.0, size=AFFECTED)
    return _unit(effect) * COMPLEX_EFFECT


def _grade(seed: int, number: int) -> float:
    return np.random.default_rng([seed, GRADE_STREAM, number]).random()


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
