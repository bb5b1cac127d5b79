"""Folders that cannot be written to, and disks that are full: an error that says so, and nothing half-written."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cellmae.tiles import open_store
from disks import enlarge, mounted

from .conftest import PlateMaker


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "small", "size=64k") as disk:
        yield disk


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "read-only", "ro") as disk:
        yield disk


def test_a_full_disk_leaves_nothing_and_a_rerun_repairs(make_plate: PlateMaker, small_disk: Path) -> None:
    plate = make_plate(fields=24)
    there = {name: small_disk / f"p{suffix}" for name, suffix in [("store", ".zarr"), ("table", ".parquet")]}
    with pytest.raises(OSError, match="No space left"):
        plate.tile(**there, manifest=small_disk / "p.json")
    assert list(small_disk.iterdir()) == []
    enlarge(small_disk, "4m")
    plate.tile(**there, manifest=small_disk / "p.json")
    assert open_store(small_disk / "p.zarr", verify=True).shape[0] == 24


def test_a_read_only_folder_is_named(make_plate: PlateMaker, read_only: Path) -> None:
    with pytest.raises(OSError, match="Read-only file system"):
        make_plate().tile(store=read_only / "p.zarr", table=read_only / "p.parquet", manifest=read_only / "p.json")
