"""Downloads a data set into its folder, with a record of what came from where and on what terms."""

import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from cellmae.errors import ConfigError, DataError
from cellmae.files import read_json, write_json
from cellmae.locations import is_remote
from cellmae.logging import logger, progress
from cellmae.references import DATABASES_FOLDER, SYMBOLS_FOLDER
from cellmae.screen.fetching.archives import is_archive, unpack
from cellmae.screen.fetching.http import Client, check_space
from cellmae.screen.fetching.sources import (
    DATABASES,
    KEY,
    PARTS,
    RELATIONSHIPS,
    SOURCES,
    SYMBOLS,
    RemoteFile,
    Source,
)
from cellmae.screen.layouts import open_layout

MANIFEST = "fetched.json"
LICENCE = "DATA-LICENCE.txt"
THREADS = 4
MEGABYTE = 10**6
SECONDS_BETWEEN_RECORDS = 60.0

Arrivals = queue.SimpleQueue["int | Future[dict[str, Any]]"]


def is_awaited(screen: Mapping[str, Any]) -> bool:
    """Say whether a screen that can be fetched has not been: its tables are missing, or a download is unfinished."""
    if not screen.get("fetch"):
        return False
    manifest = _manifest(_folder(screen))
    if manifest:
        return not manifest.get("complete")
    try:
        sources = open_layout(screen).sources()
    except ConfigError:  # a plate map that is not there
        return True
    return not all(path.exists() for path in sources)


def fetch_screen(screen: Mapping[str, Any]) -> dict[str, Any]:
    """Download what ``screen.fetch`` names into ``screen.root``; what is there from before is not fetched again.

    Parameters
    ----------
    screen
        The ``screen`` section of the configuration.

    Returns
    -------
    dict
        What ``fetched.json`` in the folder says: ``title``, ``licence``, ``complete``, and ``files`` with ``url``,
        ``path``, ``bytes``, ``sha256`` and, of an archive, ``unpacked``, the number of files in it.

    Raises
    ------
    ConfigError
        If plates or an address are asked for and not given, or checksums name files that there are none of.
    DataError
        If a file does not exist, has another size or checksum than expected, the server cannot be reached, an archive
        is not safe to unpack, or the disk is too small. What has been fetched so far stays.
    """
    asked = screen["fetch"]
    source = SOURCES[asked["source"]]
    plates = asked.get("plates") or []
    if source.by_plates and not plates:
        raise ConfigError(f"{KEY}.plates: {source.title} is large; name the plates to fetch, {PARTS[asked['source']]}")
    if plates and not source.by_plates:
        raise ConfigError(f"{KEY}.plates: {source.title} comes as a whole; leave the key out")
    base_url = asked.get("base_url") or source.base_url
    if base_url is None:
        raise ConfigError(f"{KEY}.base_url: {source.title} has no lasting address; give that of a bucket that holds it")
    return _fetch(source, base_url.rstrip("/"), plates, _folder(screen), asked.get("checksums") or {})


def fetch_relationships(
    folder: str | Path, names: Sequence[str] = DATABASES, *, base_url: str | None = None
) -> dict[str, Any]:
    """Download databases of known relationships between genes, as ``maps.relationships`` takes them: ``NAME.txt``.

    Parameters
    ----------
    folder
        Where to put them.
    names
        Of CORUM, HuMAP, Reactome, SIGNOR and StringDB.
    base_url
        Another address than that of EFAAR_benchmarking.

    Returns
    -------
    dict
        As :func:`fetch_screen`, whose errors it shares.
    """
    unknown = sorted(set(names) - set(DATABASES))
    if unknown:
        raise ConfigError(f"names: {', '.join(unknown)} is unknown; there are {', '.join(DATABASES)}")
    return _fetch(RELATIONSHIPS, base_url or str(RELATIONSHIPS.base_url), names, Path(folder), {})


def fetch_symbols(folder: str | Path, *, base_url: str | None = None) -> dict[str, Any]:
    """Download HGNC's complete set of gene symbols, as ``genes.aliases`` and ``genes.arms`` take it.

    Parameters
    ----------
    folder
        Where to put ``hgnc_complete_set.txt``.
    base_url
        Another address than that of the committee.

    Returns
    -------
    dict
        As :func:`fetch_screen`, whose errors it shares.
    """
    return _fetch(SYMBOLS, base_url or str(SYMBOLS.base_url), (), Path(folder), {})


def fetch_references(references: Mapping[str, Any]) -> None:
    """Download what the section ``references`` of the configuration names, where :mod:`cellmae.references` says."""
    folder = Path(references["folder"])
    if references["databases"]:
        names, address = references["databases"], references["databases_url"]
        fetch_relationships(folder / DATABASES_FOLDER, names, base_url=address)
    if references["symbols"]:
        fetch_symbols(folder / SYMBOLS_FOLDER, base_url=references["symbols_url"])


def _folder(screen: Mapping[str, Any]) -> Path:
    if is_remote(screen["root"]):
        raise ConfigError(f"screen.root: {screen['root']} is no folder on disk, into which {KEY} could fetch anything")
    return Path(screen["root"])


def _fetch(
    source: Source, base_url: str, plates: Sequence[str], folder: Path, checksums: Mapping[str, str]
) -> dict[str, Any]:
    before = _manifest(folder)
    if before.get("title", source.title) != source.title:
        raise ConfigError(f"screen.root: {folder} holds {before['title']}; fetch {source.title} into another folder")
    logger.info("%s: %s", source.title, source.licence)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LICENCE).write_text(f"{source.title}\n{base_url}\n\n{source.licence}\n")
    arrived: Arrivals = queue.SimpleQueue()
    client = Client(arrived.put)
    files = [_checked(file, checksums, folder) for file in source.files(client, base_url, plates)]
    unknown = sorted(set(checksums) - {file.path for file in files})
    if unknown:
        raise ConfigError(f"{KEY}.checksums: no file is called {unknown[0]!r}; there are {len(files)} other ones")

    known = {entry["url"]: entry for entry in before.get("files", [])}
    there = [known[file.url] for file in files if _is_there(known.get(file.url), file, folder)]
    done = list(there)
    urls = {entry["url"] for entry in there}
    missing = [file for file in files if file.url not in urls]
    missing = [file if file.size is not None else replace(file, size=client.size(file.url)) for file in missing]
    total = sum(file.size or 0 for file in missing)
    check_space(folder, sum((file.size or 0) * (2 if is_archive(file.path) else 1) for file in missing))
    logger.info("%d files to fetch, %.1f GB; %d are there", len(missing), total / 1e9, len(done))

    about = {"title": source.title, "base_url": base_url, "licence": source.licence}

    def record(entries: list[dict[str, Any]]) -> dict[str, Any]:
        entries = sorted(entries, key=lambda entry: entry["path"])
        manifest = {**about, "complete": len(entries) == len(files), "files": entries}
        write_json(folder / MANIFEST, manifest)
        return manifest

    record(done)
    jobs: list[Future[dict[str, Any]]] = []
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for file in missing:
                jobs.append(pool.submit(_fetch_one, client, file, folder, source.strip))
                jobs[-1].add_done_callback(arrived.put)
            recorded = time.monotonic()
            news = _news(arrived, len(jobs))
            for entries in progress(news, description="Fetching", unit="MB", total=1 + total // MEGABYTE):
                done += entries
                if time.monotonic() - recorded > SECONDS_BETWEEN_RECORDS:
                    record(done)
                    recorded = time.monotonic()
        except BaseException:  # a failure, or an interruption, ends what the others are at
            client.stop()
            pool.shutdown(cancel_futures=True)
            record(there + [job.result() for job in jobs if not job.cancelled() and job.exception() is None])
            raise
    return record(done)


def _fetch_one(client: Client, file: RemoteFile, folder: Path, strip: str) -> dict[str, Any]:
    """Download and unpack a file; return its entry in the manifest."""
    path = folder / file.path
    facts = client.download(file.url, path, size=file.size, digest=file.digest)
    entry = {"url": file.url, "path": file.path, **facts}
    if is_archive(file.path):
        entry["unpacked"] = unpack(path, path.parent, strip=strip)
        path.unlink()
    return entry


def _checked(file: RemoteFile, checksums: Mapping[str, str], folder: Path) -> RemoteFile:
    """Return a file with its configured checksum; :class:`DataError` where it does not belong into the folder."""
    parts = PurePosixPath(file.path).parts
    if not parts or file.path.startswith("/") or ".." in parts or "\\" in file.path or ":" in file.path:
        raise DataError(f"{file.url} would be written to {file.path!r}, outside of {folder}: nothing was fetched")
    return replace(file, digest=checksums.get(file.path, file.digest))


def _is_there(entry: Mapping[str, Any] | None, file: RemoteFile, folder: Path) -> bool:
    """Say whether a file has been fetched before and still is what it was."""
    if entry is None or file.size not in (None, entry["bytes"]):
        return False
    if file.digest and file.digest.startswith("sha256:") and file.digest != f"sha256:{entry['sha256']}":
        return False
    path = folder / file.path
    return "unpacked" in entry or (path.is_file() and path.stat().st_size == entry["bytes"])


def _manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder; an empty one where there is none."""
    return dict(read_json(folder / MANIFEST)) if (folder / MANIFEST).exists() else {}


def _news(arrived: Arrivals, jobs: int) -> Iterator[list[dict[str, Any]]]:
    """Yield, once a megabyte, the entries of the files that have become whole; raise what a download failed of."""
    received, entries = 0, []
    while jobs:
        news = arrived.get()
        if isinstance(news, Future):
            entries.append(news.result())
            jobs -= 1
        else:
            received += news
        while received >= MEGABYTE:
            received -= MEGABYTE
            yield entries
            entries = []
    yield entries
