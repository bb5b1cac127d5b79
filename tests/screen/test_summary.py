import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from cellmae.errors import DataError
from cellmae.pretraining import training_flops
from cellmae.screen import Cost, announce, estimate_cost, index_fields, index_wells, plates, summarise


def tables(screen) -> tuple[pd.DataFrame, pd.DataFrame]:
    slugs = plates(screen)
    return tuple(pd.concat([index(screen, slug) for slug in slugs]) for index in (index_fields, index_wells))


def test_counts(rxrx3):
    summary = summarise(*tables(rxrx3))
    assert (summary.plates, summary.wells, summary.fields) == (4, 16, 16)
    assert (summary.perturbations, summary.treatments) == (2, 3)
    assert summary.fields_a_well == (1, 1)
    assert summary.roles == {"treatment": 12, "negative_control": 4, "positive_control": 0, "empty": 0}
    assert summary.controls["gene-002"] == {"negative_control": 2, "positive_control": 0}
    assert summary.missing_files == {"nuclei": 0, "er": 0}
    assert summary.notes() == []


def test_what_is_missing_is_counted(rxrx3, edit_metadata, tmp_path):
    edit_metadata(lambda metadata: metadata[(metadata["address"] != "A02") | (metadata["plate"] == "2")])
    (tmp_path / "images/gene-001/Plate1/B02_s1_w2.png").unlink()
    for channel in (1, 2):
        (tmp_path / f"images/gene-002/Plate2/B01_s1_w{channel}.png").unlink()
    summary = summarise(*tables(rxrx3), plates_without_images=["P8"], plates_without_annotation=["P9"])
    assert summary.missing_files == {"nuclei": 0, "er": 1}
    assert summary.wells_without_images == 1
    assert summary.wells_without_annotation == 2
    assert summary.roles["empty"] == 2
    text = summary.as_text()
    for line in (r"image files +1 +1 er", r"wells without images +1", r"wells without annotation +2", "P8", "P9"):
        assert pd.Series([text]).str.contains(line).all(), line


def test_confounding_and_batches_without_controls_are_noted(rxrx3, edit_metadata):
    def change(metadata):
        second = metadata["experiment_name"] == "gene-002"
        metadata.loc[second & (metadata["gene"] != "TP53"), "gene"] = "PLK1"
        return metadata

    edit_metadata(change)
    summary = summarise(*tables(rxrx3))
    assert summary.perturbations_in_one_batch == 2
    first, second = summary.notes()
    assert first.startswith("no negative control in the batches gene-002")
    assert second.startswith("2 of 3 perturbations occur in one batch only")


def test_it_is_written_for_programs_and_for_people(rxrx3, tmp_path):
    fields, wells = tables(rxrx3)
    (tmp_path / fields["path_nuclei"].iloc[0]).unlink()
    Image.new("L", (8, 8)).save(tmp_path / fields["path_nuclei"].iloc[0])
    cost = estimate_cost(fields, root=tmp_path, channels=2, tile_size=4, trained={})
    summary = summarise(fields, wells, cost=cost)
    summary.write(json=tmp_path / "summary.json", text=tmp_path / "summary.txt")
    assert (tmp_path / "summary.txt").read_text() == summary.as_text()
    value = json.loads((tmp_path / "summary.json").read_text())
    assert value == json.loads(json.dumps(summary.as_json(), allow_nan=False))
    assert value["fields"] == 16
    assert value["cost"]["grid_crops"] == 64


def test_profiles_have_no_lines_on_images(tmp_path):
    pd.DataFrame({"plate": ["P"] * 2, "well": ["A1", "A2"], "gene": ["c", "g"]}).to_csv(tmp_path / "p.csv", index=False)
    screen = {"layout": "profiles", "table": str(tmp_path / "p.csv"), "batch": "plate", "controls": ["c"]}
    text = summarise(*tables(screen | {"columns": {"perturbation": "gene"}})).as_text()
    assert "no images" in text
    assert "missing" not in text


@pytest.mark.parametrize("kind", ["png", "tif", "stack"])
def test_cost_follows_from_one_header(tmp_path, kind):
    pixels = np.zeros((30, 50), "uint16")
    name = "field.png" if kind == "png" else "field.tif"
    if kind == "png":
        Image.fromarray(pixels).save(tmp_path / name)
    else:
        tifffile.imwrite(tmp_path / name, pixels if kind == "tif" else np.stack([pixels] * 3), photometric="minisblack")
    fields = pd.DataFrame({"path_a": [name, name, None], "path_b": [name] * 3, "size": [100, 200, 50]})
    spec = {"family": "mae", "size": "tiny", "patch": 4, "crops_total": 1000, "batch_size": 10}
    cost = estimate_cost(fields, root=tmp_path, channels=2, tile_size=12, trained={"mae": spec})
    assert (cost.height, cost.width) == (30, 50)
    assert cost.store_bytes == 2 * 2 * 30 * 50
    assert cost.grid_crops == 2 * 2 * 4
    assert cost.image_bytes == 300
    assert cost.training_crops == {"mae": 1000}
    assert cost.training_flops == {"mae": training_flops(spec, channels=2, crop_size=12)}


@pytest.mark.parametrize(
    ("flops", "said"),
    [
        (None, "125.0 for each of the grid"),
        (3.2e12, "125.0 for each of the grid, 3.2e+12 operations"),
        (7.2e17, "125.0 for each of the grid, 7.2e+17 operations, 2.0 hours at 1e+14 a second"),
    ],
)
def test_trainings_are_told_with_their_operations(rxrx3, flops, said):
    fields, wells = tables(rxrx3)
    training = {"training_crops": {"mae": 1000}, "training_flops": {"mae": flops} if flops else {}}
    cost = Cost(10, 10, 1, image_bytes=2000, store_bytes=100, tile_size=5, grid_crops=8, **training)
    (line,) = [line for line in summarise(fields, wells, cost=cost).as_text().splitlines() if "training crops" in line]
    assert line.split("  ")[-1] == said


def test_a_broken_image_does_not_hide_the_cost(tmp_path):
    (tmp_path / "broken.png").write_text("no image")
    Image.new("L", (20, 10)).save(tmp_path / "good.png")
    fields = pd.DataFrame({"path": ["broken.png", "good.png"], "size": [1, 1]})
    assert estimate_cost(fields, root=tmp_path, channels=1, tile_size=5, trained={}).width == 20
    with pytest.raises(DataError, match=r"none of 1 images tried can be read \(.*broken.png"):
        estimate_cost(fields[:1], root=tmp_path, channels=1, tile_size=5, trained={})


def test_cost_of_nothing_is_unknown(tmp_path):
    fields = pd.DataFrame({"path": [None], "size": [0]})
    assert estimate_cost(fields, root=tmp_path, channels=1, tile_size=5, trained={}) is None


def test_the_cost_is_announced_with_the_room_that_there_is(tmp_path):
    def cost(store_bytes):
        return Cost(10, 10, 1, image_bytes=2000, store_bytes=store_bytes, tile_size=5, grid_crops=4, training_crops={})

    said = announce(cost(3000), tmp_path / "results/new")
    assert "2.0 kB of images become 3.0 kB of tiles" in said
    assert "3.0 kB of them still to write" in said
    assert "too little" not in said
    chunk = tmp_path / "results/tiles/p.zarr/images/c/0/0/0/0"
    chunk.parent.mkdir(parents=True)
    chunk.write_bytes(bytes(1000))
    assert "2.0 kB of them still to write" in announce(cost(3000), tmp_path / "results")
    assert announce(cost(10**18), tmp_path / "results").endswith("tiling will stop when the disk is full")


def test_binned_fields_cost_less(tmp_path):
    Image.new("L", (40, 20)).save(tmp_path / "field.png")
    fields = pd.DataFrame({"path": ["field.png"], "size": [1]})
    cost = estimate_cost(fields, root=tmp_path, channels=1, tile_size=5, binning=2, trained={})
    assert (cost.height, cost.width, cost.store_bytes, cost.grid_crops) == (10, 20, 200, 8)


def test_text_is_aligned_and_short_for_many_batches(rxrx3):
    fields, wells = tables(rxrx3)
    many = pd.concat([wells.assign(batch=f"batch{n}") for n in range(30)])
    lines = summarise(fields, many).as_text().splitlines()
    assert sum(line.startswith("  batch") for line in lines) == 12
    assert any("and 18 more batches" in line for line in lines)
