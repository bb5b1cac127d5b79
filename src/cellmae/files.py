"""Files that are whole or absent: atomic writes, digests, and the manifests that stages leave for each other."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from cellmae.errors import DamagedError, DataError
from cellmae.versions import require_version

if TYPE_CHECKING:
    import pandas as pd

DIGEST_BYTES = 16


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a hidden sibling to write a file or a folder to; it takes the place of ``path`` on success.

    On an exception the sibling is removed and ``path`` stays as it was. A sibling left behind by a killed job
    is overwritten by the next one. A file is on the disk before it is renamed, so that a power cut leaves it whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    remove(partial)
    try:
        yield partial
        if partial.is_file():
            _flush(partial)
        old = path.with_name(f".{path.name}.old")
        if path.is_dir():  # which nothing replaces in one step: for a moment neither is there, and never half of one
            remove(old)
            os.replace(path, old)
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):  # a thread that outlives an interruption may still write there
            remove(partial)
        raise
    remove(old)


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def write_csv(path: str | Path, table: "pd.DataFrame") -> None:
    """Write a table as CSV, without its index, atomically."""
    with atomic_path(path) as partial:
        table.to_csv(partial, index=False)


def remove(path: Path) -> None:
    """Delete a file or a folder with all that is in it; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def digest_bytes(*parts: bytes | memoryview) -> str:
    """Return the BLAKE2b digest of the concatenated parts as hexadecimal text."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        state.update(part)
    return state.hexdigest()


def digest_json(value: Any) -> str:
    """Return the digest of a JSON-like value; the order of keys does not matter."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode())


def digest_file(path: str | Path) -> str:
    """Return the digest of a file's content, as :func:`digest_bytes` would give it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).hexdigest()


def fingerprint_bytes(data: bytes | memoryview) -> str:
    """Return the XXH3 hash of pixels, as hexadecimal text: tells damage from none at the speed of memory."""
    return xxhash.xxh3_128_hexdigest(data)


def fingerprint_file(path: str | Path) -> str:
    """Return the hash of a file's content, as :func:`fingerprint_bytes` would give it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file atomically, indented, with a final newline."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; :class:`DataError` where it is missing or garbled."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise DataError(f"{path} is missing: an earlier stage has not finished; run snakemake again") from None
    except ValueError as error:
        raise DamagedError(f"{path} is not JSON ({error}): delete it and run snakemake again", manifest=path) from None


def write_manifest(
    path: str | Path, *, stage: str, version: int, files: Iterable[str | Path] = (), **facts: Any
) -> None:
    """Write the small file that says that results are complete; always the last write of a job.

    It holds no times or machine names, so that the same result gives the same manifest.

    Parameters
    ----------
    stage, version
        The stage that wrote the results, and the version of that stage.
    files
        Files beside the manifest that it vouches for byte by byte, see :func:`require_intact`.
    facts
        The digest of the content, counts, shapes, and what was dropped.
    """
    fingerprints = {Path(file).name: fingerprint_file(file) for file in files}
    write_json(path, {"stage": stage, "version": version, **facts} | ({"files": fingerprints} if fingerprints else {}))


def vouch_for(outputs: Sequence[str | Path], *, stage: str, version: int) -> None:
    """Write the last of a job's outputs: the manifest of the others, which lie beside it."""
    *files, manifest = outputs
    write_manifest(manifest, stage=stage, version=version, files=files)


def read_manifest(path: str | Path, *, stage: str) -> Mapping[str, Any]:
    """Read a manifest that ``stage`` wrote; :class:`DataError` where it is missing, garbled or of another stage."""
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("stage") != stage:
        message = f"{path} is no manifest of the stage '{stage}': delete it and run snakemake again"
        raise DamagedError(message, manifest=path)
    return manifest


def require_intact(path: str | Path, manifest: str | Path, *, stage: str, version: int) -> None:
    """Compare a file with the manifest that vouches for it, where there is one: its stage, its version, every byte.

    Raises
    ------
    DamagedError
        The file is missing, altered, cut off or of an older version.
    DataError
        It is of a newer version.
    """
    if not Path(manifest).exists():
        return
    said = read_manifest(manifest, stage=stage)
    require_version(said.get("version"), version, stage=stage, path=path, manifest=manifest)
    try:
        whole = fingerprint_file(path) == said.get("files", {}).get(Path(path).name)
    except FileNotFoundError:
        whole = False
    if not whole:
        message = f"{path} is missing, damaged or not the file that {manifest} vouches for"
        raise DamagedError(f"{message}: delete both and run snakemake again", manifest=manifest, file=path)
