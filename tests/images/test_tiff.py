"""The shapes of TIFF: z stacks, and plain pixels that are taken from the file without a copy."""

import itertools
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from cellmae.images import ImageFormat, UnreadableImageError, open_image
from cellmae.images import files as files_module
from cellmae.images.files import ImageFile, decode
from cellmae.images.image import MAX_FILE_BYTES

Z, C = 3, 2
STACK = np.random.default_rng(0).integers(0, 4000, (Z, C, 20, 30), dtype=np.uint16)
ORDERS = ["XY" + "".join(order) for order in itertools.permutations("ZCT")]


def write_hyperstack(path: Path, stack: np.ndarray, axes: str, **options: Any) -> None:
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": axes}, **options)


def write_ome(path: Path, stack: np.ndarray, order: str, **options: Any) -> None:
    """Write (z, channel, y, x) with pages in the order that OME calls ``order``: its third axis changes fastest."""
    axes = order[:1:-1]
    volume = stack[:, :, np.newaxis].transpose(*("ZCTYX".index(axis) for axis in axes + "YX"))
    options = {"photometric": "minisblack", **options}
    tifffile.imwrite(path, volume, ome=True, metadata={"axes": axes + "YX"}, **options)
    with tifffile.TiffFile(path) as tiff:
        assert f'DimensionOrder="{order}"' in tiff.ome_metadata


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
@pytest.mark.parametrize("kind", ["imagej", "shaped", *ORDERS])
def test_stacks_of_channels(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    path = tmp_path / "a.tif"
    if kind == "imagej":
        write_hyperstack(path, STACK, "ZCYX", **options)
    elif kind == "shaped":
        tifffile.imwrite(path, STACK, photometric="minisblack", metadata={"axes": "ZCYX"}, **options)
    else:
        write_ome(path, STACK, kind, **options)
    image = open_image(tmp_path, "a.tif")
    np.testing.assert_array_equal(image.planes(), STACK.max(axis=0))
    assert image.format() == ImageFormat(C, 20, 30, np.dtype(np.uint16))
    for z in range(Z):
        np.testing.assert_array_equal(open_image(tmp_path, "a.tif", z=z).planes(image.format()), STACK[z])
    with pytest.raises(UnreadableImageError, match="3 z planes, the plane 4 was asked for"):
        open_image(tmp_path, "a.tif", z=3).planes()


@pytest.mark.parametrize("kind", ["imagej", "XYZCT", "XYCZT"])
def test_stacks_of_one_channel(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tif"
    write_hyperstack(path, STACK[:, 0], "ZYX") if kind == "imagej" else write_ome(path, STACK[:, :1], kind)
    np.testing.assert_array_equal(open_image(tmp_path, "a.tif").planes(), STACK[:, 0].max(axis=0)[np.newaxis])
    np.testing.assert_array_equal(open_image(tmp_path, "a.tif", z=1).planes(), STACK[1, :1])


@pytest.mark.parametrize("kind", ["imagej", "XYZCT", "XYCZT"])
def test_channels_alone_are_no_stack(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tif"
    write_hyperstack(path, STACK[0], "CYX") if kind == "imagej" else write_ome(path, STACK[:1], kind)
    for z in (None, 1):
        np.testing.assert_array_equal(open_image(tmp_path, "a.tif", z=z).planes(), STACK[0])


@pytest.mark.parametrize("shape", [(2, 3, 2, 8, 8), (2, 3, 8, 8)])
def test_time_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    axes = "TZCYX" if len(shape) == 5 else "TZYX"
    for ome in (False, True):
        options = {"ome": True, "photometric": "minisblack"} if ome else {"imagej": True}
        tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint16), metadata={"axes": axes}, **options)
        for read in (ImageFile(tmp_path / "a.tif").format, ImageFile(tmp_path / "a.tif").planes):
            with pytest.raises(UnreadableImageError, match=r"a stack of shape .* expected \(y, x\)"):
                read()


@pytest.mark.parametrize("axes", ["QZCYX", "QQYX", "ZQCYX", "CQYX"])
def test_too_many_axes_are_refused(tmp_path: Path, axes: str) -> None:
    stack = np.zeros((*(2, 3, 2)[: len(axes) - 2], 8, 8), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", metadata={"axes": axes})
    with pytest.raises(UnreadableImageError, match="a stack of shape"):
        ImageFile(tmp_path / "a.tif").format()


def test_metadata_of_other_files_are_left_alone(tmp_path: Path) -> None:
    """The metadata tell of three planes, of which this file holds one."""
    write_ome(tmp_path / "all.tif", STACK[:, :1], "XYZCT")
    with tifffile.TiffFile(tmp_path / "all.tif") as tiff:
        description = tiff.ome_metadata
    tifffile.imwrite(tmp_path / "a.tif", STACK[0, 0], description=description, metadata=None)
    np.testing.assert_array_equal(ImageFile(tmp_path / "a.tif").planes(), STACK[0, :1])


def test_entities_in_metadata_are_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><OME><Pixels SizeZ="3">&c;</Pixels></OME>'
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for z in range(Z):
            tiff.write(STACK[z, 0], description=bomb if z == 0 else None, metadata=None, contiguous=False)
    with pytest.raises(UnreadableImageError, match="its metadata cannot be read"):
        ImageFile(tmp_path / "a.tif").format()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"tile": (16, 16)},
        {"rowsperstrip": 3},
        {"metadata": None},
        {"imagej": True},
        {"software": "odd", "align": 1},
        {"compression": "lzw"},
    ],
    ids=str,
)
@pytest.mark.parametrize("planes", [1, 3])
def test_pixels_are_those_of_tifffile(tmp_path: Path, dtype: str, options: dict[str, Any], planes: int) -> None:
    if options.get("imagej") and planes == 1:
        options = {**options, "metadata": {"axes": "YX"}}
    pixels = np.random.default_rng(1).integers(0, 256, (planes, 20, 31)).astype(dtype)
    written = pixels[0] if planes == 1 else pixels
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, written, photometric="minisblack", **options)
    found = ImageFile(path).planes()
    np.testing.assert_array_equal(found, pixels)
    np.testing.assert_array_equal(tifffile.imread(path).squeeze(), written.squeeze())
    assert found.dtype == np.dtype(dtype)
    assert found.flags.c_contiguous


def tiff_at(offset: int, pixels: np.ndarray, order: str = "<") -> bytes:
    """A TIFF of one strip, whose pixels begin at an offset."""
    height, width = pixels.shape
    kind = {"u": 1, "f": 3}[pixels.dtype.kind]
    entries = [(256, 4, width), (257, 4, height), (258, 3, pixels.itemsize * 8), (259, 3, 1), (262, 3, 1)]
    entries += [(273, 4, offset), (277, 3, 1), (278, 4, height), (279, 4, pixels.nbytes), (339, 3, kind)]
    header = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8) + struct.pack(
        order + "H", len(entries)
    )
    for tag, form, value in entries:
        packed = struct.pack(order + "HH", value, 0) if form == 3 else struct.pack(order + "I", value)
        header += struct.pack(order + "HHI", tag, form, 1) + packed
    header += bytes(4)
    assert offset >= len(header)
    return header.ljust(offset, b"\0") + pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("offset", [200, 201, 202, 203, 207])
def test_pixels_at_odd_offsets(dtype: str, order: str, offset: int) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (7, 5)).astype(dtype)
    found = decode(tiff_at(offset, pixels, order), None)
    np.testing.assert_array_equal(found, pixels[np.newaxis])
    assert found.flags.aligned
    assert found.dtype == np.dtype(dtype)


@pytest.mark.parametrize("axes", ["YX", "CYX", "ZYX"])
def test_plain_pixels_are_not_copied(tmp_path: Path, axes: str) -> None:
    path = tmp_path / "a.tif"
    pixels = STACK[:, 0] if len(axes) == 3 else STACK[0, 0]
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": axes})
    data = path.read_bytes()
    shares = np.shares_memory(decode(data, None), np.frombuffer(data, np.uint8))
    assert shares == (axes != "ZYX")  # a projection is new


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
@pytest.mark.parametrize("kind", ["imagej", "shaped", "XYZCT"])
def test_a_stack_that_is_cut_off_is_noticed_wherever_it_is(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    """Of one channel, so that fewer planes have the format of all."""
    path = tmp_path / "a.tif"
    if kind == "imagej":
        write_hyperstack(path, STACK[:, 0], "ZYX", **options)
    elif kind == "shaped":
        tifffile.imwrite(path, STACK[:, 0], photometric="minisblack", metadata={"axes": "ZYX"}, **options)
    else:
        write_ome(path, STACK[:, :1], kind, **options)
    data = path.read_bytes()
    whole = ImageFormat(1, 20, 30, np.dtype(np.uint16))
    refused = 0
    for end in range(len(data) - 1, 0, -7):
        path.write_bytes(data[:end])
        try:
            pixels = ImageFile(path).planes(whole)
        except UnreadableImageError:
            refused += 1
        else:  # what is missing tells nothing of pixels, such as the resolution
            np.testing.assert_array_equal(pixels, STACK[:, 0].max(axis=0)[np.newaxis])
    assert refused > 0.95 * len(data) / 7


def test_a_stack_that_asks_for_too_much_is_refused_before_decoding(tmp_path: Path) -> None:
    """Each plane is small, and so is the file: all pages have the same compressed strip."""
    strip = zlib.compress(bytes(4096 * 4096))
    pages = MAX_FILE_BYTES // 4096**2 + 1
    description = f'<OME><Pixels DimensionOrder="XYZCT" SizeZ="{pages}"/></OME>'.encode().ljust(128)
    tags = [(256, 4, 1, 4096), (257, 4, 1, 4096), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    tags += [(270, 2, 128, 8 + len(strip)), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 4096), (279, 4, 1, len(strip))]
    entries = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    first, step = 8 + len(strip) + 128, len(entries) + 4
    following = [first + step * page for page in range(1, pages)] + [0]
    data = b"".join(entries + struct.pack("<I", offset) for offset in following)
    (tmp_path / "a.tif").write_bytes(struct.pack("<2sHI", b"II", 42, first) + strip + description + data)
    assert (tmp_path / "a.tif").stat().st_size < 2**20
    with pytest.raises(UnreadableImageError, match=f"the header asks for {pages} z planes of .* more than"):
        ImageFile(tmp_path / "a.tif").planes()


def test_large_files_are_refused_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    with path.open("wb") as file:  # sparse: it takes no room
        file.truncate(MAX_FILE_BYTES + 1)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("the file was read"))
    with pytest.raises(UnreadableImageError, match=f"a file of {MAX_FILE_BYTES + 1} bytes, more than"):
        ImageFile(path).planes()
    monkeypatch.setattr(files_module, "MAX_FILE_BYTES", 200)
    tifffile.imwrite(path, STACK[0, 0])
    with pytest.raises(UnreadableImageError, match="more than 200"):
        ImageFile(path).planes()


@pytest.mark.parametrize("compression", ["lzw", "zlib"])
@pytest.mark.parametrize("predictor", [None, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("options", [{}, {"rowsperstrip": 7}, {"byteorder": ">"}, {"tile": (16, 16)}])
def test_compressed_strips_are_those_of_tifffile(tmp_path: Path, compression, predictor, dtype, options) -> None:
    pixels = np.random.default_rng(0).integers(0, 250, (3, 45, 52)).astype(dtype)
    options = {"compression": compression, "predictor": predictor, "photometric": "minisblack", **options}
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    planes = ImageFile(tmp_path / "a.tif").planes()
    assert planes.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(planes, pixels)


@pytest.mark.parametrize("compression", ["lzw", "zlib"])
def test_a_strip_that_unpacks_to_too_little_is_refused(tmp_path: Path, compression) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint16), compression=compression, rowsperstrip=32)
    with tifffile.TiffFile(path) as tiff:
        start, count = tiff.pages[0].dataoffsets[1], tiff.pages[0].databytecounts[1]
    data = bytearray(path.read_bytes())
    encode = imagecodecs.lzw_encode if compression == "lzw" else imagecodecs.zlib_encode
    short = encode(bytes(16))
    assert len(short) <= count
    data[start : start + len(short)] = short
    path.write_bytes(data)
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        ImageFile(path).planes()
