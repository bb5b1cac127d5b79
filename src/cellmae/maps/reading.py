"""Maps and tables of scores from disk, checked before anything is made of them."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from cellmae.errors import DataError
from cellmae.files import require_intact
from cellmae.maps import VERSION

STAGE = "maps"
STAGES = ("embeddings", "alignment", STAGE)
MAP_PARTS = ("X", "obs", "uns")
"""What scores need of a map; its cosines and layouts stay on disk."""
WRITTEN_WITH = {
    "treatments": "map", "pairs": "recall", "unmatched": "recall", "proximity": "replicates", "compounds": "replicates",
    "enrichment": "sets", "enrichment_counts": "sets", "scaling_trends": "scaling", "scaling_bands": "scaling",
    "scaling_gains": "scaling",
}  # fmt: skip
"""Files that have no manifest of their own name, and the one that vouches for them."""


def read_stage(path: str | Path, *, parts: Sequence[str] | None = None) -> AnnData:
    """Read the AnnData of a stage, if this version of cellmae understands it.

    Parameters
    ----------
    path
        An ``.h5ad``.
    parts
        Such as ``obsm``: what is read, all by default.

    Raises
    ------
    DataError
        The file is missing, no AnnData, or of a newer version.
    """
    try:
        if parts is None:
            adata = anndata.read_h5ad(path)
        else:
            with h5py.File(path) as file:
                adata = AnnData(**{part: anndata.io.read_elem(file[part]) for part in parts if part in file})
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} cannot be read as AnnData: {' '.join(str(error).split())}") from None
    check_version(adata, path)
    return adata


def read_map(path: str | Path) -> AnnData:
    """Read the profiles of a map, or of its treatments, with what is known of them, but not its cosines.

    Raises
    ------
    DataError
        As :func:`read_stage`, or the file is not what the manifest beside it vouches for.
    """
    _require_intact(path)
    return read_stage(path, parts=MAP_PARTS)


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read a table that this stage wrote, csv or parquet.

    Raises
    ------
    DataError
        The file is missing, or not what the manifest beside it vouches for.
    """
    _require_intact(path)
    try:
        if Path(path).suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, keep_default_na=False, na_values=[""])  # a model may be called None
    except FileNotFoundError:
        raise DataError(f"{path} is missing: run the stage maps") from None


def _require_intact(path: str | Path) -> None:
    """Compare a file with its manifest, where there is one, see :func:`cellmae.files.require_intact`."""
    path = Path(path)
    manifest = path.with_name(f"{WRITTEN_WITH.get(path.stem, path.stem)}.json")
    require_intact(path, manifest, stage=STAGE, version=VERSION)


def check_version(adata: AnnData, path: str | Path) -> None:
    """Raise a :class:`~cellmae.errors.DataError` where a newer cellmae wrote the file; others' files pass."""
    provenance = adata.uns.get("cellmae", {})
    stage, found = provenance.get("stage"), int(provenance.get("version", 0))
    if stage not in STAGES:
        return
    known = import_module(f"cellmae.{stage}").VERSION
    if found > known:
        raise DataError(
            f"{path} is of version {found} of the stage {stage}, this cellmae knows versions up to {known}: "
            "update cellmae, or make the file again"
        )


def profiles(perturbations: AnnData) -> NDArray[np.float64]:
    """Return the profiles of a map as dense float64, shape (perturbations, dimensions).

    Raises
    ------
    DataError
        A name stands for several profiles, or profiles are no numbers.
    """
    names = perturbations.obs_names
    if not names.is_unique:
        raise DataError(
            f"the map has the perturbation {names[names.duplicated()][0]} more than once: aggregate it first"
        )
    X = perturbations.X
    try:
        return np.asarray(X.toarray() if sparse.issparse(X) else X, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"the profiles of the map are {getattr(X, 'dtype', type(X))}: expected numbers") from None
