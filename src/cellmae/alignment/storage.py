"""Fitted parts in an HDF5 file: numbers as datasets, names of classes from a closed list, no pickle."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cellmae.alignment.arms import ArmCorrection
from cellmae.alignment.centring import Centring, Locations, Standardiser, Unmoved
from cellmae.alignment.coral import NoCoral, RidgeCoral, ShrunkCoral
from cellmae.alignment.covariates import Covariates, Regression
from cellmae.alignment.filters import WellFilter
from cellmae.alignment.harmony import HarmonisedWells
from cellmae.alignment.linear import AffineMaps, Axes
from cellmae.alignment.standardising import ControlStandardiser
from cellmae.alignment.steps import BatchTransforms, Steps
from cellmae.alignment.whitening import Whitening
from cellmae.errors import DataError
from cellmae.files import atomic_path, require_intact
from cellmae.versions import require_version

FORMAT, STAGE = "cellmae alignment", "alignment"
LOCATORS = (Centring, Standardiser, Unmoved)
CORRECTORS = (ControlStandardiser, NoCoral, RidgeCoral, ShrunkCoral)
SHARED = (AffineMaps, Axes, BatchTransforms, HarmonisedWells, Locations, Steps, Whitening)
AROUND = (ArmCorrection, Covariates, Regression, WellFilter)
PARTS = {part.__name__: part for part in (*LOCATORS, *CORRECTORS, *SHARED, *AROUND)}


def arrays_of(part: Any) -> Iterator[NDArray]:
    """Yield all numbers of a part, in the order of its fields."""
    if is_dataclass(part):
        for field in fields(part):
            yield from arrays_of(getattr(part, field.name))
    else:
        yield np.ascontiguousarray(part)


def save_parts(
    path: str | Path,
    *,
    version: int,
    header: Mapping[str, Any],
    names: Mapping[str, Sequence[str]],
    parts: Mapping[str, Any],
) -> None:
    """Write a JSON-like header, lists of names and dataclasses of arrays, atomically."""
    with atomic_path(path) as partial, h5py.File(partial, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = version
        file.attrs["header"] = json.dumps(header, sort_keys=True)
        for name, texts in names.items():
            file.create_dataset(f"names/{name}", data=list(texts), dtype=h5py.string_dtype())
        for name, part in parts.items():
            _write(file, name, part)


def load_parts(path: str | Path, *, version: int) -> dict[str, Any]:
    """Read what :func:`save_parts` wrote: the entries of header, names and parts together.

    Raises
    ------
    DataError
        The file is missing, no alignment, of another version, or not what the manifest beside it vouches for.
    """
    manifest = Path(path).with_suffix(".json")
    require_intact(path, manifest, stage=STAGE, version=version)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} cannot be read as an alignment ({error}): run the stage alignment again") from None
    with file:
        if file.attrs.get("format") != FORMAT:
            raise DataError(f"{path} is an HDF5 file but no alignment: expected one written by this stage")
        require_version(int(file.attrs["version"]), version, stage=STAGE, path=path, manifest=manifest)
        names = {name: tuple(texts.asstr()[:]) for name, texts in file["names"].items()}
        parts = {name: _read(group) for name, group in file.items() if name != "names"}
        return {**json.loads(file.attrs["header"]), **names, **parts}


def _write(parent: h5py.Group, name: str, value: Any) -> None:
    if is_dataclass(value):
        group = parent.create_group(name)
        group.attrs["part"] = type(value).__name__
        for field in fields(value):
            _write(group, field.name, getattr(value, field.name))
    elif isinstance(value, np.ndarray) and value.dtype.kind == "U":
        parent.create_dataset(name, data=value.tolist(), dtype=h5py.string_dtype())
    else:
        parent.create_dataset(name, data=value)


def _read(node: h5py.Group | h5py.Dataset) -> Any:
    if isinstance(node, h5py.Group):
        return PARTS[node.attrs["part"]](**{name: _read(child) for name, child in node.items()})
    if h5py.check_string_dtype(node.dtype):
        return node.asstr()[:].astype(str)
    value = node[()]
    return value if isinstance(value, np.ndarray) else value.item()
