"""Public data sets: where they lie, what they consist of, and on what terms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import defusedxml
import defusedxml.ElementTree

from cellmae.errors import ConfigError, DataError
from cellmae.references import SYMBOLS_FILE
from cellmae.screen.fetching.http import Client
from cellmae.screen.listing import listing

KEY = "screen.fetch"
PARTS = {"rxrx3": "EXPERIMENT/PlateN", "cell-painting-gallery": "PROJECT/SOURCE/BATCH/PLATE"}


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set.

    Attributes
    ----------
    url
        Where it lies.
    path
        Where it belongs below the folder of the data set; an archive is unpacked into its folder.
    size
        Bytes, if known.
    digest
        ``sha256:...``, if published.
    """

    url: str
    path: str
    size: int | None = None
    digest: str | None = None


Lister = Callable[[Client, str, Sequence[str]], list[RemoteFile]]


@dataclass(frozen=True)
class Source:
    """A public data set.

    Attributes
    ----------
    title
        What people call it.
    licence
        On what terms it may be used, and where to read them.
    base_url
        Its address; None where there is none that lasts.
    files
        Function that lists its files, given a client, the address and the plates that are asked for.
    strip
        A folder in its archives whose content belongs into the data set's own folder.
    by_plates
        Whether plates must be chosen.
    """

    title: str
    licence: str
    base_url: str | None
    files: Lister
    strip: str = ""
    by_plates: bool = False


def _rxrx1(client: Client, base_url: str, plates: Sequence[str]) -> list[RemoteFile]:
    return [RemoteFile(f"{base_url}/{name}", name) for name in ("rxrx1-metadata.zip", "rxrx1-images.zip")]


def _rxrx3_core(client: Client, base_url: str, plates: Sequence[str]) -> list[RemoteFile]:
    """List the table of wells and the Parquet files, by the hub's listing, with the digests that it publishes."""
    repository = "datasets/recursionpharma/rxrx3-core"
    url, files = f"{base_url}/api/{repository}/tree/main?recursive=true", []
    while url:
        answer = client.get(url)
        for entry in _json(answer):
            path = entry["path"]
            if path == "metadata_rxrx3_core.csv" or (path.startswith("data/") and path.endswith(".parquet")):
                digest = (entry.get("lfs") or {}).get("oid")
                address = f"{base_url}/{repository}/resolve/main/{quote(path)}"
                files.append(RemoteFile(address, path, entry.get("size"), digest and f"sha256:{digest}"))
        url = answer.links.get("next", {}).get("url", "")
    return files


def _json(answer: Any) -> list[dict[str, Any]]:
    try:
        entries = answer.json()
    except ValueError:
        entries = None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "path" in entry for entry in entries):
        raise DataError(f"{answer.url} is no listing of files: check screen.fetch.base_url")
    return entries


def _rxrx3(client: Client, base_url: str, plates: Sequence[str]) -> list[RemoteFile]:
    files = [RemoteFile(f"{base_url}/metadata.csv", "metadata.csv")]
    for experiment, plate in _split(plates, "rxrx3"):
        files += _bucket_files(client, base_url, "", f"images/{experiment}/{plate}/")
    return files


def _gallery(client: Client, base_url: str, plates: Sequence[str]) -> list[RemoteFile]:
    """List images, illumination functions, tables of images and plate maps of some plates of one source."""
    named = _split(plates, "cell-painting-gallery")
    roots = {f"{project}/{source}/" for project, source, _, _ in named}
    if len(roots) > 1:
        raise ConfigError(
            f"{KEY}.plates: {listing(sorted(roots))} are several sources; fetch each into a root of its own"
        )
    root = roots.pop()
    files = []
    for _, _, batch, plate in named:
        for folder in (f"images/{batch}/images/{plate}", f"images/{batch}/illum/{plate}"):
            found = _bucket_files(client, base_url, root, folder)
            # BR1, and BR1__2020-11-05T19_51_35-Measurement1, but not BR10
            files += [file for file in found if file.path.removeprefix(folder).startswith(("/", "__"))]
        files += _bucket_files(client, base_url, root, f"workspace/load_data_csv/{batch}/{plate}/", optional=True)
    for batch in sorted({batch for _, _, batch, _ in named}):
        files += _bucket_files(client, base_url, root, f"workspace/metadata/platemaps/{batch}/")
    files += _bucket_files(client, base_url, root, "workspace/metadata/external_metadata/", optional=True)
    return files


def _split(plates: Sequence[str], source: str) -> list[list[str]]:
    parts = [plate.split("/") for plate in plates]
    strange = [
        plate
        for plate, names in zip(plates, parts, strict=True)
        if len(names) != PARTS[source].count("/") + 1 or not all(name.strip(".") for name in names)
    ]
    if strange:
        raise ConfigError(f"{KEY}.plates: {listing(map(repr, strange))} name no plate; write {PARTS[source]}")
    return parts


def _bucket_files(client: Client, base_url: str, root: str, folder: str, *, optional: bool = False) -> list[RemoteFile]:
    """List the objects of a public S3 bucket, whose address is its host, below what else is in ``base_url``.

    Raises
    ------
    DataError
        If there are none, unless they are ``optional``.
    """
    address = urlsplit(base_url)
    bucket, above = f"{address.scheme}://{address.netloc}", address.path.strip("/")
    start = f"{above}/{root}" if above else root
    query = {"list-type": "2", "prefix": start + folder}
    files: list[RemoteFile] = []
    while query:
        answer = client.get(f"{bucket}/", **query)
        try:
            tree = defusedxml.ElementTree.fromstring(answer.content)
        except (defusedxml.DefusedXmlException, defusedxml.ElementTree.ParseError) as error:
            raise DataError(f"{answer.url} is no listing of a bucket ({error}): check {KEY}.base_url") from None
        for entry in tree.iterfind("{*}Contents"):
            key, size = entry.findtext("{*}Key", ""), entry.findtext("{*}Size", "")
            if not key.startswith(start + folder) or not size.isdigit():
                raise DataError(f"{answer.url} lists {key!r}, which was not asked for: check {KEY}.base_url")
            if not key.endswith("/"):
                files.append(RemoteFile(f"{bucket}/{quote(key)}", key.removeprefix(start), int(size)))
        token = tree.findtext("{*}NextContinuationToken", "")
        query = query | {"continuation-token": token} if token else {}
    if not files and not optional:
        raise DataError(f"{bucket} holds nothing that begins with {start + folder!r}: check {KEY}.plates and .base_url")
    return files


SOURCES = {
    "rxrx1": Source(
        "RxRx1 (Recursion)",
        "CC BY-NC-SA 4.0, https://creativecommons.org/licenses/by-nc-sa/4.0/: not for commercial use, and what is made "
        "from it on the same terms",
        "https://storage.googleapis.com/rxrx/rxrx1",
        _rxrx1,
        strip="rxrx1",
    ),
    "rxrx3-core": Source(
        "RxRx3-core (Recursion)",
        "terms of Recursion, not an open licence: read them before use at "
        "https://huggingface.co/datasets/recursionpharma/rxrx3-core and https://www.rxrx.ai/rxrx3",
        "https://huggingface.co",
        _rxrx3_core,
    ),
    "rxrx3": Source(
        "RxRx3 (Recursion)",
        "terms of Recursion, not an open licence: read them before use at https://www.rxrx.ai/rxrx3",
        None,
        _rxrx3,
        by_plates=True,
    ),
    "cell-painting-gallery": Source(
        "Cell Painting Gallery (Broad Institute and others)",
        "CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0/; cite the data set as "
        "https://broadinstitute.github.io/cellpainting-gallery asks",
        "https://cellpainting-gallery.s3.amazonaws.com",
        _gallery,
        by_plates=True,
    ),
}

DATABASES = ("CORUM", "HuMAP", "Reactome", "SIGNOR", "StringDB")
RELATIONSHIPS = Source(
    "Relationships of genes, as EFAAR_benchmarking distributes them",
    "of each database: CORUM and SIGNOR CC BY-NC 4.0 (not for commercial use), Reactome CC0, STRING CC BY 4.0; the "
    "file LICENSE beside them says more",
    "https://raw.githubusercontent.com/recursionpharma/EFAAR_benchmarking/trunk/efaar_benchmarking/"
    "benchmark_annotations",
    lambda client, base_url, names: [
        RemoteFile(f"{base_url}/{name}", name) for name in ["LICENSE", *(f"{name}.txt" for name in names)]
    ],
)

SYMBOLS = Source(
    "HGNC complete set (HUGO Gene Nomenclature Committee)",
    "CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0/; see https://www.genenames.org/about/license",
    "https://storage.googleapis.com/public-download-files/hgnc/tsv/tsv",
    lambda client, base_url, names: [RemoteFile(f"{base_url}/{SYMBOLS_FILE}", SYMBOLS_FILE)],
)
