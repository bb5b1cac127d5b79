"""Embeddings of plates and annotations of wells, joined into one table of wells."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from cellmae.alignment.chunks import PlateChunks
from cellmae.errors import DataError
from cellmae.files import digest_bytes
from cellmae.logging import logger, progress
from cellmae.screen.listing import counted, listing

KEY = ["plate", "well"]
ROLES = ("treatment", "negative_control", "positive_control")


class Plate(Protocol):
    """Embeddings of a plate: an AnnData, or a file that is read when it is asked for."""

    def to_memory(self) -> AnnData:
        """Return ``X`` (wells, features), ``plate`` and ``well`` in ``obs``, provenance in ``uns["cellmae"]``."""

    @property
    def X(self) -> Any:  # noqa: N802
        """Embeddings, shape (wells, features)."""


def annotate(embeddings: Sequence[Plate], wells: Sequence[pd.DataFrame]) -> AnnData:
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
    adata, chunks = annotate_apart(embeddings, wells)
    adata.X = np.concatenate([chunks.read(number) for number in range(len(embeddings))])
    return adata


def annotate_apart(embeddings: Sequence[Plate], wells: Sequence[pd.DataFrame]) -> tuple[AnnData, PlateChunks]:
    """Do as :func:`annotate`, but leave ``X`` where it is: it is read plate by plate, and checked once."""
    annotations = pd.concat(wells, ignore_index=True)
    _check_unique(annotations, "annotations")
    annotations = annotations[annotations["role"].isin(ROLES)]
    table, finite, source = _measured(embeddings, annotations)
    _check_unique(table, "embeddings")
    ends = np.cumsum([len(own) for own in finite])[:-1]
    table = table.merge(annotations, on=KEY, how="left", validate="one_to_one")
    annotated = table["role"].notna().to_numpy()
    kept = annotated & np.concatenate(finite)
    counts = {
        "kept": int(kept.sum()),
        "unannotated": int((~annotated).sum()),
        "not_finite": int((annotated & ~kept).sum()),
        "not_embedded": len(annotations) - int(annotated.sum()),
    }
    told = counted(counts).replace("_", " ")
    if not kept.any():
        raise DataError(f"no well has both a finite embedding and an annotation: {told}")
    logger.info("wells: %s", told)
    if counts["not_finite"]:
        lost = table.loc[annotated & ~kept, KEY].agg("_".join, axis=1)
        logger.warning("embeddings with NaN or infinity dropped: %s", listing(lost))

    table = table[kept]
    table.index = pd.Index(table["plate"] + "_" + table["well"])
    features = source.facts["features"]
    adata = AnnData(obs=_categorical(table), var=pd.DataFrame(index=features))
    adata.obsm["spatial"] = table[["column", "row"]].to_numpy(dtype=np.float32)
    adata.uns["cellmae"] = {**source.provenance, "wells": counts}
    readers = [_reader(plate) for plate in embeddings]
    return adata, PlateChunks(readers, np.split(kept, ends), len(features))


def _measured(
    embeddings: Sequence[Plate], annotations: pd.DataFrame
) -> tuple[pd.DataFrame, list[NDArray[np.bool_]], "_Source"]:
    """Return the wells of all plates, less the columns that annotations know better; which are finite; their source."""
    tables, finite = [], []
    first: _Source | None = None
    for plate in progress(embeddings, description="alignment: wells", unit="plate"):
        read = plate.to_memory()
        source = _Source(read)
        first = first or source
        first.check(source)
        own = [column for column in read.obs if column in KEY or column not in annotations]
        tables.append(read.obs[own].astype(dict.fromkeys(KEY, str)))
        finite.append(np.isfinite(read.X).all(axis=1))
    assert first is not None, "an alignment has a plate"
    return pd.concat(tables, ignore_index=True), finite, first


def _reader(plate: Plate) -> Callable[[], NDArray]:
    return lambda: np.asarray(plate.X, dtype=np.float32)


def digest_wells(adata: AnnData) -> str:
    """Return the digest of what a table of wells or perturbations holds: names, annotations and vectors."""
    vectors = [np.ascontiguousarray(adata.obsm[key]) for key in sorted(adata.obsm)]
    arrays = (np.ascontiguousarray(adata.X), *vectors)
    return combine_digests(adata.obs, [digest_bytes(array.data) for array in arrays])


def combine_digests(obs: pd.DataFrame, vectors: Sequence[str]) -> str:
    """Return what :func:`digest_wells` returns, from the digests of ``X`` and of ``obsm`` in the order of its keys."""
    table = pd.util.hash_pandas_object(obs, index=True).to_numpy()
    return digest_bytes("\n".join([*map(str, obs), *vectors]).encode(), table.tobytes())


class _Source:
    """What the plates of one alignment have in common: model, weights and features."""

    def __init__(self, plate: AnnData) -> None:
        self.name = str(next(iter(plate.obs["plate"]), "without wells"))
        self.provenance = plate.uns.get("cellmae", {})
        self.facts = {
            "weights": self.provenance.get("weights_digest"),
            "model": self.provenance.get("model"),
            "features": list(plate.var_names),
        }

    def check(self, other: "_Source") -> None:
        for what, ours in self.facts.items():
            if ours != other.facts[what]:
                raise DataError(
                    f"the plates {self.name} and {other.name} were embedded with different {what}: embed them again"
                )


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
