"""Folders and files on disk or in object storage, by one name for both: a path, or a URL such as ``s3://bucket/key``.

Object storage is read by fsspec through universal_pathlib, with the options of its own configuration and of the
environment (``AWS_ENDPOINT_URL``, credentials, ...). A bucket that everybody may read needs none:
``FSSPEC_S3_ANON=true``.
"""

import importlib
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from cellmae.errors import ConfigError

EXTRA = "cellmae[cloud]"


def is_remote(path: str | Path) -> bool:
    """Say whether a path is a URL."""
    return "://" in str(path)


def location(path: str | Path, *, key: str) -> Path:
    """Return a path on disk as :class:`pathlib.Path`, and a URL as an object that can be used like one.

    Parameters
    ----------
    path
        Path or URL.
    key
        Key of the configuration that holds it, for messages.

    Raises
    ------
    ConfigError
        The URL is of an unknown kind, or what reads it is not installed.
    """
    if not is_remote(path):
        return Path(path)
    upath = importlib.import_module("upath")
    try:
        return cast("Path", upath.UPath(str(path)))
    except (ImportError, ValueError) as error:
        scheme = urlsplit(str(path)).scheme
        raise ConfigError(f"{key}: {scheme}:// cannot be read ({error}); pip install '{EXTRA}'") from None


def modification_time_ns(status: object) -> int:
    """Return the modification time of a ``stat()``; 0 where object storage knows of none."""
    known = getattr(status, "st_mtime_ns", None)
    return int(known if known is not None else 1e9 * (getattr(status, "st_mtime", None) or 0))
