"""Images in rows of Parquet files."""

from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile

from cellmae.images import ImageFormat, UnreadableImageError, open_image

PIXELS = [np.random.default_rng(seed).integers(0, 256, (32, 24), dtype=np.uint8) for seed in range(7)]
ENCODED = [imagecodecs.jpeg2k_encode(pixels, level=0) for pixels in PIXELS]
FORMS = ["struct", "bytes", "large"]


def write(path: Path, form: str, images: list[bytes | None] = ENCODED, *, rows_a_group: int = 3) -> None:
    names = [f"image {number}" for number in range(len(images))]
    if form == "struct":  # as the library datasets writes images
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        rows = [
            None if data is None else {"bytes": data, "path": name} for data, name in zip(images, names, strict=True)
        ]
        column = pa.array(rows, kind)
    else:
        column = pa.array(images, pa.binary() if form == "bytes" else pa.large_binary())
    pq.write_table(pa.table({"__key__": names, "image": column}), path, row_group_size=rows_a_group)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows_a_group", [1, 3, 100])
def test_every_row_is_its_image(tmp_path: Path, form: str, rows_a_group: int) -> None:
    write(tmp_path / "a.parquet", form, rows_a_group=rows_a_group)
    for row in (6, 0, 3, 2, 1, 4, 5):
        image = open_image(tmp_path, f"a.parquet#{row}")
        np.testing.assert_array_equal(image.planes(), PIXELS[row][np.newaxis])
        assert image.format() == ImageFormat(1, 32, 24, np.dtype(np.uint8))


@pytest.mark.parametrize("form", FORMS)
def test_a_row_beyond_the_last_says_how_many_there_are(tmp_path: Path, form: str) -> None:
    write(tmp_path / "a.parquet", form)
    image = open_image(tmp_path, "a.parquet#7")
    for read in (image.format, image.planes):
        with pytest.raises(UnreadableImageError, match=r"a.parquet#7: the file has 7 rows"):
            read()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("data", [None, b""])
def test_rows_without_an_image_are_empty_files(tmp_path: Path, form: str, data: bytes | None) -> None:
    write(tmp_path / "a.parquet", form, [ENCODED[0], data, ENCODED[2]])
    with pytest.raises(UnreadableImageError, match=r"a.parquet#1: file is empty"):
        open_image(tmp_path, "a.parquet#1").planes()
    np.testing.assert_array_equal(open_image(tmp_path, "a.parquet#2").planes()[0], PIXELS[2])


def test_a_struct_whose_bytes_are_null_is_an_empty_file(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array([{"bytes": None, "path": "a.jp2"}], kind)}), tmp_path / "a.parquet")
    with pytest.raises(UnreadableImageError, match="file is empty"):
        open_image(tmp_path, "a.parquet#0").planes()


def test_a_damaged_image_names_its_row(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", "bytes", [ENCODED[0], ENCODED[1][:-200], b"GIF89a"])
    with pytest.raises(UnreadableImageError, match=r"a.parquet#1: truncated"):
        open_image(tmp_path, "a.parquet#1").planes()
    with pytest.raises(UnreadableImageError, match=r"a.parquet#2: neither PNG, TIFF nor JPEG 2000"):
        open_image(tmp_path, "a.parquet#2").planes()


def test_files_without_images(tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": ["a"], "number": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UnreadableImageError, match="no column holds bytes; there are key, number"):
        open_image(tmp_path, "a.parquet#0").planes()
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        open_image(tmp_path, "b.parquet#0").planes()
    with pytest.raises(UnreadableImageError, match="file is missing"):
        open_image(tmp_path, "c.parquet#0").planes()


def test_a_stack_in_a_row(tmp_path: Path) -> None:
    stack = np.stack(PIXELS[:3])
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    write(tmp_path / "a.parquet", "bytes", [(tmp_path / "a.tif").read_bytes()])
    np.testing.assert_array_equal(open_image(tmp_path, "a.parquet#0").planes(), stack.max(axis=0)[np.newaxis])
    np.testing.assert_array_equal(open_image(tmp_path, "a.parquet#0", z=1).planes(), stack[1:2])
