"""Unpacks archives from elsewhere: nothing leaves the folder, and nothing grows out of all proportion."""

import errno
import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cellmae.errors import DataError
from cellmae.files import remove
from cellmae.screen.fetching.http import check_space

LARGEST_RATIO = 200  # of unpacked to packed bytes; zip bombs begin at a thousand
SMALL = 2**24  # bytes that are no bomb whatever their ratio
MOST_MEMBERS = 10_000_000
CHUNK = 2**20
BROKEN = (
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
)
OF_DAMAGE = {None, errno.EINVAL, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EILSEQ}
"""What the system says to offsets and names that damage made up, and unpackers of damage; a full disk is no damage."""


def is_archive(name: str) -> bool:
    """Say whether a file's name is that of an archive that can be unpacked."""
    return name.endswith((".zip", ".tar.gz", ".tgz", ".tar"))


def unpack(archive: Path, folder: Path, *, strip: str = "") -> int:
    """Unpack an archive into a folder, in which files of the same name are replaced.

    It is unpacked beside, and takes its place only when all of it is there and right.

    Parameters
    ----------
    archive
        ``.zip``, ``.tar``, ``.tar.gz`` or ``.tgz``.
    folder
        Where to put the content.
    strip
        A folder in the archive whose content belongs into ``folder`` itself.

    Returns
    -------
    int
        The number of files.

    Raises
    ------
    DataError
        If the archive is damaged; a name leads out of the folder, or occurs twice; a member is a link, a device or
        encrypted; what is unpacked would be suspiciously large, or not fit on the disk. Then nothing was unpacked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{archive.name}.unpacked"
    remove(beside)
    beside.mkdir()
    try:
        count = _unpack(archive, beside)
        if strip and (beside / strip).is_dir():
            _move(beside / strip, folder)
            remove(beside / strip)
        _move(beside, folder)
        return count
    except BROKEN as error:
        raise DataError(f"{archive} is damaged ({error}): delete it and fetch again") from None
    except OSError as error:
        if error.errno not in OF_DAMAGE:
            raise
        raise DataError(f"{archive} is damaged ({error.strerror or error}): delete it and fetch again") from None
    finally:
        remove(beside)


def _unpack(archive: Path, folder: Path) -> int:
    limit = max(LARGEST_RATIO * archive.stat().st_size, SMALL)
    total, seen = 0, set[Path]()
    with _members(archive) as members:
        for name, size, opened in members:
            target = folder.joinpath(*_parts(archive, name))
            total += size
            if total > limit or len(seen) >= MOST_MEMBERS:
                raise DataError(
                    f"{archive} would unpack to more than {limit / 1e9:.1f} GB or {MOST_MEMBERS} files, which no "
                    "screen does: it was not unpacked"
                )
            if target in seen:
                raise DataError(f"{archive} holds {name!r} twice: it was not unpacked")
            seen.add(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened as source, target.open("xb") as file:
                _copy(source, file, size, archive)
    return len(seen)


def _copy(source: IO[bytes], file: IO[bytes], size: int, archive: Path) -> None:
    left = size
    while chunk := source.read(CHUNK):
        left -= len(chunk)
        if left < 0:
            break
        file.write(chunk)
    if left:
        raise DataError(f"{archive} is damaged (a member is not as long as it says): delete it and fetch again")


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[tuple[str, int, IO[bytes]]]]:
    """Yield the names, the sizes and the content of the files in an archive."""
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            check_space(archive.parent, sum(member.file_size for member in packed.infolist()))
            yield _zip_members(archive, packed)
    else:
        opener = open if archive.name.endswith(".tar") else gzip.open
        with opener(archive, "rb") as file, tarfile.open(fileobj=file, mode="r|") as stream:
            yield _tar_members(archive, stream)
            while file.read(CHUNK):  # the checksum comes last
                pass


def _zip_members(archive: Path, packed: zipfile.ZipFile) -> Iterator[tuple[str, int, IO[bytes]]]:
    for member in packed.infolist():
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _special(archive, member.filename)
        if member.file_size > max(SMALL, LARGEST_RATIO * member.compress_size):
            raise DataError(f"{archive}: {member.filename!r} grows {LARGEST_RATIO}-fold and more: it was not unpacked")
        _parts(archive, member.filename)
        if not member.is_dir():
            yield member.filename, member.file_size, packed.open(member)


def _tar_members(archive: Path, stream: tarfile.TarFile) -> Iterator[tuple[str, int, IO[bytes]]]:
    for member in stream:
        if not (member.isfile() or member.isdir()) or member.issparse():
            raise _special(archive, member.name)
        content = stream.extractfile(member)
        if content is None:
            _parts(archive, member.name)
        else:
            check_space(archive.parent, member.size)
            yield member.name, member.size, content


def _special(archive: Path, name: str) -> DataError:
    return DataError(f"{archive}: {name!r} is a link, a device or the like, not a file: it was not unpacked")


def _parts(archive: Path, name: str) -> list[str]:
    """Return the folders and the name of a member; :class:`DataError` where they lead elsewhere."""
    parts = [part for part in name.rstrip("/").split("/") if part != "."]
    if not parts or any(part in ("", "..") or set(part) & set("\\:\0") for part in parts):
        raise DataError(f"{archive}: {name!r} leads out of the folder: it was not unpacked")
    return parts


def _move(inner: Path, folder: Path) -> None:
    """Move the content of a folder into another one, where folders of the same name are joined."""
    for entry in sorted(inner.iterdir()):
        target = folder / entry.name
        if entry.is_dir() and target.is_dir():
            _move(entry, target)
        elif target.is_dir():
            raise DataError(f"{target} is a folder where the archive has a file: move it away and fetch again")
        else:
            os.replace(entry, target)
