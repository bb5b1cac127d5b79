"""Aligned wells, read without what maps do not need, and with clean names of perturbations."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from cellmae.alignment import require_aligned
from cellmae.errors import DataError
from cellmae.genes import Aliases
from cellmae.logging import logger
from cellmae.maps.groups import Groups
from cellmae.screen.listing import listing

CONTROL = "negative_control"


def read_aligned(path: str | Path, representations: Sequence[str] = ("X_tvn",)) -> AnnData:
    """Read annotations, provenance and some representations of aligned wells; ``X`` stays on disk.

    Raises
    ------
    DataError
        The file is no table of wells, lacks a representation, or is not what its manifest vouches for.
    """
    require_aligned(path)
    try:
        with h5py.File(path) as file:
            obs, facts = (anndata.io.read_elem(file[key]) for key in ("obs", "uns"))
            missing = [key for key in representations if key not in file["obsm"]]
            if missing:
                raise DataError(f"{path} lacks obsm {listing(missing)}: run the stage alignment again")
            obsm = {key: anndata.io.read_elem(file[f"obsm/{key}"]) for key in representations}
    except (OSError, KeyError) as error:
        raise DataError(f"{path} cannot be read as aligned wells ({error}): run the stage alignment again") from None
    return AnnData(obs=obs, obsm=obsm, uns=facts)


def directed(X: NDArray) -> NDArray[np.bool_]:
    """Tell which rows have a direction: those that are finite and not zero, shape (rows,)."""
    return np.asarray(X.any(axis=1), dtype=bool) & _finite(X)


def _finite(X: NDArray) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):  # the sum of both infinities
        return np.isfinite(X.sum(axis=1, dtype=np.float64))


@dataclass(frozen=True)
class Wells:
    """Wells with finite profiles that are controls or have a perturbation.

    Attributes
    ----------
    rows
        Their rows among all wells.
    perturbation, treatment
        Names, missing for negative controls, shape (wells,).
    control
        Whether a well is a negative control.
    obs
        ``role``, ``batch`` and ``plate``, shape (wells, 3).
    facts
        What was left out or renamed: ``unnamed_wells``, ``undefined_wells``, ``renamed`` (old and new names)
        and ``unmatched`` names, and ``case_variants``.
    """

    rows: NDArray[np.intp]
    perturbation: pd.Series
    treatment: pd.Series
    control: NDArray[np.bool_]
    obs: pd.DataFrame
    facts: dict[str, Any] = field(repr=False)

    @property
    def controls(self) -> NDArray[np.intp]:
        """Places of the negative controls."""
        return np.flatnonzero(self.control)

    def groups(self) -> Groups:
        """Return the perturbation of each well."""
        return Groups.of(self.perturbation)


def clean_wells(adata: AnnData, representation: str = "X_tvn", aliases: Aliases | None = None) -> Wells:
    """Sort wells by what was done to them.

    White space around names goes; a well whose perturbation is blank, or whose profile is not finite, is left
    out and counted. Names that differ in nothing but case stay apart, with a warning. With ``aliases``,
    perturbations are renamed to approved symbols.

    Raises
    ------
    DataError
        No well with a perturbation is left.
    """
    obs = adata.obs
    control = (obs["role"] == CONTROL).to_numpy()
    finite = _finite(np.asarray(adata.obsm[representation]))
    name = _stripped(obs["perturbation"])
    unnamed = ~control & name.isna().to_numpy()
    kept = finite & ~unnamed
    facts: dict[str, Any] = {
        "negative_control_wells": int((control & kept).sum()),
        "unnamed_wells": int(unnamed.sum()),
        "undefined_wells": int((~finite & ~unnamed).sum()),
        "lost": sorted(set(name[~control & ~kept].dropna()) - set(name[~control & kept])),
    }
    _report_losses(facts, perturbed=int((kept & ~control).sum()))
    name = name.where(~control)
    if aliases is not None:
        name, renaming = _renamed(name, aliases)
        facts |= renaming
    facts["case_variants"] = _case_variants(name)
    treatment = _stripped(obs["treatment"]).where(~control).fillna(name)
    plate = obs["plate"] if "plate" in obs else obs["batch"]
    table = pd.DataFrame({"role": obs["role"].astype(str), "batch": obs["batch"], "plate": plate})[kept]
    return Wells(
        np.flatnonzero(kept),
        name[kept].reset_index(drop=True),
        treatment[kept].reset_index(drop=True),
        control[kept],
        table.reset_index(drop=True),
        facts,
    )


def _report_losses(facts: dict[str, Any], *, perturbed: int) -> None:
    counts = (
        f"{facts['unnamed_wells']} wells without a perturbation, {facts['undefined_wells']} without a finite profile"
    )
    if not perturbed:
        raise DataError(f"all wells are negative controls or left out ({counts}): a map needs perturbations")
    if facts["unnamed_wells"] or facts["undefined_wells"]:
        logger.warning("left out of the map: %s; perturbations lost: %s", counts, listing(facts["lost"]) or "none")


def _stripped(names: pd.Series) -> pd.Series:
    """Return names without white space around them, missing where nothing is left."""
    codes, values = pd.factorize(names)
    texts = pd.Series([str(value).strip() for value in values] + [""], dtype=object)
    texts = texts.where(texts != "", None)
    return pd.Series(texts.to_numpy()[codes], index=names.index, dtype=object)


def _renamed(names: pd.Series, aliases: Aliases) -> tuple[pd.Series, dict[str, Any]]:
    codes, old = pd.factorize(names, sort=True)
    new = aliases.resolve(pd.Index(old))
    changed = {str(a): str(b) for a, b in zip(old, new, strict=True) if a != b}
    unmatched = sorted(map(str, aliases.unmatched(pd.Index(old))))
    if changed or unmatched:
        logger.info(
            "gene symbols: %d renamed (%s), %d not in the table of aliases (%s)",
            len(changed), listing(f"{a} to {b}" for a, b in changed.items()), len(unmatched), listing(unmatched),
        )  # fmt: skip
    values = np.array([*new, None], dtype=object)
    return pd.Series(values[codes], index=names.index, dtype=object), {"renamed": changed, "unmatched": unmatched}


def _case_variants(names: pd.Series) -> list[str]:
    unique = pd.Series(sorted(names.dropna().unique()), dtype=object)
    variants = unique[unique.str.casefold().duplicated(keep=False)].tolist()
    if variants:
        logger.warning(
            "perturbations that differ in nothing but case are kept apart: %s; name them alike in the annotations, "
            "or give genes.aliases", listing(variants),
        )  # fmt: skip
    return variants
