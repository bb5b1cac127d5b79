"""Bad input at the command line: one line that says what is wrong, and nothing that looks like success."""

import os
import subprocess
from pathlib import Path

import pytest

from .checkout import PLATES, Checkout

pytestmark = pytest.mark.slow


def test_a_mistake_in_the_configuration_stops_before_the_first_job(fresh):
    fresh.configure(tiles__sise=32)
    done = fresh.snakemake()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("cellmae: tiles.sise: there is no such key (did you mean 'size'?)")
    assert "Traceback" not in done.stderr
    assert not fresh.results.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tiles__size": "big"}, ["tiles.size: found 'big', expected a whole number"]),
        ({"screen__root": "nowhere"}, ["screen.root: the folder nowhere does not exist"]),
        ({"screen__controls": ["DMSO"]}, ["screen.controls: no well has the perturbation 'DMSO'", "EMPTY_control"]),
        ({"models__mae__patch": 7}, ["models.mae.patch: found 7, which does not divide tiles.size (32)"]),
        ({"models__mae__embed_block": 5}, ["models.mae.embed_block: found 5"]),
        ({"models__mae__plates": ["gone"]}, ["models.mae.plates: found 'gone', expected plates among gene-001_Plate1"]),
        ({"models__mae__validation_plates": ["gone"]}, ["models.mae.validation_plates: found 'gone', expected plates"]),
        (
            {"models__mae__validation_plates": ["gene-001_Plate1", "gene-002_Plate1"]},
            ["models.mae.validation_plates: all 2 plates are set aside, so none is left to train on"],
        ),
        ({"models__mae": {"family": "munet", "patch": 8}, "tiles__size": 24}, ["tiles.size: found 24, but a U-Net"]),
        (
            {"models__mae__accumulate": 3},
            ["models.mae.batch_size: found 16, expected a multiple of 3"],
        ),
        ({"models__mae__mask_ratio": 0.99}, ["models.mae.mask_ratio: 0.99 leaves 0 of 16 patches to be seen"]),
        (
            {"models__mae": {"family": "ca-mae", "patch": 8, "decoder_width": 36, "decoder_heads": 3}},
            ["models.mae.decoder_width: 36 is no multiple of 8"],
        ),
        (
            {"models__mae": {"family": "classifier", "architecture": "densenet161"}, "tiles__size": 16},
            ["tiles.size: found 16, expected at least 32 for a densenet161"],
        ),
        ({"models__mae": {"family": "mae", "size": "huge"}}, ["models.mae.size: found 'huge', expected one of tiny"]),
        (
            {"models__mae": {"family": "classifier", "architecture": "vit", "patch": 8, "adabn": True}},
            ["models.mae.adabn: a vision transformer has no batch norm"],
        ),
        ({"models__mae": {"family": "openphenom", "weights": "none"}}, ["tiles.size: found 32, expected 256"]),
        (
            {"models__mae": {"family": "saved", "weights": "gone"}},
            ["models.mae.weights: the file gone/model.yaml does not"],
        ),
        ({"models__mae": {"family": "saved"}}, ["models.mae.of: found neither of weights and of, expected one"]),
        (
            {"models__mae": {"family": "saved", "of": "mea"}},
            ["models.mae.of: found 'mea', expected one of", "intensity"],
        ),
        (
            {"models__other": {"family": "saved", "of": "intensity", "embed_block": 3}},
            ["models.other.embed_block: found 3, but models of the family intensity have no blocks"],
        ),
        (
            {"models__other": {"family": "saved", "of": "mae", "embed_block": 5}},
            ["models.other.embed_block: found 5, expected one of the blocks 1 to 4"],
        ),
        ({"alignments__tvn__plates": ["gone"]}, ["alignments.tvn.plates: found 'gone'"]),
    ],
)
def test_a_mistake_is_one_line(fresh, changes, said):
    fresh.configure(**changes)
    with pytest.raises(SystemExit) as stop:
        fresh.plan()
    (line,) = str(stop.value).splitlines()
    assert line.startswith(f"cellmae: {said[0]}")
    assert all(part in line for part in said)


def test_tiles_larger_than_the_fields(fresh):
    fresh.configure(tiles__size=128)
    done = fresh.snakemake("tiles", "--keep-going")
    said = "tiles.size: 128 is larger than the fields of 64 x 64 pixels: choose at most 64"
    lines = done.stderr.splitlines()
    assert lines.count(f"cellmae: {said}") == 2
    last = [line for line in lines[-6:] if line.endswith(said)]
    assert sorted(last) == [f"results/logs/tiles/{plate}.log: {said}" for plate in PLATES]
    assert not list((fresh.results / "tiles").glob("*.json"))


def test_relationships_without_a_known_gene(finished):
    (finished.folder / "foreign.csv").write_text("entity1,entity2\nyfg1,yfg2\n")
    finished.configure(maps__relationships={"foreign": "foreign.csv"})
    (line,) = set(finished.refusal("maps", "--keep-going"))
    assert "foreign" in line


@pytest.fixture
def read_only(tmp_path) -> Path:
    """A folder on a read-only mount: permission bits do not stop root."""
    folder = tmp_path / "archive"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a file system here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may mount a file system")
def test_results_on_a_read_only_mount(fresh: Checkout, read_only):
    fresh.configure(results=str(read_only / "run"))
    (line,) = fresh.refusal()
    assert line == f"cellmae: results: {read_only} cannot be written to; name a folder that can"
