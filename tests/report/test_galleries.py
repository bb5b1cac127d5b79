"""Images of strongest relationships."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellmae.genes import Aliases, Genes
from cellmae.report.blocks import Gallery, Text
from cellmae.report.galleries import GAP, Wells, composite, gallery_blocks
from cellmae.tiles import VERSION
from cellmae.tiles.store import StoreWriter

EDGE = 32
LAYOUT = {"p1": ["a", "b", "control", "control"], "p2": ["a", "b", "control", "empty"]}
CHANNELS = ("nuclei", "actin")


def annotated() -> dict[str, pd.DataFrame]:
    tables = {}
    for plate, names in LAYOUT.items():
        roles = ["negative_control" if name == "control" else "treatment" for name in names]
        wells = [f"A{place:02d}" for place in range(1, len(names) + 1)]
        tables[plate] = pd.DataFrame({"plate": plate, "well": wells, "perturbation": names, "role": roles})
    return tables


@pytest.fixture
def stores(tmp_path: Path) -> dict[str, Path]:
    """Fields that are flat but for a bright corner; a well of the n-th plate and place has the value 50 n + place."""
    paths = {}
    for number, (plate, names) in enumerate(LAYOUT.items(), start=1):
        writer = StoreWriter(tmp_path / f"{plate}.zarr")
        fields = pd.DataFrame({"plate": plate, "plate_name": plate, "batch": plate, "site": 1, "row": 1}, range(4))
        fields = fields.assign(well=[f"A{place:02d}" for place in range(1, 5)], column=range(1, 5))
        digests = []
        for place in range(len(names)):
            field = np.full((len(CHANNELS), EDGE, EDGE), 50 * number + place, dtype=np.uint8)
            field[0, :4, :4] = 250
            digests.append(writer.write(place, field))
        writer.finish(
            places=range(4),
            digests=digests,
            fields=fields,
            channels=CHANNELS,
            shape=(len(CHANNELS), EDGE, EDGE),
            attributes={"tile_size": 16, "version": VERSION},
        )
        paths[plate] = writer.folder
    return paths


def pairs(*names: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(names, columns=["entity1", "entity2"]).assign(cosine=-0.5, known_in="X")


def test_wells_take_turns_between_plates_and_controls_come_from_the_same_plates(stores: dict[str, Path]) -> None:
    wells = Wells(annotated(), stores, Genes())
    assert wells.of("a")[["plate", "well"]].to_numpy().tolist() == [["p1", "A01"], ["p2", "A01"]]
    assert wells.controls(["p2"])["plate"].tolist() == ["p2", "p1", "p1"]


def test_gallery_shows_both_and_controls_in_one_contrast(stores: dict[str, Path]) -> None:
    (gallery,) = gallery_blocks(pairs(("a", "b")), Wells(annotated(), stores, Genes()), kind="known")
    assert isinstance(gallery, Gallery)
    (entry,) = gallery.entries
    assert entry.fact == "Cosine \N{MINUS SIGN}0.50, known in X"
    assert [strip.title for strip in entry.strips] == ["a", "b", "negative control"]
    assert "nuclei blue and actin green" in gallery.caption
    strips = [strip.pixels.astype(int) for strip in entry.strips]
    assert {strip.shape for strip in strips} == {(EDGE, 3 * EDGE + 2 * GAP, 3)}
    first, second = (strip[20, [10, EDGE + GAP + 10], 1] for strip in strips[:2])
    assert first[0] < second[0] < first[1] < second[1], "brighter wells look brighter, over all images of the pair"
    assert not strips[0][:, 2 * (EDGE + GAP) :].any(), "there is no third well"


def test_wells_are_found_by_the_names_of_the_map(stores: dict[str, Path]) -> None:
    genes = Genes(aliases=Aliases(frozenset({"TP53"}), {"a": "TP53"}, {}))
    wells = Wells(annotated(), stores, genes)
    (gallery,) = gallery_blocks(pairs(("TP53", "b")), wells, kind="known")
    assert isinstance(gallery, Gallery)
    assert [strip.title for strip in gallery.entries[0].strips] == ["TP53", "b", "negative control"]


def test_retired_stores_are_named(stores: dict[str, Path]) -> None:
    wells = Wells(annotated(), stores | {"p2": stores["p2"] / "gone"}, Genes())
    (gallery,) = gallery_blocks(pairs(("a", "b")), wells, kind="known")
    assert "The stores of 1 plate were retired, so these are not shown: p2." in gallery.caption
    (text,) = gallery_blocks(pairs(("a", "b")), Wells(annotated(), {"p1": Path("gone")}, Genes()), kind="known")
    assert isinstance(text, Text)
    assert "No images of the strongest known relationships" in text.paragraphs[0]


def test_damaged_stores_and_pairs_without_images_are_named(stores: dict[str, Path]) -> None:
    (stores["p2"] / "zarr.json").unlink()
    (gallery,) = gallery_blocks(pairs(("a", "b"), ("a", "absent")), Wells(annotated(), stores, Genes()), kind="known")
    assert "1 plate cannot be read, so these are not shown: p2" in gallery.caption
    assert "Without images of both in one format: a and absent." in gallery.caption


def test_channels_are_mixed_in_their_hues() -> None:
    crop = np.zeros((2, 1, 3), dtype=np.uint8)
    crop[0, 0, 1] = crop[1, 0, 2] = 200
    dark, blue, green = composite(crop, np.array([0, 0]), np.array([200, 200]))[0].astype(int)
    assert dark.tolist() == [0, 0, 0]
    assert blue.argmax() == 2
    assert green.argmax() == 1
    grey = composite(crop[:1], np.array([0]), np.array([200]))[0, 1]
    assert len(set(grey.tolist())) == 1
