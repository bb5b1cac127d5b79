"""The AnnData of a plate's wells, and the manifest beside it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem

from cellmae.embeddings import VERSION
from cellmae.errors import DamagedError, DataError
from cellmae.files import atomic_path, digest_bytes, read_manifest, write_manifest
from cellmae.logging import logger
from cellmae.versions import require_version

STAGE = "embeddings"


def write_embeddings(
    output: str | Path,
    manifest: str | Path,
    *,
    vectors: np.ndarray,
    features: pd.Index | None = None,
    obs: pd.DataFrame,
    source: Mapping[str, Any],
    **facts: Any,
) -> None:
    """Write the wells of a plate as AnnData, then their manifest.

    Parameters
    ----------
    output, manifest
        Files to write, ``.h5ad`` and ``.json``.
    vectors
        (wells, dim) float32.
    features
        Names of the dimensions; numbered by default.
    obs
        A row a well, with ``plate`` and ``well`` at least, which name the observations.
    source
        What the vectors come from; goes to ``uns["cellmae"]`` and the manifest.
    facts
        What else the manifest says.
    """
    obs = obs.set_index(pd.Index(obs["plate"] + "_" + obs["well"], name=None))
    var = pd.DataFrame(index=features if features is not None else [f"e{i}" for i in range(vectors.shape[1])])
    adata = ad.AnnData(
        vectors,
        obs=obs,
        var=var,
        uns={"cellmae": {"stage": STAGE, "version": VERSION, **source}},
    )
    content = _digest(adata)
    with atomic_path(output) as partial:
        adata.write_h5ad(partial)
    write_manifest(
        manifest,
        stage=STAGE,
        version=VERSION,
        digest=content,
        **source,
        wells=len(obs),
        dim=vectors.shape[1],
        **facts,
    )
    logger.info("%s: %d wells with vectors of %d", output, *vectors.shape)


def read_embeddings(path: str | Path) -> ad.AnnData:
    """Read the wells of a plate: ``X`` (wells, dim) float32, ``obs`` a row a well, where from in ``uns``.

    Raises
    ------
    DataError
        The file is missing, cannot be read, or is not what its manifest, where there is one, vouches for.
    """
    manifest = _manifest(path)
    with _damage_told(path):
        adata = ad.read_h5ad(path)
    if manifest.exists():
        said = read_manifest(manifest, stage=STAGE)
        require_version(said.get("version"), VERSION, stage=STAGE, path=path, manifest=manifest)
        if said.get("digest") != _digest(adata):
            raise _damaged(path, "it is not what its manifest says")
    return adata


@dataclass(frozen=True)
class EmbeddingsFile:
    """The wells of a plate on disk, read when they are asked for, and not kept."""

    path: str | Path

    def to_memory(self) -> ad.AnnData:
        """Read all there is, and check it as :func:`read_embeddings` does."""
        return read_embeddings(self.path)

    @property
    def X(self) -> np.ndarray:  # noqa: N802
        """Shape (wells, dim), float32."""
        with _damage_told(self.path), h5py.File(self.path) as file:
            return read_elem(file["X"])


@contextmanager
def _damage_told(path: str | Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        if _manifest(path).exists():
            raise _damaged(path, "it is missing") from None
        raise DataError(f"{path} is missing: run the stage embeddings for this plate") from None
    except Exception as error:  # whatever HDF5 and AnnData make of damaged bytes
        raise _damaged(path, " ".join(str(error).split()) or type(error).__name__) from None


def _digest(adata: ad.AnnData) -> str:
    """Return the digest of vectors and names; AnnData turns repeated text into categories, of the same content."""
    vectors = np.ascontiguousarray(adata.X)
    return digest_bytes(vectors.tobytes(), adata.obs.to_csv().encode(), "\n".join(adata.var_names).encode())


def _manifest(path: str | Path) -> Path:
    return Path(path).with_suffix(".json")


def _damaged(path: str | Path, reason: str) -> DamagedError:
    message = f"{path} is damaged ({reason}): delete it with its manifest and run snakemake again"
    return DamagedError(message, manifest=_manifest(path), file=path)
