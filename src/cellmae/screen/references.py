"""From what a table calls a file to its path below the root; nothing that a table says leads outside."""

import os
import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cellmae.locations import is_remote
from cellmae.screen.patterns import size_and_time

ABSOLUTE = re.compile(r"/|[A-Za-z]:/|\w+://")
FOLDERS_KEPT = 4096


class References:
    """The files below a root, by any name that a table may have for them.

    Parameters
    ----------
    root
        Folder of the images, on disk or in object storage.
    prefix
        What the table calls the root: the beginning of its URLs, or a folder on another machine.
    """

    def __init__(self, root: Path, prefix: str | None = None) -> None:
        self.root = root
        self._real = None if is_remote(root) else Path(os.path.realpath(root))
        own = [str(root)] if self._real is None else [os.path.abspath(root), str(self._real)]
        self._prefixes = [_plain(name).rstrip("/") + "/" for name in [prefix, *own] if name]
        self._is_inside = lru_cache(FOLDERS_KEPT)(self._resolves_inside)
        self.has_folder = lru_cache(FOLDERS_KEPT)(self._has_folder)
        self._names = lru_cache(FOLDERS_KEPT)(self._list)

    def relative(self, name: str) -> str | None:
        """Return the path below the root of what a table calls ``name``; None where that leads outside.

        Paths are relative to the root, or absolute, or URLs; with ``/`` or ``\\``. Links may lead to other places
        below the root.
        """
        path = _plain(name)
        own = next((prefix for prefix in self._prefixes if path.startswith(prefix)), None)
        if own is None and ABSOLUTE.match(path):
            return None
        parts = [part for part in path.removeprefix(own or "").split("/") if part not in ("", ".")]
        if not parts or ".." in parts or "\0" in path:
            return None
        relative = "/".join(parts)
        folder = "/".join(parts[:-1])
        is_link = self._real is not None and os.path.islink(self.root / relative)
        return relative if self._is_inside(folder) and (not is_link or self._resolves_inside(relative)) else None

    def size_and_time(self, relative: str) -> tuple[int, int] | None:
        """Return bytes and modification time of a file below the root; None where there is none."""
        folder, _, name = relative.rpartition("/")
        return size_and_time(self.root / relative) if self._real or name in self._names(folder) else None

    def _has_folder(self, relative: str) -> bool:
        return (self.root / relative).is_dir()

    def _resolves_inside(self, relative: str) -> bool:
        if self._real is None:
            return True
        return Path(os.path.realpath(self.root / relative)).is_relative_to(self._real)

    def _list(self, folder: str) -> frozenset[str]:
        """List a folder in object storage, in one request for all its files."""
        try:
            return frozenset(path.name for path in (self.root / folder).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()


def _plain(name: str) -> str:
    path = unquote(urlsplit(name).path) if name.startswith("file:") else name
    return path.replace("\\", "/")
