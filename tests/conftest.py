"""Fixtures that every part of the tests may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from http_server import Site, serving

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of the small real data sets; the test skips where it is absent."""
    folder = Path(os.environ.get("CELLMAE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "SOURCES.md").exists():
        missing = f"no real test data in {folder}: set CELLMAE_TEST_DATA to the folder that holds them"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return folder


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server on this machine, see `http_server`."""
    with serving() as running:
        yield running
