"""How fast a plate is tiled, against only decoding the same files with the same library.

Every format is tiled as `snakemake tiles` does it, with quality measures, digests and all that is written; the floor
only reads and decodes the files, and for uncompressed TIFF, which is there for the asking, also cuts pixels to 8 bits
and writes them. Both use the same threads; megabytes are those of decoded pixels. Images look like cells under shot
noise, a few of them under many names, so that they lie in the page cache.
"""

import argparse
import io
import os
import resource
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import tifffile
import torch
from scipy import ndimage

from cellmae.tiles import tile_plate
from timing import Contestant, Row, ratio, report, speed, take_turns

CHANNELS = ("dna", "er", "rna", "agp", "mito")
TARGETS = {"png": 0.7, "tiff-lzw": 0.7, "tiff-deflate": 0.7, "tiff": 0.5}
COLUMNS = 24


def draw(edge: int, seed: int) -> np.ndarray:
    """Draw a plane uint16: blurred blobs over a background, counted as photons."""
    generator = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter((generator.random((edge, edge)) < 4e-4).astype(np.float32), 8) * 400
    return (10 * generator.poisson(20 + 180 * blobs)).clip(0, 65535).astype(np.uint16)


def write_png(path: Path, plane: np.ndarray) -> None:
    path.write_bytes(imagecodecs.png_encode(plane, level=6))


def tiff_writer(compression: str | None) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, plane: np.ndarray) -> None:
        tifffile.imwrite(path, plane, compression=compression, predictor=compression is not None or None)

    return write


WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "png": write_png,
    "tiff-lzw": tiff_writer("lzw"),
    "tiff-deflate": tiff_writer("zlib"),
    "tiff": tiff_writer(None),
}


def write_plate(folder: Path, form: str, *, fields: int, distinct: int, edge: int) -> pd.DataFrame:
    """Write the images of a plate and return its field table."""
    rows = []
    for field in range(fields):
        row, column = divmod(field, COLUMNS)
        facts: dict[str, Any] = {"plate": "p", "plate_name": "p", "batch": "p", "site": 1}
        facts |= {"well": f"{chr(ord('A') + row)}{column + 1:02d}", "row": row + 1, "column": column + 1}
        for number, channel in enumerate(CHANNELS):
            facts[f"path_{channel}"] = f"{field}_{channel}"
            path = folder / facts[f"path_{channel}"]
            if field < distinct:
                WRITERS[form](path, draw(edge, field * len(CHANNELS) + number))
            else:
                os.link(folder / f"{field % distinct}_{channel}", path)
        rows.append(facts)
    return pd.DataFrame(rows)


def decode(path: Path, form: str) -> np.ndarray:
    """Decode a file with the library that cellmae decodes it with."""
    data = path.read_bytes()
    return imagecodecs.png_decode(data) if form == "png" else tifffile.imread(io.BytesIO(data), maxworkers=1)


def contestants_of(folder: Path, form: str, fields: pd.DataFrame, args: argparse.Namespace) -> list[Contestant]:
    megabytes = len(fields) * len(CHANNELS) * args.edge**2 * 2 / 1e6

    def tile() -> None:
        tile_plate(
            fields,
            root=folder,
            channels=CHANNELS,
            store=folder / "tiles" / "p.zarr",
            table=folder / "tiles" / "p.parquet",
            manifest=folder / "tiles" / "p.json",
            size=256,
            range_percentiles=[0.1, 99.9],
            min_contrast=1.0,
            min_focus=1.0,
            max_saturated=0.1,
            max_lost_share=0.0,
            threads=args.threads,
        )

    def decode_field(row: Any) -> None:
        for number, channel in enumerate(CHANNELS):
            plane = decode(folder / getattr(row, f"path_{channel}"), form)
            if form == "tiff":
                path = folder / "floor.new" / f"{row.Index}_{number}"
                path.write_bytes((plane >> 4).astype(np.uint8).data)

    def floor() -> None:
        (folder / "floor.new").mkdir()
        with ThreadPoolExecutor(args.threads) as pool:
            list(pool.map(decode_field, fields.itertuples()))
        shutil.rmtree(folder / "floor", ignore_errors=True)  # as a store takes the place of the one before
        (folder / "floor.new").rename(folder / "floor")

    name = "decode, write 8 bits" if form == "tiff" else "decode"
    return [
        Contestant("cellmae", tile, megabytes, repeats=1),
        Contestant(name, floor, megabytes, repeats=1),
    ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", nargs="+", choices=WRITERS, default=list(WRITERS))
    parser.add_argument("--fields", type=int, default=384, help="fields of the plate")
    parser.add_argument("--distinct", type=int, default=8, help="fields that differ; the others are links to them")
    parser.add_argument("--edge", type=int, default=1080, help="edge of a field in pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where images and tiles are written")
    parser.add_argument("--csv", type=Path, help="file for the rows")
    return parser.parse_args()


def main() -> None:
    args = parse()
    rows: list[Row] = []
    for form in args.formats:
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            folder = Path(name)
            fields = write_plate(folder, form, fields=args.fields, distinct=args.distinct, edge=args.edge)
            contestants = contestants_of(folder, form, fields, args)
            for contestant in contestants:
                contestant.work()  # compiles, and fills the page cache
            turns = take_turns(contestants, rounds=args.rounds, seconds=0, device=torch.device("cpu"))
        floor = turns[contestants[1].name]
        rows += [
            {
                "format": form,
                "who": who,
                "MB/CPU-s": speed(own, cpu=True),
                "of the floor": ratio(own, floor, cpu=True),
                "MB/s": speed(own),
                "target": TARGETS[form] if who == "cellmae" else None,
            }
            for who, own in turns.items()
        ]
    report(rows, torch.device("cpu"), args.csv)
    print(f"largest memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
