"""Plates that lie in a bucket give what the same plates give on disk."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from cellmae.errors import ConfigError
from cellmae.images import open_image
from cellmae.images.image import ImageFormat, UnreadableImageError
from cellmae.locations import location
from cellmae.screen import index_fields, index_wells, plates
from cellmae.screen.simulation import CHANNELS, simulate_plate, write_truth
from cellmae.tiles.preparation import read_gains

from .layouts.end_to_end import stored_fields, write_image

pytestmark = pytest.mark.slow

SIMULATION = {
    "experiments": 1, "plates": 1, "genes": 4, "guides": 1, "rows": 2, "columns": 3, "control_share": 0.25,
    "fields": 1, "size": 64, "strength": 1.0, "seed": 0,
}  # fmt: skip
Screen = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of object storage on this machine."""
    running = ThreadedMotoServer("127.0.0.1", 0)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def upload(server, monkeypatch) -> Callable[[Screen], Screen]:
    """Return a function that copies the plates of a screen into a bucket, and returns the screen there."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()

    def copy(screen: Screen) -> Screen:
        storage = s3fs.S3FileSystem()
        if storage.exists("plates"):
            storage.rm("plates", recursive=True)
        storage.mkdir("plates")
        storage.put(f"{screen['root']}/", "plates/my screen/", recursive=True)
        storage.invalidate_cache()
        return screen | {"root": "s3://plates/my screen"}

    return copy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder whose name has a space, as that of people has."""
    return tmp_path / "my screen"


def rxrx3(root: Path) -> Screen:
    write_truth(SIMULATION, root=root)
    simulate_plate(SIMULATION, root=root, experiment="gene-001", plate=1, manifest=root / "plate.json")
    return {"layout": "rxrx3", "channels": list(CHANNELS), "batch": "experiment", "controls": ["EMPTY_control"]}


def pattern(root: Path) -> Screen:
    for seed, (plate, well, channel) in enumerate([(p, w, c) for p in "PQ" for w in ("A01", "B02") for c in (1, 2)]):
        write_image(root / f"plates/{plate}/{well}_w{channel}.tif", seed)
    pd.DataFrame({"well": ["A01", "B02"], "compound": ["DMSO", "x"]}).to_csv(root / "map.csv.gz", index=False)
    return {
        "layout": "pattern",
        "channels": ["dna", "actin"],
        "batch": "plate",
        "controls": ["DMSO"],
        "pattern": "plates/{plate}/{well}_w{channel}.tif",
        "plate_map": "map.csv.gz",
        "columns": {"well": "well", "perturbation": "compound"},
    }


def rxrx3_core(root: Path) -> Screen:
    wells = [("A01", "EMPTY_control"), ("A02", "TP53")]
    keys = [f"gene-001/Plate1/{well}_s1_{channel}" for well, _ in wells for channel in (1, 2)]
    images = []
    for seed, _ in enumerate(keys):
        write_image(root / "image.tif", seed)
        images.append({"bytes": (root / "image.tif").read_bytes(), "path": None})
    (root / "data").mkdir()
    pq.write_table(pa.table({"__key__": keys, "jp2": images}), root / "data/train-0.parquet", row_group_size=3)
    rows = [["gene-001", 1, well, gene, gene] for well, gene in wells]
    names = ["experiment_name", "plate", "address", "gene", "treatment"]
    pd.DataFrame(rows, columns=names).to_csv(root / "metadata_rxrx3_core.csv", index=False)
    return {"layout": "rxrx3-core", "channels": ["a", "b"], "batch": "experiment", "controls": ["EMPTY_control"]}


def ome_zarr(root: Path) -> Screen:
    ngio = pytest.importorskip("ngio")
    pixels = np.random.default_rng(0).integers(1, 250, (2, 80, 80)).astype(np.uint16)
    plate = ngio.create_empty_plate(root / "P1.zarr", name="P1", ngff_version="0.5")
    for column in (1, 2):
        plate.add_image(row="A", column=column, image_path="0")
        well = root / f"P1.zarr/A/{column:02d}/0"
        ngio.create_ome_zarr_from_array(
            well, pixels + column, pixelsize=0.5, levels=2, axes_names=list("cyx"), ngff_version="0.5", overwrite=True
        )
    (root / "map.csv").write_text("plate,well,perturbation\nP1,A1,DMSO\nP1,A2,x\n")
    return {
        "layout": "ome-zarr",
        "channels": ["dna", "actin"],
        "batch": "plate",
        "controls": ["DMSO"],
        "window": 40,
        "plate_map": "map.csv",
        "columns": {"plate": "plate"},
    }


@pytest.mark.parametrize("make", [rxrx3, pattern, rxrx3_core, ome_zarr])
def test_the_same_comes_from_a_bucket_as_from_disk(make, folder, upload, tmp_path):
    folder.mkdir()
    local = make(folder) | {"root": str(folder)}
    remote = upload(local)
    cache = tmp_path / "plates.json"
    assert plates(remote, cache=cache) == plates(local)
    assert plates(remote, cache=cache) == plates(local)
    for slug in plates(local):
        pd.testing.assert_frame_equal(index_wells(remote, slug), index_wells(local, slug))
        there, here = (index_fields(screen, slug).drop(columns="mtime_ns") for screen in (remote, local))
        pd.testing.assert_frame_equal(there, here)
    from_bucket, from_disk = stored_fields(remote, tmp_path / "remote"), stored_fields(local, tmp_path / "local")
    assert from_bucket.keys() == from_disk.keys()
    for key, field in from_disk.items():
        np.testing.assert_array_equal(from_bucket[key], field)
        assert field.std() > 0


def test_new_annotations_are_seen_past_the_cache(folder, upload, tmp_path):
    folder.mkdir()
    local = pattern(folder) | {"root": str(folder)}
    cache = tmp_path / "plates.json"
    before = plates(upload(local), cache=cache)
    pd.DataFrame({"well": ["A01", "B02"], "compound": ["DMSO", "yz"]}).to_csv(folder / "map.csv.gz", index=False)
    after = plates(upload(local), cache=cache)
    assert before.keys() == after.keys()
    assert all(before[slug].wells_digest != after[slug].wells_digest for slug in before)


def test_what_is_not_in_the_bucket_is_named(folder, upload):
    folder.mkdir()
    local = pattern(folder) | {"root": str(folder)}
    remote = upload(local)
    with pytest.raises(ConfigError, match=r"^screen.root: the folder s3://plates/nothing does not exist"):
        plates(remote | {"root": "s3://plates/nothing"})
    with pytest.raises(ConfigError, match=r"^screen.plate_map: the file s3://plates/my screen/no.csv does not exist"):
        plates(remote | {"plate_map": "no.csv"})


def test_an_image_that_is_gone_is_an_error_of_its_own(folder, upload, tmp_path):
    folder.mkdir()
    remote = upload(pattern(folder) | {"root": str(folder)})
    fields = index_fields(remote, "P")
    image = open_image(location(remote["root"], key=""), fields["path_dna"].iloc[0].replace("A01", "H12"))
    with pytest.raises(UnreadableImageError, match="file is missing"):
        image.planes()


def test_illumination_functions_are_read_from_the_bucket(folder, upload):
    (folder / "illum").mkdir(parents=True)
    np.save(folder / "illum/P_dna.npy", np.full((32, 32), 2.0))
    root = location(upload({"root": str(folder)})["root"], key="")
    form = ImageFormat(1, 32, 32, np.dtype("uint8"))
    gains = read_gains("illum/{plate}_{channel}.*", root=root, plate="P", channels=["dna"], form=form)
    np.testing.assert_array_equal(gains, np.full((1, 32, 32), 0.5))


def test_kinds_of_storage_that_cannot_be_read_are_named():
    with pytest.raises(ConfigError, match=r"^screen.root: nonsense:// cannot be read .*pip install 'cellmae\[cloud\]'"):
        location("nonsense://x", key="screen.root")
