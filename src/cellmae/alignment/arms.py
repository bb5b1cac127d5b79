"""Correction of proximity bias: what the genes of a chromosome arm have in common because CRISPR cuts the arm.

After Lazar et al. 2024, *High-resolution genome-wide mapping of chromosome-arm-scale truncations induced by
CRISPR-Cas9 editing*, Nat. Genet. 56: a nuclease may truncate the arm that it cuts, which gives all genes of an arm
similar profiles. Genes that the cells do not express have no effect of their own, so their mean is that of the arm.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from cellmae.alignment.chunks import Rows
from cellmae.errors import ConfigError, DataError
from cellmae.genes import Genes, require_shared
from cellmae.logging import logger
from cellmae.screen.listing import listing


@dataclass(frozen=True)
class ArmCorrection:
    """An offset for each chromosome arm.

    Attributes
    ----------
    arms
        Arms with enough genes, in alphabetical order, shape (arms,).
    genes_behind
        Number of genes whose mean each offset is, shape (arms,).
    offsets
        In aligned coordinates, shape (arms, dimensions).
    genes, arm_of_gene
        All genes that are known to lie on these arms, in alphabetical order, and the number of their arm.
    other_arms, genes_on_others
        Arms of the screen that stay as they are, and how many genes they have towards an offset.
    """

    arms: NDArray[np.str_]
    genes_behind: NDArray[np.int64]
    offsets: NDArray[np.float64]
    genes: NDArray[np.str_]
    arm_of_gene: NDArray[np.int64]
    other_arms: NDArray[np.str_]
    genes_on_others: NDArray[np.int64]

    def apply(self, T: NDArray, genes: pd.Index) -> NDArray[np.float64]:
        """Return wells less the offset of their gene's arm; wells of other genes, and controls, as they are.

        Parameters
        ----------
        T
            Aligned coordinates, shape (wells, dimensions).
        genes
            Gene of each well, as the table of arms calls it.
        """
        offsets = np.vstack([self.offsets, np.zeros(T.shape[1])])
        numbers = pd.Series(self.arm_of_gene, index=self.genes).reindex(genes).fillna(-1).to_numpy(dtype=np.intp)
        return T - offsets[numbers]

    def describe(self) -> dict[str, object]:
        """Return the provenance: which arms were corrected by how many genes, and which were not."""
        return {
            "corrected": dict(zip(self.arms.tolist(), self.genes_behind.tolist(), strict=True)),
            "uncorrected": dict(zip(self.other_arms.tolist(), self.genes_on_others.tolist(), strict=True)),
        }


class ArmSums:
    """Sums over the wells of each guide, from which :meth:`fit` takes the means of genes and then of arms.

    Parameters
    ----------
    genes, guides
        Gene and guide of each well of the fit, shape (wells,).
    arms
        Arm by gene.
    measured_on
        Genes whose mean is an arm's offset: those that the cells do not express. All genes with an arm where None.
    dimensions
        Of the aligned coordinates.

    Raises
    ------
    DataError
        None of the genes has an arm.
    """

    def __init__(
        self,
        genes: pd.Index,
        guides: Sequence[object] | pd.Series,
        arms: pd.Series,
        measured_on: pd.Index | None,
        dimensions: int,
    ) -> None:
        require_shared(genes.dropna(), arms.index, key="genes.arms")
        self._arms, self._dimensions = arms, dimensions
        self._screened = sorted(set(arms.reindex(genes.unique()).dropna()))
        used = genes.isin(arms.index)
        if measured_on is not None:
            used &= genes.isin(measured_on)
        named = pd.Series(guides, dtype=object).fillna("").to_numpy()
        pairs = pd.MultiIndex.from_arrays([genes, named])[used]
        self._guides = pairs.unique()
        self._codes = np.full(len(genes), -1)
        self._codes[used] = self._guides.get_indexer(pairs)
        self._sums = np.zeros((len(self._guides), dimensions))
        self._counts = np.zeros(len(self._guides), dtype=np.int64)

    def add(self, rows: Rows, T: NDArray) -> None:
        """Add the wells with the row numbers ``rows``, of aligned coordinates ``T``, shape (rows, dimensions)."""
        codes = self._codes[rows]
        own = np.flatnonzero(codes >= 0)
        member = sparse.csr_array((np.ones(len(own)), (codes[own], own)), shape=(len(self._guides), len(T)))
        self._sums += member @ np.asarray(T, dtype=np.float64)
        self._counts += np.bincount(codes[own], minlength=len(self._guides))

    def fit(self, min_genes: int) -> ArmCorrection:
        """Return the offsets of all arms on which at least ``min_genes`` genes are measured.

        Wells are averaged to guides, these to genes, and these to arms.
        """
        guides = pd.DataFrame(self._sums / np.maximum(self._counts, 1)[:, None], index=self._guides)
        genes = guides[self._counts > 0].groupby(level=0).mean()
        groups = genes.groupby(self._arms.reindex(genes.index).to_numpy())
        counts = groups.size().reindex(self._screened, fill_value=0)
        enough = counts.index[counts >= min_genes]
        _report(counts, enough, min_genes)
        on_arms = self._arms[self._arms.isin(enough)].sort_index()
        return ArmCorrection(
            arms=enough.to_numpy(dtype=str),
            genes_behind=np.asarray(counts[enough], dtype=np.int64),
            offsets=groups.mean().loc[enough].to_numpy(dtype=float).reshape(len(enough), self._dimensions),
            genes=on_arms.index.to_numpy(dtype=str),
            arm_of_gene=enough.get_indexer(pd.Index(on_arms)).astype(np.int64),
            other_arms=counts.index.drop(enough).to_numpy(dtype=str),
            genes_on_others=np.asarray(counts.drop(enough), dtype=np.int64),
        )


def fit_arms(
    chunks: Iterable[tuple[Rows, NDArray]],
    obs: pd.DataFrame,
    facts: Genes,
    *,
    dimensions: int,
    genes: str = "unexpressed",
    min_genes: int = 20,
    max_expression: float = -3.0,
) -> ArmCorrection:
    """Fit the offsets of chromosome arms.

    Parameters
    ----------
    chunks
        Rows and aligned coordinates of wells.
    obs
        All wells, with ``perturbation`` and ``treatment``.
    facts
        Arms and, unless ``genes`` is ``all``, expression.
    dimensions
        Length of the coordinates.
    genes
        Whose mean is an arm's offset: ``unexpressed`` genes, or ``all`` of the arm.
    min_genes
        Fewest such genes of an arm that is corrected.
    max_expression
        zFPKM below which a gene is not expressed.

    Raises
    ------
    ConfigError
        A table that is needed is not given.
    DataError
        The tables and the screen share no gene.
    """
    if facts.arms is None:
        raise ConfigError("alignments.*.arm_correction: a table of chromosome arms is needed; give genes.arms")
    measured_on = None
    if genes == "unexpressed":
        if facts.expression is None:
            raise ConfigError(
                "alignments.*.arm_correction: a table of zFPKM is needed; give genes.expression, or set genes: all"
            )
        measured_on = unexpressed_genes(facts.expression, max_expression, facts.arms)
    sums = ArmSums(facts.named(obs["perturbation"]), obs["treatment"], facts.arms, measured_on, dimensions)
    for rows, aligned in chunks:
        sums.add(rows, aligned)
    return sums.fit(min_genes)


def unexpressed_genes(expression: pd.Series, max_expression: float, arms: pd.Series) -> pd.Index:
    """Return the genes with an arm whose zFPKM lies below a limit; :class:`DataError` where the tables share none."""
    if not expression.index.isin(arms.index).any():
        raise DataError(
            f"genes.expression: none of its {len(expression)} genes ({listing(expression.index, 5)}) is among the "
            f"{len(arms)} of genes.arms ({listing(arms.index, 5)}): name genes alike, or give genes.aliases"
        )
    return expression.index[(expression < max_expression) & expression.index.isin(arms.index)]


def _report(counts: pd.Series, enough: pd.Index, min_genes: int) -> None:
    logger.info("arm correction: %d arms: %s", len(enough), listing(f"{arm} ({counts[arm]} genes)" for arm in enough))
    few = counts.drop(enough)
    if len(few):
        logger.warning(
            "arm correction: %d of %d arms have fewer than %d genes to measure an offset on, and stay: %s",
            len(few), len(counts), min_genes, listing((f"{arm} ({count})" for arm, count in few.items()), 50),
        )  # fmt: skip
