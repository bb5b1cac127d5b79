"""Results of another version of cellmae."""

import pytest

from cellmae.errors import ConfigError, DamagedError, DataError
from cellmae.files import write_json
from cellmae.versions import refuse_newer, require_version


def test_older_results_are_made_anew_and_newer_ones_left_alone(tmp_path):
    about = {"stage": "tiles", "path": "p.zarr", "manifest": tmp_path / "p.json"}
    require_version(2, 2, **about)
    for older in (1, None, "2"):
        with pytest.raises(DamagedError, match=rf"p\.zarr is of version {older} .* run snakemake again") as caught:
            require_version(older, 2, **about)
        assert caught.value.manifest == tmp_path / "p.json"
    with pytest.raises(DataError, match=r"p\.zarr is of version 3 .* update cellmae") as newer:
        require_version(3, 2, **about)
    assert not isinstance(newer.value, DamagedError)


@pytest.mark.parametrize("manifest", ["tiles/p.json", "embeddings/m/p.json", "maps/m/a/map.json"])
def test_a_run_of_a_newer_version_is_not_overwritten(tmp_path, manifest):
    stage = manifest.partition("/")[0]
    for version in (1, 2, None):
        write_json(tmp_path / manifest, {"version": version})
        refuse_newer(tmp_path, {stage: 2})
    write_json(tmp_path / manifest, {"version": 3})
    with pytest.raises(ConfigError, match=rf"results: .*{manifest} is of version 3 .*{stage}, newer than version 2"):
        refuse_newer(tmp_path, {stage: 2})


def test_a_garbled_manifest_is_left_to_the_job_that_reads_it(tmp_path):
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles/p.json").write_bytes(b"\0\xff{")
    refuse_newer(tmp_path, {"tiles": 2})
