"""Folders that cannot be written to, and disks that are full: an error that says so, and nothing half-written."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cellmae.tiles import open_store

from .conftest import PlateMaker


def mount(folder: Path, *options: str) -> Iterator[Path]:
    """Mount a small file system in memory, which only root may; the test skips elsewhere."""
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI"):
            pytest.fail(f"no tmpfs can be mounted: {error}")
        pytest.skip(f"no tmpfs can be mounted here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mount(tmp_path / "small", "-o", "size=64k")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    yield from mount(tmp_path / "read-only", "-o", "ro")


def test_a_full_disk_leaves_nothing_and_a_rerun_repairs(make_plate: PlateMaker, small_disk: Path) -> None:
    plate = make_plate(fields=24)
    there = {name: small_disk / f"p{suffix}" for name, suffix in [("store", ".zarr"), ("table", ".parquet")]}
    with pytest.raises(OSError, match="No space left"):
        plate.tile(**there, manifest=small_disk / "p.json")
    assert list(small_disk.iterdir()) == []
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    plate.tile(**there, manifest=small_disk / "p.json")
    assert open_store(small_disk / "p.zarr", verify=True).shape[0] == 24


def test_a_read_only_folder_is_named(make_plate: PlateMaker, read_only: Path) -> None:
    with pytest.raises(OSError, match="Read-only file system"):
        make_plate().tile(store=read_only / "p.zarr", table=read_only / "p.parquet", manifest=read_only / "p.json")
