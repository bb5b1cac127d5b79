"""Whether perturbations and batches can be told apart: what every correction of batch effects rests on."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from cellmae.screen.listing import listing

ASSOCIATED = 0.5
"""Cramer's V above which batches are said to hold different perturbations."""


@dataclass(frozen=True)
class Confounding:
    """How perturbations are spread over batches.

    Attributes
    ----------
    batches, perturbations
        Numbers of them; perturbations without controls.
    in_one_batch
        Perturbations that occur in a single batch of several.
    inseparable
        Those of them whose batch has no negative control: nothing tells their effect from the batch's.
    batches_without_controls
        Batches that hold no negative control.
    separate
        Batches by group, where there are several groups that share neither negative controls nor a perturbation: no
        difference between groups can be told from one between their perturbations.
    association
        Cramer's V of perturbation and batch, corrected for what chance gives: 0 where each batch holds the same
        perturbations, 1 where each holds its own. NaN for one batch or perturbation.
    """

    batches: int
    perturbations: int
    in_one_batch: int
    inseparable: tuple[str, ...]
    batches_without_controls: tuple[str, ...]
    separate: tuple[tuple[str, ...], ...]
    association: float

    def as_json(self) -> dict[str, Any]:
        """Return the numbers, and the names of batches, as a JSON-like value."""
        value = asdict(self)
        return value | {
            "inseparable": len(self.inseparable),
            "batches_without_controls": list(self.batches_without_controls),
            "separate": [", ".join(group) for group in self.separate],
            "association": None if np.isnan(self.association) else round(self.association, 4),
        }

    def notes(self) -> list[str]:
        """Say what deserves attention before batches are corrected."""
        notes = []
        if self.batches_without_controls:
            notes.append(
                f"no negative control in {len(self.batches_without_controls)} of {self.batches} batches "
                f"({listing(self.batches_without_controls)}): they cannot be aligned on controls of their own"
            )
        if self.inseparable:
            notes.append(
                f"{len(self.inseparable):,} of {self.perturbations:,} perturbations occur only in a batch without "
                f"negative controls, so that nothing tells their effect from the batch's: {listing(self.inseparable)}"
            )
        if others := self.in_one_batch - len(self.inseparable):
            notes.append(
                f"{others:,} of {self.perturbations:,} perturbations occur in one batch only: only that batch's "
                "controls tell their effect from the batch's"
            )
        if len(self.separate) > 1:
            groups = "; ".join(listing(group, 5) for group in self.separate)
            notes.append(
                f"{len(self.separate)} groups of batches share neither negative controls nor perturbations, so that "
                f"they cannot be compared: {groups}"
            )
        if self.association > ASSOCIATED:
            notes.append(
                f"batches hold different perturbations (Cramer's V {self.association:.2f}): a correction that does not "
                "rest on controls takes effects of perturbations for effects of batches"
            )
        return notes


def check_confounding(wells: pd.DataFrame, *, batch: str = "batch") -> Confounding:
    """Find what is confounded with batches.

    Batches and perturbations form a graph, with an edge where a batch holds a perturbation and negative controls as one
    perturbation; differences between two batches can be estimated only if a path joins them (a connected design; Bose
    1947).

    Parameters
    ----------
    wells
        A row a well, with ``perturbation``, ``role`` and the column of batches.
    batch
        Name of that column.
    """
    control = (wells["role"] == "negative_control").to_numpy()
    treated = ((wells["role"] == "treatment") & wells["perturbation"].notna()).to_numpy()
    names, batches = np.unique(wells[batch].to_numpy(dtype=str), return_inverse=True)
    codes, labels = pd.factorize(wells["perturbation"].astype(object).where(treated))
    table = sparse.coo_array(
        (np.ones(treated.sum()), (codes[treated], batches[treated])), shape=(len(labels), len(names))
    ).tocsr()  # fmt: skip
    has_controls = np.bincount(batches[control], minlength=len(names)) > 0
    single = np.diff(table.indptr) == 1
    bare = single & (table @ ~has_controls > 0)
    several = len(names) > 1
    return Confounding(
        batches=len(names),
        perturbations=len(labels),
        in_one_batch=int(single.sum()) if several else 0,
        inseparable=tuple(sorted(map(str, labels[bare]))) if several else (),
        batches_without_controls=tuple(names[~has_controls].tolist()),
        separate=_components(table, names, has_controls),
        association=cramers_v(table),
    )


def cramers_v(table: sparse.csr_array) -> float:
    """Return the association of the rows and columns of a table of counts, corrected for bias.

    Bergsma 2013, *A bias-correction for Cramer's V and Tschuprow's T*, J. Korean Stat. Soc. 42. Only cells that are not
    zero are visited: chi squared is n (sum of n_ij^2 / (n_i n_j) - 1).
    """
    n, (rows, columns) = table.sum(), table.shape
    if min(rows, columns) < 2 or n < 2:
        return float("nan")
    cells = table.tocoo()
    margins = np.asarray(table.sum(axis=1))[cells.row] * np.asarray(table.sum(axis=0))[cells.col]
    excess = (cells.data**2 / margins).sum() - 1 - (rows - 1) * (columns - 1) / (n - 1)
    fewer = min(size - (size - 1) ** 2 / (n - 1) for size in (rows, columns))
    return float(np.sqrt(min(max(excess, 0) / (fewer - 1), 1))) if fewer > 1 else float("nan")


def _components(table: sparse.csr_array, names: np.ndarray, has_controls: np.ndarray) -> tuple[tuple[str, ...], ...]:
    """Return the groups of batches that a path joins."""
    edges = sparse.vstack([table, sparse.csr_array(has_controls[None, :].astype(float))])
    groups = connected_components(edges.T @ edges, directed=False)[1]
    return tuple(tuple(names[groups == group].tolist()) for group in np.unique(groups))
