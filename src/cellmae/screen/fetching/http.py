"""A file over HTTP(S): whole or absent, and after a break from where it broke off."""

import hashlib
import re
import shutil
import threading
from base64 import b64decode
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from cellmae.errors import DataError
from cellmae.files import read_json, write_json
from cellmae.logging import logger

ATTEMPTS = 6  # in a row without a byte
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds
TIMEOUT = (20.0, 60.0)  # seconds to connect, and between two bytes
CHUNK = 2**16  # what a broken connection loses of what has come
RETRIED = {408, 425, 429, 500, 502, 503, 504}
RANGE = re.compile(r"bytes (?P<first>[0-9]+)-[0-9]+/(?P<total>[0-9]+|\*)")
DIGEST = re.compile(r"(?P<name>md5|sha1|sha256):(?P<hex>[0-9a-f]+)")


class StoppedError(Exception):
    """Raised in a thread whose download another one's failure has made pointless."""


class _InterruptedError(Exception):
    """A connection that broke, or a server that is busy: try again."""

    def __init__(self, reason: object, pause: float = 0.0) -> None:
        super().__init__(str(reason))
        self.pause = pause


class Client:
    """Downloads files, in several threads at once.

    Parameters
    ----------
    received
        Is told how many bytes have come, each time some have.
    pause
        Seconds before the first new attempt; each further one waits twice as long.
    """

    def __init__(self, received: Callable[[int], None] = lambda count: None, *, pause: float = FIRST_PAUSE) -> None:
        self._received = received
        self._pause = pause
        self._own = threading.local()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Make all downloads end with :class:`StoppedError`."""
        self._stopped.set()

    def get(self, url: str, **parameters: str) -> requests.Response:
        """Return the answer of a server, such as a listing; errors are those of :meth:`download`."""
        return self._persistently(lambda: self._request("GET", url, params=parameters))

    def size(self, url: str) -> int | None:
        """Return the bytes of a file; None where the server does not say. Errors are those of :meth:`download`."""
        answer = self._persistently(lambda: self._request("HEAD", url, allowed=(405, 501)))
        return _length(answer) if answer.ok else None

    def download(self, url: str, path: Path, *, size: int | None = None, digest: str | None = None) -> dict[str, Any]:
        """Download a file; what came earlier is kept if the file at the other end is still the same.

        Parameters
        ----------
        url
            Where it lies.
        path
            Where to put it. Until it is whole, it is called ``.NAME.part``.
        size
            Bytes that it must have, if known.
        digest
            What it must hash to, such as ``sha256:09af...``; left out, what the server says, if it does.

        Returns
        -------
        dict
            ``bytes`` and ``sha256`` of the file.

        Raises
        ------
        DataError
            If there is no such file, it has another size or digest, or the server cannot be reached.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        state = part.with_suffix(".part.json")
        published = self._persistently(lambda: self._fill(url, part, state, size), progress=lambda: _size(part))
        facts = {"bytes": _size(part), "sha256": _hexdigest(part, "sha256")}
        wanted = digest or published
        if wanted is not None:
            match = DIGEST.fullmatch(wanted.lower())
            if match is None:
                raise DataError(f"{wanted!r} is no checksum: write sha256: (or sha1:, md5:) and hexadecimal digits")
            found = _hexdigest(part, match["name"])
            if found != match["hex"]:
                part.unlink()
                raise DataError(
                    f"{url} has the {match['name']} {found}, expected {match['hex']}: it was damaged on the way, or "
                    "has changed; it was deleted, so fetch again, and if that does not help ask who publishes it"
                )
        part.replace(path)
        state.unlink(missing_ok=True)
        return facts

    def _persistently(self, attempt: Callable[[], Any], progress: Callable[[], int] = lambda: 0) -> Any:
        """Try until it succeeds; give up after several attempts that brought nothing new."""
        failures, reached = 0, progress()
        while True:
            try:
                return attempt()
            except (_InterruptedError, requests.ConnectionError, requests.Timeout) as error:
                failures = 1 if progress() > reached else failures + 1
                reached = max(reached, progress())
                if failures >= ATTEMPTS:
                    raise DataError(f"{error}: given up after {ATTEMPTS} attempts; fetch again to go on") from None
                pause = max(getattr(error, "pause", 0.0), self._pause * 2 ** (failures - 1))
                logger.warning("%s: trying again in %.1f s", error, pause)
                if self._stopped.wait(min(pause, LONGEST_PAUSE)):
                    raise StoppedError from None

    def _fill(self, url: str, part: Path, state: Path, size: int | None) -> str | None:
        """Download what is missing of a file; return the digest that the server publishes, if it does."""
        known = _state(state, url)
        have = _size(part) if known.get("validator") else 0
        if have and have == known["bytes"] and size in (None, have):
            return known["digest"]
        headers = {"Range": f"bytes={have}-", "If-Range": known["validator"]} if have else {}
        with self._request("GET", url, headers=headers, allowed=(416,), stream=True) as answer:
            match = RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            resumed = answer.status_code == 206 and match is not None and int(match["first"]) == have
            if answer.status_code in (206, 416) and not (resumed and _validator(answer) == known["validator"]):
                part.unlink(missing_ok=True)
                raise _InterruptedError(f"{url} has changed since its first part was fetched")
            total = _total(match) if resumed and match else _length(answer)
            if size is not None and total not in (None, size):
                raise DataError(f"{url} has {total} bytes, expected {size}: it has changed; fetch again")
            first = have if resumed else 0
            check_space(part.parent, (total or 0) - first)
            digest = _published(answer)
            write_json(state, {"url": url, "validator": _validator(answer), "bytes": total, "digest": digest})
            with part.open("ab" if resumed else "wb") as file:
                self._copy(answer, file.write)
        if (have := _size(part)) != (total if total is not None else size or have):
            raise _InterruptedError(f"{url} broke off after {have} of {total or size} bytes")
        return digest

    def _copy(self, answer: requests.Response, write: Callable[[bytes], Any]) -> None:
        try:
            for chunk in answer.iter_content(CHUNK):
                if self._stopped.is_set():
                    raise StoppedError
                write(chunk)
                self._received(len(chunk))
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
            raise _InterruptedError(f"{answer.url} broke off ({error})") from None

    def _request(
        self, method: str, url: str, *, allowed: Collection[int] = (), headers: Any = None, **options: Any
    ) -> requests.Response:
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
        headers = {"Accept-Encoding": "identity", "User-Agent": "cellmae", **(headers or {})}
        answer = self._own.session.request(
            method, url, headers=headers, timeout=TIMEOUT, allow_redirects=True, **options
        )
        if urlsplit(url).scheme == "https" and urlsplit(answer.url).scheme != "https":
            raise DataError(f"{url} leads to {answer.url}, which is not encrypted: nothing was fetched")
        if answer.status_code in RETRIED:
            after = answer.headers.get("Retry-After", "")
            raise _InterruptedError(
                f"{url}: {answer.status_code} {answer.reason}", float(after) if after.isdigit() else 0.0
            )
        if not answer.ok and answer.status_code not in allowed:
            raise DataError(
                f"{url}: {answer.status_code} {answer.reason}; check the address (screen.fetch.base_url), and whether "
                "it is open to everybody"
            )
        return answer


def check_space(folder: Path, needed: int) -> None:
    """Raise :class:`DataError` where a file system has less than this many bytes left."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(f"{folder} needs {needed / 1e9:.1f} GB more and has {free / 1e9:.1f} GB left: make room")


def _state(path: Path, url: str) -> dict[str, Any]:
    """Return what is known of a file that is partly there; nothing where it is of another address."""
    try:
        known = read_json(path)
    except DataError:
        return {}
    return known if isinstance(known, dict) and known.get("url") == url else {}


def _validator(answer: requests.Response) -> str | None:
    """Return what changes with the file: its strong entity tag or else its date."""
    tag = answer.headers.get("ETag")
    return tag if tag is not None and not tag.startswith("W/") else answer.headers.get("Last-Modified")


def _published(answer: requests.Response) -> str | None:
    """Return the MD5 digest that Google's storage sends along."""
    match = re.search(r"md5=([A-Za-z0-9+/]+=*)", answer.headers.get("x-goog-hash", ""))
    return f"md5:{b64decode(match[1]).hex()}" if match else None


def _length(answer: requests.Response) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() and "Content-Encoding" not in answer.headers else None


def _total(match: re.Match[str]) -> int | None:
    return int(match["total"]) if match["total"].isdigit() else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _hexdigest(path: Path, name: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()
