"""Probes of perturbations: whether classifiers trained on some batches tell perturbations apart on others."""

import warnings

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

MAX_FOLDS = 5
MOST_WELLS = 20_000
MOST_CLASSES = 500
NEIGHBOURS = 5
SHRINKAGE = 0.1
"""Weight of a scaled identity in the covariance within perturbations, which few wells estimate."""
PROBES = ("knn", "linear")


def probe_perturbations(
    X: NDArray,
    perturbations: pd.Series,
    batches: pd.Series,
    *,
    most_wells: int = MOST_WELLS,
    most_classes: int = MOST_CLASSES,
    seed: int = 0,
) -> pd.DataFrame:
    """Predict the perturbation of wells from those on other batches.

    Batches are split into up to :data:`MAX_FOLDS` groups, each held out in turn. ``knn`` votes by the
    :data:`NEIGHBOURS` nearest wells by cosine, nearer ones weighing more; ``linear`` is linear discriminant
    analysis with equal priors on standardised features. Perturbations that are absent from the batches of the
    fit are not asked for.

    Parameters
    ----------
    X
        Shape (wells, dimensions), each well with a direction.
    perturbations, batches
        Of each well.
    most_wells, most_classes, seed
        Perturbations are drawn at random until either is reached.

    Returns
    -------
    DataFrame
        By perturbation on two batches or more: the share of its wells that each probe gets right (``knn``,
        ``linear``), ``chance`` (one by the number of perturbations in the fit), ``wells``. Empty where fewer
        than two perturbations are; ``linear`` is NaN where the fit has no more wells than perturbations. The
        mean over perturbations is the balanced accuracy.
    """
    obs = pd.DataFrame({"perturbation": np.asarray(perturbations), "batch": np.asarray(batches)})
    kept = _drawn(obs, most_wells=most_wells, most_classes=most_classes, seed=seed)
    folds = min(MAX_FOLDS, obs.loc[kept, "batch"].nunique())
    if obs.loc[kept, "perturbation"].nunique() < 2 or folds < 2:
        return pd.DataFrame(columns=[*PROBES, "chance", "wells"], dtype=float)
    X, obs = np.asarray(X[kept], dtype=np.float64), obs[kept].reset_index(drop=True)
    labels = obs["perturbation"].to_numpy()
    right = pd.DataFrame(np.nan, index=obs.index, columns=[*PROBES, "chance"])
    for train, test in GroupKFold(folds).split(X, groups=obs["batch"]):
        known = pd.unique(labels[train])
        asked = test[np.isin(labels[test], known)]
        if len(known) < 2 or not len(asked):
            continue
        for name, model in _models(len(train), len(known)).items():
            with warnings.catch_warnings():  # a perturbation of one well has no covariance, which does no harm
                warnings.filterwarnings("ignore", "Only one sample available")
                found = model.fit(X[train], labels[train]).predict(X[asked]) == labels[asked]
            right.loc[asked, name] = found.astype(float)
        right.loc[asked, "chance"] = 1 / len(known)
    groups = right.dropna(subset="chance").groupby(obs["perturbation"])
    return groups.mean().assign(wells=groups.size())


def _models(wells: int, classes: int) -> dict[str, Pipeline]:
    neighbours = KNeighborsClassifier(min(NEIGHBOURS, wells), weights="distance", algorithm="brute")
    models = {"knn": make_pipeline(Normalizer(), neighbours)}
    if wells > classes:
        uniform = np.full(classes, 1 / classes)
        discriminant = LinearDiscriminantAnalysis("lsqr", shrinkage=SHRINKAGE, priors=uniform)
        models["linear"] = make_pipeline(StandardScaler(), discriminant)
    return models


def _drawn(obs: pd.DataFrame, *, most_wells: int, most_classes: int, seed: int) -> NDArray[np.bool_]:
    """Tell which wells are used: all of as many perturbations on several batches as fit the limits."""
    summary = obs.groupby("perturbation").agg(wells=("batch", "size"), batches=("batch", "nunique"))
    fitting = (summary["batches"] > 1) & (summary["wells"] <= most_wells)
    wells = summary.loc[fitting, "wells"].sample(frac=1, random_state=seed)
    chosen = wells.index[(wells.cumsum() <= most_wells) & (np.arange(len(wells)) < most_classes)]
    return obs["perturbation"].isin(chosen).to_numpy()
