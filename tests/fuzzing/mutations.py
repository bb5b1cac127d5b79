"""Mutates image files and archives and reads them: a child process of the tests, with a limit of memory.

    python mutations.py KIND SECONDS SEED FOLDER

What goes wrong is left in FOLDER; the exit status says whether anything did. An alarm ends a reader that hangs. Files
that once went wrong lie in ``found/`` and come first.
"""

import contextlib
import io
import random
import resource
import signal
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile

from cellmae.errors import CellmaeError
from cellmae.images import UnreadableImageError, open_image
from cellmae.screen.fetching.archives import unpack

MEMORY = 2 * 2**30  # beyond what the process has when it begins
READING_SECONDS = 20
FOUND = Path(__file__).with_name("found")
PIXELS = np.random.default_rng(0).integers(0, 4000, (24, 32), dtype=np.uint16)
DICTIONARY = [b"\0", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"../", b"\xff\xd9"]


def tiff(**options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.stack([PIXELS, PIXELS + 1]), photometric="minisblack", **options)
    return file.getvalue()


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"image": pa.array([imagecodecs.png_encode(PIXELS)] * 2, pa.binary())}), file)
    return file.getvalue()


def archive_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a/one.txt", "one" * 50)
        opened.writestr("two.txt", "two")
    return file.getvalue()


def archive_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as opened:
        for name in ("a/one.txt", "two.txt"):
            facts = tarfile.TarInfo(name)
            facts.size = 6
            opened.addfile(facts, io.BytesIO(b"onetwo"))
    return file.getvalue()


IMAGES: dict[str, list[Callable[[], bytes]]] = {
    "png": [lambda: imagecodecs.png_encode(PIXELS), lambda: imagecodecs.png_encode(PIXELS.astype(np.uint8))],
    "tiff": [
        tiff,
        lambda: tiff(compression="lzw", predictor=True),
        lambda: tiff(compression="zlib", rowsperstrip=5),
        lambda: tiff(tile=(16, 16)),
        lambda: tiff(ome=True, metadata={"axes": "CYX"}),
        lambda: tiff(imagej=True),
        lambda: tiff(bigtiff=True, byteorder=">"),
    ],
    "jpeg2000": [
        lambda: imagecodecs.jpeg2k_encode(PIXELS, reversible=True),
        lambda: imagecodecs.jpeg2k_encode(PIXELS, codecformat="j2k", level=30),
    ],
    "parquet": [parquet],
}
ARCHIVES = {"zip": archive_zip, "tar.gz": archive_tar}


def mutate(content: bytes, chance: random.Random) -> bytes:
    """Change, insert, remove, repeat or cut off some bytes; early ones, in headers, more often."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 4, 16])):
        place = int(len(data) * chance.random() ** chance.choice([1, 3]))
        length = chance.choice([1, 1, 2, 4, 30])
        match chance.randrange(6):
            case 0:
                data[place : place + 1] = (
                    bytes([data[place] ^ (1 << chance.randrange(8))]) if place < len(data) else b""
                )
            case 1:
                piece = chance.choice(DICTIONARY)
                data[place : place + len(piece)] = piece
            case 2:
                data[place : place + length] = chance.randbytes(length)
            case 3:
                data[place:place] = chance.randbytes(length)
            case 4:
                del data[place : place + length]
            case 5:
                data = data[: max(place, 1)] if chance.random() < 0.3 else data + data[place : place + length]
    return bytes(data)


def check_image(path: Path, reference: str) -> str | None:
    """Read an image in both ways; return what is wrong with how that ended."""
    image = open_image(path.parent, reference)
    try:
        form = image.format()
    except UnreadableImageError:
        form = None
    try:
        pixels = image.planes(form)
    except UnreadableImageError:
        return None
    if form is None:
        return "pixels of a file without a header"
    if pixels.shape != form.shape or pixels.dtype != form.dtype:
        return f"{pixels.shape} {pixels.dtype} where the header says {form}"
    return None


def check_archive(path: Path, suffix: str) -> str | None:
    """Unpack an archive; return what is wrong with how that ended."""
    place = path.parent / "unpacked" / "here"
    place.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(CellmaeError):
        unpack(path, place)
    outside = [
        other
        for other in path.parent.rglob("*")
        if other.is_file() and place not in other.parents and other != path and not other.name.startswith("found-")
    ]
    return f"{outside} outside of the folder" if outside else None


def attempt(check: Callable[[Path, str], str | None], path: Path, reference: str) -> str | None:
    signal.alarm(READING_SECONDS)
    try:
        return check(path, reference)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)


def contents(kind: str, seconds: float, chance: random.Random) -> Iterator[bytes]:
    """Yield what went wrong before, then mutations until the time is up."""
    for path in sorted(FOUND.glob(f"{kind}-*.bin")):
        yield path.read_bytes()
    wholes = [ARCHIVES[kind]()] if kind in ARCHIVES else [make() for make in IMAGES[kind]]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield mutate(chance.choice(wholes), chance)


def main(kind: str, seconds: float, seed: int, folder: Path) -> int:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    tried, found = 0, 0
    suffix = kind if kind in ARCHIVES else {"parquet": "parquet"}.get(kind, "img")
    check = check_archive if kind in ARCHIVES else check_image
    for content in contents(kind, seconds, random.Random(seed)):
        path = folder / f"{tried}.{suffix}"  # a name of its own: readers keep open files
        path.write_bytes(content)
        wrong = attempt(check, path, f"{path.name}#1" if kind == "parquet" else path.name)
        tried += 1
        if wrong:
            found += 1
            (folder / f"found-{kind}-{found}.bin").write_bytes(content)
            print(f"{kind} {found}: {wrong}", flush=True)
        path.unlink()
    print(f"{kind}: {tried} files, {found} found", flush=True)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
