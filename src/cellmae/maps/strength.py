"""How strong and how reproducible each perturbation is: consistency, activity and magnitude, with their FDR."""

from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellmae.logging import logger
from cellmae.maps.average_precision import activity
from cellmae.maps.groups import Groups
from cellmae.maps.magnitude import score_magnitude
from cellmae.maps.replication import MOST_POOLED, score_consistency
from cellmae.maps.wells import Wells, directed

UNEXPRESSED = -3.0
"""zFPKM below which a gene counts as not expressed (Hart et al. 2013, *Finding the active genes in deep RNA-seq
gene expression studies*, BMC Genomics 14)."""
FEWEST_UNEXPRESSED = 20
"""Unexpressed genes with wells below which they make no null."""
MOST_REPLICATES = 32
"""Wells of a perturbation that enter all scores but consistency; drawn at random where there are more."""
MOST_CONTROLS = 5000
DRAWS = 10_000

NullSource = Literal["auto", "unexpressed", "controls", "perturbations"]


def score_perturbations(
    X: NDArray,
    wells: Wells,
    *,
    expression: pd.Series | None = None,
    consistency_null: NullSource = "auto",
    controls: int = MOST_CONTROLS,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Score all perturbations by their wells.

    Parameters
    ----------
    X
        Shape (wells, dimensions).
    wells
        Their names and roles.
    expression
        zFPKM of genes by name.
    consistency_null
        Where sets of wells come from that consistency is compared with: wells of ``unexpressed`` genes (zFPKM
        below :data:`UNEXPRESSED`), negative ``controls``, or other ``perturbations``, positive controls left
        out; ``auto`` takes the first if there are :data:`FEWEST_UNEXPRESSED` such genes, else the last.
    controls
        Negative controls that activity compares with, drawn at random where there are more.
    draws, seed
        Of the null distributions, and of all that is drawn.

    Returns
    -------
    tuple
        By perturbation: ``consistency_p_value``, ``consistency_fdr``, ``consistency_across_plates``;
        ``activity`` (mean average precision against controls) and ``magnitude`` (energy distance from them),
        each with ``_p_value`` and ``_fdr``. And counts: what the scores rest on, what was drawn or left out.
    """
    groups = wells.groups()
    pointing = directed(X)
    pointed = groups.only(pointing)
    pool, source = _pool(groups, wells, pointing, expression, consistency_null)
    plates = wells.obs["plate"]
    consistency = score_consistency(X, pointed, pool, plates=plates, draws=draws, seed=seed)
    sampled = groups.at_most(MOST_REPLICATES, seed=seed)
    usable = wells.controls[pointing[wells.controls]]
    chosen = usable
    if len(usable) > controls:
        chosen = np.sort(np.random.default_rng(seed).choice(usable, controls, replace=False))
    active = activity(X, sampled.only(pointing), chosen, draws=draws, seed=seed)
    strong = score_magnitude(X, sampled, wells.controls, draws=draws, seed=seed)
    table = pd.DataFrame(
        {
            "consistency_p_value": consistency["p_value"],
            "consistency_fdr": consistency["fdr"],
            "consistency_chance": consistency["chance"],
            "consistency_across_plates": consistency["across_plates"],
            "activity": active["map"],
            "activity_p_value": active["p_value"],
            "activity_fdr": active["fdr"],
            "activity_chance": active["chance"],
            "magnitude": strong["magnitude"],
            "magnitude_p_value": strong["p_value"],
            "magnitude_fdr": strong["fdr"],
        }
    )
    counts = {
        "consistency_null": source,
        "consistency_null_wells": min(len(pool), MOST_POOLED),
        "activity_controls": len(chosen),
        "controls": int(wells.control.sum()),
        "wells_without_direction": int((~pointing).sum()),
        "wells_not_drawn": int(groups.counts.sum() - sampled.counts.sum()),
        "perturbations_of_one_well": int((groups.counts == 1).sum()),
    }
    logger.info("replicates: %s", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in counts.items()))
    return table, counts


def _pool(
    groups: Groups, wells: Wells, pointing: NDArray[np.bool_], expression: pd.Series | None, null: NullSource
) -> tuple[NDArray[np.intp], str]:
    """Return the wells that null sets are drawn from, and what they are."""
    silent = np.zeros(len(groups), dtype=bool)
    if expression is not None:
        silent = (expression.reindex(groups.names) < UNEXPRESSED).to_numpy()
    if null == "unexpressed" or (null == "auto" and silent.sum() >= FEWEST_UNEXPRESSED):
        chosen, source = (groups.codes >= 0) & silent[groups.codes], "unexpressed"
    elif null == "controls":
        chosen, source = wells.control, "controls"
    else:
        chosen, source = (wells.obs["role"] == "treatment").to_numpy(), "perturbations"
    return np.flatnonzero(chosen & pointing), source
