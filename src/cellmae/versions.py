"""Results of another version of cellmae: older ones are made anew, newer ones are left alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cellmae.errors import ConfigError, DamagedError, DataError

MANIFESTS = {
    "tiles": "tiles/*.json",
    "models": "models/*/model.yaml",
    "embeddings": "embeddings/*/*.json",
    "alignment": "alignment/*/*.fit.json",
    "maps": "maps/*/*/map.json",
}


def require_version(found: Any, current: int, *, stage: str, path: str | Path, manifest: str | Path) -> None:
    """Refuse a result of another version of its stage, which Snakemake takes for finished when its records are lost.

    Parameters
    ----------
    found, current
        The version that wrote the result, and that of this cellmae.
    stage
        The stage that wrote it.
    path
        The result.
    manifest
        What vouches for it.

    Raises
    ------
    DamagedError
        The result is older.
    DataError
        It is newer.
    """
    if found == current:
        return
    wrote = f"{path} is of version {found} of the stage {stage}, this cellmae has version {current}"
    if is_newer(found, current):
        raise DataError(f"{wrote}: update cellmae, or name another folder under results")
    message = f"{wrote}: delete it with its manifest and run snakemake again"
    raise DamagedError(message, manifest=manifest, file=None if Path(path).is_dir() else path)


def is_newer(found: Any, current: int) -> bool:
    """Say whether a version is later than that of this cellmae."""
    return isinstance(found, int) and found > current


def refuse_newer(results: str | Path, versions: Mapping[str, int]) -> None:
    """Stop before a newer cellmae's results are overwritten; one manifest of a folder speaks for all.

    Parameters
    ----------
    results
        Folder of a run.
    versions
        Versions of this cellmae's stages.

    Raises
    ------
    ConfigError
        A stage's results are of a later version.
    """
    for stage, current in versions.items():
        for manifest in {path.parent: path for path in Path(results).glob(MANIFESTS[stage])}.values():
            found = _version(manifest)
            if is_newer(found, current):
                raise ConfigError(
                    f"results: {manifest} is of version {found} of the stage {stage}, newer than version {current} of "
                    "this cellmae: update cellmae, or name another folder"
                )


def _version(manifest: Path) -> Any:
    """Return what a manifest says; None where it cannot be read, which the job that needs it will tell."""
    try:
        content = yaml.safe_load(manifest.read_text())  # JSON is YAML
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return content.get("version") if isinstance(content, dict) else None
