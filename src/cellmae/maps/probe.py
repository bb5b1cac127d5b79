"""Linear probe: the share of the true phenotypes that a linear map reads from embeddings, on held-out plates."""

from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from cellmae.errors import DataError
from cellmae.files import atomic_path, write_csv
from cellmae.logging import logger
from cellmae.maps.bootstrap import interval, resamples
from cellmae.maps.truth import phenotypes, read_truth
from cellmae.maps.wells import read_aligned

MAX_FOLDS = 5
PENALTIES = np.logspace(-1, 6, 15)
"""Ridge penalties to choose from, on features of unit variance."""
SCORE_COLUMNS = ["r2", "r2_ci_low", "r2_ci_high", "wells", "genes", "plates", "folds", "representation", "reason"]
GENE_COLUMNS = ["perturbation", "wells", "sse", "sst"]


def probe(
    adata: AnnData,
    truth: pd.DataFrame,
    *,
    representation: str = "X_tvn",
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predict the true phenotype of each well's treatment by ridge regression, plates held out in turn.

    Controls, whose phenotype is zero, train the regression but are not scored: what counts is what can be
    read of perturbations. Each phenotype dimension is divided by its standard deviation over perturbed
    wells, so that all count alike. R2 = 1 - SSE / SST, summed over wells and dimensions, where SST is the
    error of the mean of the training wells: zero for a representation that says nothing, below it for one
    that misleads. The penalty is chosen within the training plates, held out in turn as well.

    Parameters
    ----------
    adata
        Aligned wells with ``plate``, ``role``, ``perturbation`` and ``treatment`` in ``obs``.
    truth
        As :func:`~cellmae.maps.read_truth` returns it.
    representation
        Key of ``obsm``, or ``X``.
    replicates, seed
        Of the bootstrap over perturbations.

    Returns
    -------
    tuple
        A table of one row: ``r2``, its 95 % interval, the counts it rests on, and a ``reason`` where it was
        skipped; and a table of ``wells``, ``sse`` and ``sst`` by ``perturbation``.

    Raises
    ------
    DataError
        A perturbed well whose treatment the truth does not list.
    """
    plates = adata.obs["plate"].astype(str).to_numpy()
    folds = min(MAX_FOLDS, len(np.unique(plates)))
    facts = {"plates": len(np.unique(plates)), "folds": folds, "representation": representation}
    perturbed = (adata.obs["role"] != "negative_control").to_numpy()
    target = _targets(adata.obs["treatment"].astype(str), perturbed, truth)
    reason = _reason_to_skip(folds, target)
    if reason:
        logger.warning("probe skipped: %s", reason)
        score = {**facts, "reason": reason}
        types = dict.fromkeys(GENE_COLUMNS, float) | {"perturbation": object}
        return pd.DataFrame([score], columns=SCORE_COLUMNS), pd.DataFrame(columns=GENE_COLUMNS).astype(types)
    X = np.asarray(adata.X if representation == "X" else adata.obsm[representation], dtype=np.float64)
    sse, sst = _held_out_errors(X, target, plates, folds)
    table = pd.DataFrame({"sse": sse, "sst": sst})[perturbed]
    groups = table.groupby(adata.obs["perturbation"].astype(str).to_numpy()[perturbed])
    genes = groups.sum().assign(wells=groups.size()).rename_axis("perturbation").reset_index()
    low, high = interval(resampled_r2(genes, replicates=replicates, seed=seed))
    score = {
        "r2": 1 - genes["sse"].sum() / genes["sst"].sum(),
        "r2_ci_low": low,
        "r2_ci_high": high,
        "wells": int(perturbed.sum()),
        "genes": len(genes),
        **facts,
        "reason": "",
    }
    return pd.DataFrame([score], columns=SCORE_COLUMNS), genes[GENE_COLUMNS]


def resampled_r2(genes: pd.DataFrame, *, replicates: int, seed: int) -> NDArray[np.float64]:
    """Return R2 under resampling of perturbations, shape (replicates,)."""
    errors = genes[["sse", "sst"]].to_numpy(dtype=float)
    draws = resamples(len(genes), replicates=replicates, seed=seed)
    sums = np.concatenate([np.empty((0, 2)), *(block @ errors for block in draws)])
    return 1 - sums[:, 0] / sums[:, 1]


def score_probe(
    aligned: str | Path,
    truth: str | Path,
    *,
    output: str | Path,
    genes: str | Path,
    replicates: int = 1000,
    seed: int = 0,
) -> None:
    """Write ``probe.csv`` and ``probe.parquet`` (errors by perturbation) of aligned wells.

    Parameters
    ----------
    aligned, truth
        Wells of the stage alignment, and true phenotypes of the simulated screen.
    output, genes
        Files to write.
    replicates, seed
        Of the bootstrap over perturbations.
    """
    score, errors = probe(read_aligned(aligned), read_truth(truth), replicates=replicates, seed=seed)
    write_csv(output, score)
    with atomic_path(genes) as partial:
        errors.to_parquet(partial, index=False)


def _targets(treatments: pd.Series, perturbed: NDArray[np.bool_], truth: pd.DataFrame) -> NDArray[np.float64]:
    """Return the scaled phenotype of each well, shape (wells, dimensions); zeros for controls."""
    unknown = sorted(set(treatments[perturbed]) - set(truth.index.astype(str)))
    if unknown:
        raise DataError(f"the truth lists no treatment {unknown[0]} ({len(unknown)} such): simulate the screen again")
    values = phenotypes(truth).set_axis(truth.index.astype(str))
    target = np.zeros((len(treatments), values.shape[1]))
    target[perturbed] = values.loc[treatments[perturbed]].to_numpy()
    deviation = target[perturbed].std(axis=0)
    varying = deviation > 0
    return target[:, varying] / deviation[varying]


def _reason_to_skip(plates: int, target: NDArray) -> str:
    if plates < 2:
        return "1 plate, of at least 2 that a held-out score needs"
    return "" if target.shape[1] else "the true phenotypes do not differ"


def _held_out_errors(
    X: NDArray, target: NDArray, plates: NDArray, folds: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return squared errors of the prediction and of the training mean for each well, shape (wells,)."""
    sse, sst = np.empty((2, len(X)))
    for train, test in GroupKFold(folds).split(X, groups=plates):
        model = _ridge(plates[train]).fit(X[train], target[train])
        prediction = model.predict(X[test]).reshape(len(test), -1)
        sse[test] = np.square(target[test] - prediction).sum(axis=1)
        sst[test] = np.square(target[test] - target[train].mean(axis=0)).sum(axis=1)
    return sse, sst


def _ridge(plates: NDArray) -> Pipeline:
    """Return a ridge regression whose penalty is chosen by holding out plates; single wells on one plate."""
    groups = len(np.unique(plates))
    splits = list(GroupKFold(min(MAX_FOLDS, groups)).split(plates, groups=plates)) if groups > 1 else None
    return make_pipeline(StandardScaler(), RidgeCV(PENALTIES, cv=splits, scoring="neg_mean_squared_error"))
