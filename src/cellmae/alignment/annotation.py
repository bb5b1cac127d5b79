"""Embeddings of plates and annotations of wells, joined into one table of wells."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from cellmae.errors import DataError
from cellmae.files import digest_bytes
from cellmae.logging import logger
from cellmae.screen.listing import listing

KEY = ["plate", "well"]
ROLES = ("treatment", "negative_control", "positive_control")


def annotate(embeddings: Sequence[AnnData], wells: Sequence[pd.DataFrame]) -> AnnData:
    """Join the embeddings of plates with the annotations of their wells.

    Parameters
    ----------
    embeddings
        One a plate: embeddings in ``X``, ``plate`` and ``well`` in ``obs``, provenance in ``uns["cellmae"]``.
    wells
        The tables of the stage screen, one a plate, in any order.

    Returns
    -------
    AnnData
        Wells that have both, in the order of ``embeddings``. ``obs`` holds the columns of both, those of
        ``wells`` where both have one, texts as categoricals; ``obsm["spatial"]`` column and row on the plate.
        ``uns["cellmae"]["wells"]`` counts wells ``kept`` and the lost ones by reason: ``unannotated`` (no
        annotation, or role ``empty``), ``not_finite`` (NaN or infinity in the embedding), and
        ``not_embedded`` (annotated, but without an embedding).

    Raises
    ------
    DataError
        Embeddings of different models or widths, a well twice, or no well left.
    """
    _check_same_model(embeddings)
    X = np.vstack([np.asarray(plate.X, dtype=np.float32) for plate in embeddings])
    measured = pd.concat([plate.obs for plate in embeddings], ignore_index=True)
    annotations = pd.concat(wells, ignore_index=True)
    _check_unique(measured, "embeddings")
    _check_unique(annotations, "annotations")
    annotations = annotations[annotations["role"].isin(ROLES)]

    own = [column for column in measured if column in KEY or column not in annotations]
    table = measured[own].astype(dict.fromkeys(KEY, str))
    table = table.merge(annotations, on=KEY, how="left", validate="one_to_one")
    annotated = table["role"].notna().to_numpy()
    finite = np.isfinite(X).all(axis=1)
    kept = annotated & finite
    counts = {
        "kept": int(kept.sum()),
        "unannotated": int((~annotated).sum()),
        "not_finite": int((annotated & ~finite).sum()),
        "not_embedded": len(annotations) - int(annotated.sum()),
    }
    if not kept.any():
        raise DataError(f"no well has both a finite embedding and an annotation: {_sentence(counts)}")
    logger.info("wells: %s", _sentence(counts))
    if counts["not_finite"]:
        lost = table.loc[annotated & ~finite, KEY].agg("_".join, axis=1)
        logger.warning("embeddings with NaN or infinity dropped: %s", listing(lost))

    table, X = table[kept], X[kept]
    table.index = pd.Index(table["plate"] + "_" + table["well"])
    adata = AnnData(X, obs=_categorical(table), var=pd.DataFrame(index=embeddings[0].var_names))
    adata.obsm["spatial"] = table[["column", "row"]].to_numpy(dtype=np.float32)
    adata.uns["cellmae"] = {**embeddings[0].uns.get("cellmae", {}), "wells": counts}
    return adata


def digest_wells(adata: AnnData) -> str:
    """Return the digest of what a table of wells or perturbations holds: names, annotations and vectors."""
    vectors = [np.ascontiguousarray(adata.obsm[key]) for key in sorted(adata.obsm)]
    arrays = (array.tobytes() for array in (np.ascontiguousarray(adata.X), *vectors))
    return digest_bytes(adata.obs.to_csv().encode(), *arrays)


def _check_same_model(embeddings: Sequence[AnnData]) -> None:
    first = embeddings[0]
    for plate in embeddings:
        for what, ours, theirs in (
            ("weights", _provenance(first, "weights_digest"), _provenance(plate, "weights_digest")),
            ("model", _provenance(first, "model"), _provenance(plate, "model")),
            ("features", list(first.var_names), list(plate.var_names)),
        ):
            if ours != theirs:
                names = " and ".join(str(adata.obs["plate"].iloc[0]) for adata in (first, plate))
                raise DataError(f"the plates {names} were embedded with different {what}: embed them again")


def _provenance(adata: AnnData, key: str) -> Any:
    return adata.uns.get("cellmae", {}).get(key)


def _check_unique(table: pd.DataFrame, what: str) -> None:
    twice = table.duplicated(KEY)
    if twice.any():
        plate, well = table.loc[twice, KEY].iloc[0]
        raise DataError(f"the {what} hold well {well} of plate {plate} more than once ({twice.sum()} such wells)")


def _categorical(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with texts, also among other types, as categoricals: h5ad files hold no mixed column."""
    texts = table.select_dtypes(["object", "string", "category"])
    columns = {str(name): texts[name].map(str, na_action="ignore").astype("category") for name in texts}
    return table.assign(**columns)


def _sentence(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts.items())
