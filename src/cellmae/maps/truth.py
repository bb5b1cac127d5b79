"""True phenotypes of a simulated screen, and the recall that nothing can beat."""

from pathlib import Path

import pandas as pd
from anndata import AnnData

from cellmae.errors import DataError


def read_truth(path: str | Path) -> pd.DataFrame:
    """Read the true phenotypes of a simulated screen.

    Returns
    -------
    DataFrame
        Index ``treatment``; ``perturbation``, then one column a phenotype dimension. Treatments that are not
        listed, such as controls, have none: zeros.

    Raises
    ------
    DataError
        The file is missing or has no column ``perturbation``.
    """
    try:
        truth = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as true phenotypes ({error}): simulate the screen again") from None
    if "perturbation" not in truth:
        raise DataError(f"{path} has no column perturbation: expected the truth of a simulated screen")
    return truth


def phenotypes(truth: pd.DataFrame) -> pd.DataFrame:
    """Return the phenotype dimensions alone, a row a treatment."""
    return truth.drop(columns="perturbation").astype(float)


def oracle(truth: pd.DataFrame, names: pd.Index) -> AnnData:
    """Return the map of the true phenotypes, over the perturbations ``names``.

    A perturbation without effect has a profile of zeros, which :func:`~cellmae.maps.recall` never counts as
    a hit.
    """
    mean = phenotypes(truth).groupby(truth["perturbation"].astype(str)).mean()
    return AnnData(mean.reindex(names, fill_value=0.0).to_numpy(), obs=pd.DataFrame(index=names))
