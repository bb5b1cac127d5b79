import pytest

from cellmae.errors import DataError
from cellmae.screen import index_fields, index_wells


def test_fields_of_a_plate(rxrx3):
    fields = index_fields(rxrx3, "gene-002_Plate1")
    assert list(fields) == [
        *["plate", "plate_name", "batch", "well", "site", "row", "column"],
        *["path_nuclei", "path_er", "size", "mtime_ns"],
    ]
    assert fields["well"].tolist() == ["A01", "A02", "B01", "B02"]
    assert fields.loc[2, "path_er"] == "images/gene-002/Plate1/B01_s1_w2.png"
    assert fields["size"].tolist() == [12] * 4
    assert set(fields["plate"]) == {"gene-002_Plate1"}
    assert set(fields["plate_name"]) == {"Plate1"}
    assert set(fields["batch"]) == {"gene-002"}


def test_fields_are_ordered_by_row_column_and_site(pattern):
    files = [f"P/{well}_s{site}_w1.tif" for well in ("B1", "A10", "A2") for site in (10, 2)]
    fields = index_fields(pattern(files, "plate,well,compound\nP,A1,DMSO\n"), "P")
    assert list(zip(fields["well"], fields["site"], strict=True)) == [
        *[("A02", 2), ("A02", 10), ("A10", 2), ("A10", 10), ("B01", 2), ("B01", 10)]
    ]


def test_a_missing_channel_is_null(rxrx3, tmp_path):
    (tmp_path / "images/gene-001/Plate1/A02_s1_w2.png").unlink()
    fields = index_fields(rxrx3, "gene-001_Plate1").set_index("well")
    assert fields["path_er"].isna().to_dict() == {"A01": False, "A02": True, "B01": False, "B02": False}
    assert fields.loc["A02", "path_er"] is None
    assert fields.loc["A02", "size"] == 6


def test_a_channel_that_is_missing_everywhere_has_its_column(rxrx3):
    fields = index_fields(rxrx3 | {"channels": ["nuclei", "er", "actin"]}, "gene-001_Plate1")
    assert fields["path_actin"].isna().all()


def test_files_with_all_channels_have_one_path(pattern):
    screen = pattern(["P/A01_s1.tif"], "plate,well,compound\nP,A1,DMSO\n", pattern="{plate}/{well}_s{site}.tif")
    fields = index_fields(screen, "P")
    assert fields["path"].tolist() == ["P/A01_s1.tif"]
    assert not [name for name in fields if name.startswith("path_")]


def test_two_files_for_one_image_are_refused(pattern):
    screen = pattern(
        ["P/A01_t1_w1.tif", "P/A01_t2_w1.tif"],
        "plate,well,compound\nP,A1,DMSO\n",
        pattern="{plate}/{well}_*_w{channel}.tif",
    )
    with pytest.raises(DataError, match=r"P/A01_t1_w1.tif and P/A01_t2_w1.tif are both well A01, site 1"):
        index_fields(screen, "P")


def test_wells_of_a_plate(rxrx3):
    wells = index_wells(rxrx3, "gene-002_Plate1")
    assert list(wells) == [
        *["plate", "plate_name", "batch", "well", "row", "column", "perturbation", "treatment", "role"],
        *["experiment", "concentration", "smiles", "perturbation_type", "cell_type"],
    ]
    assert wells["role"].tolist() == ["negative_control", "treatment", "treatment", "treatment"]
    assert wells["treatment"].tolist() == ["EMPTY_control", "TP53_guide_1", "MYC_guide_2", "TP53_guide_3"]
    assert {type(value) for value in wells["perturbation"]} == {str}
    assert wells["smiles"].tolist() == [None] * 4


def test_a_well_with_images_and_no_annotation_is_empty(rxrx3, edit_metadata):
    edit_metadata(lambda metadata: metadata[metadata["address"] != "A02"])
    wells = index_wells(rxrx3, "gene-001_Plate1").set_index("well")
    assert list(wells.index) == ["A01", "A02", "B01", "B02"]
    assert wells.loc["A02", ["role", "perturbation", "treatment"]].tolist() == ["empty", None, None]
    assert wells.loc["A02", "plate"] == "gene-001_Plate1"
    assert wells.loc["A02", "column"] == 2


def test_annotation_without_images_is_kept(rxrx3, tmp_path):
    for channel in (1, 2):
        (tmp_path / f"images/gene-001/Plate1/B01_s1_w{channel}.png").unlink()
    assert "B01" not in set(index_fields(rxrx3, "gene-001_Plate1")["well"])
    assert "B01" in set(index_wells(rxrx3, "gene-001_Plate1")["well"])


def test_types_are_the_same_on_every_plate(pattern):
    text = "plate,well,compound,dose,code\nP,A1,DMSO,1,a\nQ,A1,DMSO,,7\nQ,A2,x,2.5,\n"
    screen = pattern(["P/A01_s1_w1.tif", "Q/A01_s1_w1.tif"], text)
    first, second = index_wells(screen, "P"), index_wells(screen, "Q")
    assert first.dtypes.to_dict() == second.dtypes.to_dict()
    assert second["code"].tolist() == ["7", None]


def test_an_unknown_plate_lists_those_there_are(rxrx3):
    with pytest.raises(DataError, match=r"no plate 'Plate1'; its plates are gene-001_Plate1, gene-001_Plate2"):
        index_fields(rxrx3, "Plate1")
