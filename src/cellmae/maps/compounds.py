"""Compound-gene recall: whether a compound resembles the genes that it is known to act on.

The benchmark of RxRx3-core: Kraus et al. 2025, *RxRx3-core: Benchmarking drug-target interactions in High-Content
Microscopy* (arXiv 2503.20158).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from cellmae.errors import DataError
from cellmae.genes import Aliases
from cellmae.maps.average_precision import expected_precision, random_precision
from cellmae.maps.similarity import COSINE_DECIMALS, unit_vectors
from cellmae.screen.listing import listing

ACTIVE = 1_000.0
"""Highest potency, in nM, of a compound on a gene that counts as known to be hit."""
INACTIVE = 10_000.0
"""Genes that a compound hits between :data:`ACTIVE` and this, in nM, are neither positives nor negatives."""
FEWEST_NEGATIVES = 20
SAMPLES = 100
COLUMNS = ["compound", "gene", "potency_nM"]
RXRX3_CORE = {"treatment": "compound", "gene_symbol": "gene", "nM_value": "potency_nM"}
"""Columns of RxRx3-core's ``compound_gene_interactions.csv``."""
TEXTS = ("compound", "gene", "treatment", "gene_symbol")
SCORE_COLUMNS = ["compound", "average_precision", "chance", "positives", "negatives", "doses", "reason"]


def read_potencies(path: str | Path, aliases: Aliases | None = None) -> pd.DataFrame:
    """Read which compounds hit which genes: columns ``compound``, ``gene`` and ``potency_nM``.

    The names that these have in :data:`RXRX3_CORE` will do. The lowest potency of a pair counts.

    Raises
    ------
    DataError
        The file cannot be read, lacks a column, or holds a potency that is no positive number.
    """
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(TEXTS, str), keep_default_na=False, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a table of potencies ({error}): expected a csv file") from None
    if not set(COLUMNS) & set(table):
        table = table.rename(columns=RXRX3_CORE)
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise DataError(f"{path} has the columns {listing(table.columns)}: expected {', '.join(COLUMNS)}")
    table = table.loc[(table[["compound", "gene"]] != "").all(axis=1), COLUMNS]
    table["potency_nM"] = pd.to_numeric(table["potency_nM"], errors="coerce")
    wrong = ~(table["potency_nM"] > 0)
    if wrong.any():
        where = " and ".join(table.loc[wrong, ["compound", "gene"]].iloc[0])
        raise DataError(f"{path}: the potency of {where} is no positive number in nM ({wrong.sum()} such rows)")
    if aliases is not None:
        table["gene"] = np.asarray(aliases.resolve(pd.Index(table["gene"])))
    return table.groupby(["compound", "gene"])["potency_nM"].min().reset_index()


def score_compounds(
    treatments: AnnData, perturbations: AnnData, potencies: pd.DataFrame, *, samples: int = SAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Score for each compound how high its known genes stand among others by absolute cosine.

    Positives are genes that it hits at :data:`ACTIVE` or below; negatives are drawn from the other genes of
    the table, those between :data:`ACTIVE` and :data:`INACTIVE` left out: twice as many as positives, at
    least :data:`FEWEST_NEGATIVES`. The similarity is the largest over doses. Ties are averaged.

    Parameters
    ----------
    treatments
        A profile a compound and dose, with ``perturbation`` in ``obs``.
    perturbations
        The map, in which genes are looked up.
    potencies
        As :func:`read_potencies` returns it.
    samples, seed
        Draws of negatives to average over, and their seed.

    Returns
    -------
    DataFrame
        A row a compound of the table that is in the map: ``average_precision``, its ``chance`` under random
        order, the counts of ``positives``, ``negatives`` and ``doses``, and a ``reason`` where it was skipped.
    """
    units = unit_vectors(perturbations.X)
    genes = pd.Index(potencies["gene"].unique()).intersection(
        perturbations.obs_names[np.isfinite(units).all(axis=1)], sort=True
    )
    of_genes = units[perturbations.obs_names.get_indexer(genes)]
    doses = unit_vectors(treatments.X)
    owners = treatments.obs["perturbation"].astype(str).where(np.isfinite(doses).all(axis=1))
    rows = []
    for number, (compound, known) in enumerate(potencies.groupby("compound")):
        own = doses[(owners == compound).to_numpy()]
        if compound not in perturbations.obs_names:
            continue
        potency = known.set_index("gene")["potency_nM"].reindex(genes)
        facts = {"compound": compound, "positives": int((potency <= ACTIVE).sum()), "doses": len(own)}
        rows.append(facts | _score(own, of_genes, potency.to_numpy(), samples=samples, seed=[seed, number]))
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def _score(
    doses: NDArray, genes: NDArray, potency: NDArray[np.float64], *, samples: int, seed: list[int]
) -> dict[str, object]:
    positive = potency <= ACTIVE
    candidates = np.flatnonzero(~(potency <= INACTIVE))
    count = max(FEWEST_NEGATIVES, 2 * positive.sum())
    reason = _reason_to_skip(doses, positive, candidates, count)
    if reason:
        return {"reason": reason}
    similarity = np.round(np.abs(doses @ genes.T).max(axis=0), COSINE_DECIMALS)
    hits = similarity[positive]
    above, tied = (hits > hits[:, None]).sum(axis=1), (hits == hits[:, None]).sum(axis=1)
    generator = np.random.default_rng(seed)
    precision = [
        expected_precision(above, (others > hits[:, None]).sum(axis=1), tied, (others == hits[:, None]).sum(axis=1))
        for others in (similarity[generator.choice(candidates, count, replace=False)] for _ in range(samples))
    ]
    return {
        "average_precision": float(np.mean(precision)),
        "chance": float(random_precision(positive.sum(), np.array(count))),
        "negatives": count,
        "reason": "",
    }


def _reason_to_skip(doses: NDArray, positive: NDArray, candidates: NDArray, count: int) -> str:
    if not len(doses):
        return "no profile with a direction"
    if not positive.any():
        return f"no gene of the map that it hits at {ACTIVE:g} nM or below"
    if len(candidates) < count:
        return f"{len(candidates)} other genes, of at least {count} that are drawn as negatives"
    return ""
