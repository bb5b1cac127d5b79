"""Tiles that are archived or deleted when everything is embedded, and what happens when they are needed again."""

import pytest

from cellmae.tiles import open_store

from .checkout import PLATES

pytestmark = pytest.mark.slow


def stores(checkout):
    return [checkout.results / f"tiles/{plate}.zarr" for plate in PLATES]


def delete_tiles(checkout):
    checkout.configure(tiles__after_embedding="delete")
    checkout.run(*(f"results/tiles/{plate}.deleted" for plate in PLATES))


def test_archives_hold_what_models_need_later(finished):
    finished.configure(tiles__after_embedding="archive")
    assert finished.plan() == {f"Tiles of {plate}: archive" for plate in PLATES} | {"Writing the report"}
    finished.run()
    assert all(open_store(store, verify=True).is_archived for store in stores(finished))
    assert finished.plan() == set()
    finished.configure(models__constant={"family": "constant"})
    planned = finished.plan()
    assert not any(job.startswith("Tiling") for job in planned)
    finished.run("embeddings")
    assert (finished.results / f"embeddings/constant/{PLATES[0]}.h5ad").exists()


def test_deleted_tiles_are_restored_for_a_model_that_is_added(finished):
    delete_tiles(finished)
    assert not any(store.exists() for store in stores(finished))
    assert finished.plan() == {"Writing the report"}
    finished.configure(models__constant={"family": "constant"})
    assert any("snakemake restore_tiles" in line for line in finished.refusal("embeddings"))
    assert finished.plan("restore_tiles") == {f"Tiling {plate} again" for plate in PLATES}
    finished.run("restore_tiles")
    planned = finished.plan("embeddings")
    assert "Training mae" not in planned
    assert f"Embedding {PLATES[0]} with mae" not in planned
    finished.run("embeddings")
    assert (finished.results / f"embeddings/constant/{PLATES[0]}.h5ad").exists()
    assert not any(store.exists() for store in stores(finished))


def test_tiles_of_other_images_are_not_restored(finished):
    delete_tiles(finished)
    image = next((finished.folder / "plates/images").rglob("*.png"))
    other = next(path for path in image.parent.glob("*.png") if path != image)
    image.write_bytes(other.read_bytes())
    assert any("the images or the configuration changed since" in line for line in finished.refusal("restore_tiles"))
