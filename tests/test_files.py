"""Files that a manifest vouches for."""

import json

import pytest

from cellmae.errors import DamagedError, DataError
from cellmae.files import require_intact, write_manifest


@pytest.fixture
def result(tmp_path):
    """A file of a stage in version 2, and its manifest."""
    file, manifest = tmp_path / "map.h5ad", tmp_path / "map.json"
    file.write_bytes(bytes(range(256)))
    write_manifest(manifest, stage="maps", version=2, files=[file], wells=3)
    return file, manifest


def check(file, manifest, version=2):
    require_intact(file, manifest, stage="maps", version=version)


def test_a_file_is_as_it_was_written(result):
    check(*result)
    assert json.loads(result[1].read_text())["wells"] == 3


def test_every_bit_counts(result):
    file, _ = result
    content = file.read_bytes()
    for position in range(0, 8 * len(content), 97):
        altered = bytearray(content)
        altered[position // 8] ^= 1 << position % 8
        file.write_bytes(altered)
        with pytest.raises(DamagedError, match=r"map\.h5ad is missing, damaged or not the file that .*map\.json"):
            check(*result)
    file.write_bytes(content)
    check(*result)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file, manifest: file.unlink(),
        lambda file, manifest: file.write_bytes(file.read_bytes()[:-1]),
        lambda file, manifest: file.write_bytes(b""),
        lambda file, manifest: manifest.write_bytes(b"\0" * 100),
        lambda file, manifest: write_manifest(manifest, stage="maps", version=2),
    ],
    ids=["lost", "cut off", "emptied", "manifest garbled", "manifest of other files"],
)
def test_what_is_lost_or_cut_off_is_told(result, damage):
    damage(*result)
    with pytest.raises(DamagedError) as caught:
        check(*result)
    assert caught.value.manifest == result[1]


def test_results_of_other_versions_are_refused(result):
    with pytest.raises(DamagedError, match="is of version 2 of the stage maps, this cellmae has version 3"):
        check(*result, version=3)
    with pytest.raises(DataError, match="update cellmae") as newer:
        check(*result, version=1)
    assert not isinstance(newer.value, DamagedError)


def test_a_file_without_a_manifest_is_nobodys_business(result):
    result[1].unlink()
    check(*result)
