"""Finds images by a pattern of their paths, such as ``images/{plate}/{well}_s{site}_w{channel}.tif``."""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cellmae.errors import ConfigError, DataError
from cellmae.locations import is_remote, modification_time_ns
from cellmae.screen.listing import listing
from cellmae.screen.wells import parse_wells

PLACEHOLDERS = {
    "batch": r"[^/]+",
    "plate": r"[^/]+",
    "well": r"[A-Za-z]{1,2}(?: ?- ?)?[0-9]{1,3}|[Rr][0-9]{1,2}[Cc][0-9]{1,2}",
    "row": r"[A-Za-z]{1,2}|[0-9]{1,2}",
    "column": r"[0-9]{1,2}",
    "site": r"[0-9]+",
    "channel": r"[^/]+?",
    "z": r"[0-9]+",
}
PLATE_KEYS = ("batch", "plate")
TOKEN = re.compile(r"\{(\w*)\}|(\*+)")


@dataclass(frozen=True)
class PlateFolders:
    """Plates that have images.

    Attributes
    ----------
    plates
        A row a plate; a column for each of ``batch`` and ``plate`` that the pattern holds.
    visited
        The folders in which a new plate would appear.
    """

    plates: pd.DataFrame
    visited: list[Path]


class FilePattern:
    """A pattern of the paths of images, relative to a folder.

    It holds the placeholders ``{plate}``, ``{batch}``, ``{well}`` (or ``{row}`` and ``{column}``), ``{site}``,
    ``{channel}``, ``{z}`` (the plane of a stack), and ``*`` for any other text within a name. Hidden files are passed
    over. Links are followed, so that plates may lie in an archive elsewhere; what is found is always named by its
    path below the folder.

    Parameters
    ----------
    pattern
        Slash-separated, without ``..``.
    channel_ids
        What stands for ``{channel}`` in the names of the files that matter.
    key
        Key of the configuration that holds the pattern, for messages.
    needs_well
        Whether the paths must name a well.
    """

    def __init__(
        self,
        pattern: str,
        channel_ids: Sequence[str] = (),
        *,
        key: str = "screen.pattern",
        needs_well: bool = True,
    ) -> None:
        self.pattern = pattern
        self.key = key
        self.channel_ids = list(channel_ids)
        self._segments = pattern.split("/")
        names = [match.group(1) for match in TOKEN.finditer(pattern) if match.group(1) is not None]
        self.placeholders = set(names)
        self._check(needs_well)
        known = "|".join(re.escape(name) for name in sorted(self.channel_ids, key=len, reverse=True))
        self._expressions = PLACEHOLDERS | ({"channel": f"{known}|[^/]+?"} if known else {})

    def _check(self, needs_well: bool) -> None:
        unknown = self.placeholders - set(PLACEHOLDERS)
        if unknown:
            expected = listing(f"{{{name}}}" for name in PLACEHOLDERS)
            raise ConfigError(f"{self.key}: unknown placeholder {{{min(unknown)}}}; known are {expected} and *")
        if not {".", "..", ""}.isdisjoint(self._segments):
            raise ConfigError(f"{self.key}: {self.pattern!r} must lead from screen.root downwards, without .. or //")
        if needs_well and "well" not in self.placeholders and not {"row", "column"} <= self.placeholders:
            raise ConfigError(f"{self.key}: {self.pattern!r} needs {{well}}, or {{row}} and {{column}}")

    def find(
        self, root: Path, plate: Mapping[str, str] | None = None, visited: list[Path] | None = None
    ) -> Iterator[tuple[dict[str, str], Path]]:
        """Yield what matches, of one plate or of all, with the values of the placeholders.

        ``visited`` is extended by the folders in which a new match would appear.
        """
        bound = {key: value for key, value in (plate or {}).items() if key in self.placeholders}
        yield from self._descend(root, self._segments, bound, [] if visited is None else visited)

    def plates(self, root: Path) -> PlateFolders:
        """Find the plates that have at least one image, as far as the pattern tells plates apart.

        Raises
        ------
        ConfigError
            If no file matches the pattern.
        """
        keys = [key for key in PLATE_KEYS if key in self.placeholders]
        depth = max(
            (i for i, part in enumerate(self._segments, 1) if any(f"{{{key}}}" in part for key in keys)), default=1
        )
        upper, lower = self._segments[:depth], self._segments[depth:]
        visited: list[Path] = []
        found: set[tuple[str, ...]] = set()
        for values, path in self._descend(root, upper, {}, visited):
            plate = tuple(values[key] for key in keys)
            if plate not in found and any(self._descend(path, lower, values, visited)):
                found.add(plate)
        if not found:
            raise ConfigError(
                f"{self.key}: no file below {root} matches {self.pattern!r}; the folder holds "
                f"{listing(sorted(entries(root)), 5) or 'nothing'}"
            )
        plates = pd.DataFrame(sorted(found), columns=keys, index=range(len(found)), dtype="object")
        return PlateFolders(plates, visited)

    def images(self, root: Path, plate: Mapping[str, str]) -> pd.DataFrame:
        """List the images of one plate.

        Parameters
        ----------
        root
            Folder to which the pattern is relative.
        plate
            ``batch`` and ``plate``, as far as they are in the pattern.

        Returns
        -------
        pandas.DataFrame
            A row a file: ``well`` (A01 form), ``row``, ``column``, ``site`` (1 without ``{site}``), ``channel`` (as
            in the file's name; null without ``{channel}``), ``z`` (1 without ``{z}``), ``path`` (relative to
            ``root``), ``size`` (bytes) and ``mtime_ns``; files of other channels than ``channel_ids`` are left out.

        Raises
        ------
        DataError
            If there are images, but none of the channels.
        """
        rows = []
        for values, path in self.find(root, plate):
            facts = size_and_time(path)
            if facts is not None:
                relative = path.relative_to(root).as_posix()
                site, z = int(values.get("site", 1)), int(values.get("z", 1))
                rows.append((_well(values), site, values.get("channel"), z, relative, *facts))
        files = pd.DataFrame(rows, columns=["well", "site", "channel", "z", "path", "size", "mtime_ns"])
        if "channel" in self.placeholders:
            wanted = files["channel"].isin(self.channel_ids)
            if len(files) and not wanted.any():
                found = listing(files["channel"].unique())
                raise DataError(
                    f"the images of the plate {' '.join(plate.values())} have the channels {found}; "
                    f"screen.channel_ids expects {listing(self.channel_ids)}: correct the one that is wrong"
                )
            files = files[wanted].reset_index(drop=True)
        wells = parse_wells(files["well"])
        return pd.concat([wells, files.drop(columns="well")], axis=1)

    def _descend(
        self, folder: Path, segments: Sequence[str], values: Mapping[str, str], visited: list[Path]
    ) -> Iterator[tuple[dict[str, str], Path]]:
        """Yield what matches the segments below a folder, with the values of the placeholders."""
        if not segments:
            yield dict(values), folder
            return
        for found, path in self._matches(folder, segments[0], values, visited):
            yield from self._descend(path, segments[1:], found, visited)

    def _matches(
        self, folder: Path, segment: str, values: Mapping[str, str], visited: list[Path]
    ) -> Iterator[tuple[dict[str, str], Path]]:
        names = [match.group(1) for match in TOKEN.finditer(segment)]
        if all(name in values for name in names):
            literal = TOKEN.sub(lambda match: values[match.group(1)], segment)
            if "/" in literal or literal in (".", ".."):
                return
            if (folder / literal).exists():
                yield dict(values), folder / literal
            else:
                visited.append(folder)
            return
        visited.append(folder)
        expression = self._expression(segment)
        for name in entries(folder):
            match = expression.fullmatch(name)
            if match is None or (name.startswith(".") and not segment.startswith(".")):
                continue
            found = match.groupdict()
            if all(values.get(key, value) == value for key, value in found.items()):
                yield {**values, **found}, folder / name

    def _expression(self, segment: str) -> re.Pattern[str]:
        """Turn a segment into a regular expression with a named group a placeholder."""
        parts, end, seen = [], 0, set()
        for match in TOKEN.finditer(segment):
            name = match.group(1)
            parts.append(re.escape(segment[end : match.start()]))
            if name is None:
                parts.append("[^/]*")
            else:
                parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{self._expressions[name]})")
                seen.add(name)
            end = match.end()
        return re.compile("".join(parts) + re.escape(segment[end:]))


def _well(values: Mapping[str, str]) -> str:
    if "well" in values:
        return values["well"]
    row, column = values["row"], values["column"]
    return f"r{row}c{column}" if row.isdecimal() else f"{row}{column}"


def entries(folder: Path) -> Iterator[str]:
    """Yield the names in a folder, in no order; none where there is no folder."""
    try:
        if is_remote(folder):
            yield from (path.name for path in folder.iterdir())
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                yield entry.name
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise DataError(f"{folder} cannot be listed ({error.strerror or error}): check the permissions") from None


def size_and_time(path: Path) -> tuple[int, int] | None:
    """Return bytes and modification time of a file; None for a folder or a link that leads nowhere."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_size, modification_time_ns(status)) if stat.S_ISREG(status.st_mode) else None
