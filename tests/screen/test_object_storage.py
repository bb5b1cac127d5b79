"""Plates in object storage: the same tables and tiles as from a copy on disk."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cellmae.errors import ConfigError
from cellmae.locations import location
from cellmae.screen import index_fields, index_wells, plates
from cellmae.tiles import open_store, tile_plate

from .layouts.end_to_end import write_image

MAP = "plate,well,compound\nP1,A01,DMSO\nP1,A02,taxol\n"
PATTERN = {
    "layout": "pattern", "channels": ["dna", "actin"], "batch": "plate", "controls": ["DMSO"], "plate_map": "map.csv",
    "pattern": "{plate}/{well}_s{site}_w{channel}.tif", "columns": {"plate": "plate", "perturbation": "compound"},
}  # fmt: skip


@pytest.fixture(scope="module")
def storage() -> Iterator[pytest.MonkeyPatch]:
    """A server that speaks S3 on this machine, for as long as the module is tested."""
    server_module = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    patch = pytest.MonkeyPatch()
    names = {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "someone", "SECRET_ACCESS_KEY": "something"}
    for name, value in names.items():
        patch.setenv(f"AWS_{name}", value)
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield patch
    patch.undo()
    server.stop()


@pytest.fixture
def screens(tmp_path: Path, storage: pytest.MonkeyPatch) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same screen on disk and in a bucket."""
    root = tmp_path / "plates"
    for seed, (well, channel) in enumerate((well, channel) for well in ("A01", "A02") for channel in (1, 2)):
        write_image(root / f"P1/{well}_s1_w{channel}.tif", seed)
    (root / "map.csv").write_text(MAP)
    bucket = location("s3://screens", key="screen.root")
    bucket.mkdir(exist_ok=True)
    for path in root.rglob("*"):
        if path.is_file():
            (bucket / "first" / path.relative_to(root).as_posix()).write_bytes(path.read_bytes())
    return PATTERN | {"root": str(root)}, PATTERN | {"root": "s3://screens/first"}


def tile(screen: dict[str, Any], out: Path) -> tuple[str, ...]:
    tile_plate(
        index_fields(screen, "P1"),
        root=location(screen["root"], key="screen.root"),
        channels=screen["channels"],
        store=out / "P1.zarr",
        table=out / "P1.parquet",
        manifest=out / "P1.json",
        size=16,
        range_percentiles=(0, 100),
        min_contrast=0,
        min_focus=0,
        max_saturated=1,
        max_lost_share=0,
        threads=2,
    )
    return open_store(out / "P1.zarr", verify=True).digests


def test_plates_in_a_bucket_equal_those_on_disk(screens, tmp_path: Path) -> None:
    disk, bucket = screens
    assert list(plates(bucket)) == list(plates(disk)) == ["P1"]
    assert index_wells(bucket, "P1").equals(index_wells(disk, "P1"))
    there, here = index_fields(bucket, "P1"), index_fields(disk, "P1")
    assert there.drop(columns="mtime_ns").equals(here.drop(columns="mtime_ns"))
    assert (there["mtime_ns"] > 0).all()
    assert tile(bucket, tmp_path / "bucket") == tile(disk, tmp_path / "disk")


def test_the_survey_of_a_bucket_is_kept(screens, tmp_path: Path) -> None:
    _, bucket = screens
    cache = tmp_path / "plates.json"
    first = plates(bucket, cache=cache)
    written = cache.read_bytes()
    assert plates(bucket, cache=cache) == first
    assert cache.read_bytes() == written


def test_a_bucket_that_does_not_exist_is_named(storage) -> None:
    with pytest.raises(ConfigError, match=r"screen\.root: the folder s3://nowhere/first"):
        plates(PATTERN | {"root": "s3://nowhere/first"})


def test_an_unknown_kind_of_storage_is_named() -> None:
    with pytest.raises(ConfigError, match=r"screen\.root: tape:// cannot be read"):
        location("tape://first", key="screen.root")
