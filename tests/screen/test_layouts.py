import pandas as pd
import pytest

from cellmae.errors import ConfigError, DataError
from cellmae.screen import index_fields, index_wells, plates, survey
from cellmae.screen.layouts import LAYOUTS, open_layout

SIMULATION = {"experiments": 2, "plates": 2, "genes": 12, "guides": 2, "rows": 4, "columns": 6, "control_share": 0.25}


def test_unknown_layout_lists_those_there_are():
    with pytest.raises(ConfigError, match=r"screen.layout: 'rxrx4' is unknown; expected is one of .*phenix, profiles"):
        open_layout({"layout": "rxrx4"})


def test_rxrx3_names_plates_by_experiment(rxrx3):
    found = plates(rxrx3)
    assert list(found) == ["gene-001_Plate1", "gene-001_Plate2", "gene-002_Plate1", "gene-002_Plate2"]
    assert found["gene-002_Plate1"].batch == "gene-002"
    assert plates(rxrx3 | {"batch": "plate"})["gene-002_Plate1"].batch == "gene-002_Plate1"


def test_rxrx3_compounds_are_named_with_their_dose(rxrx3, edit_metadata):
    def to_compound(metadata):
        rows = metadata["gene"] == "MYC"
        metadata.loc[rows, ["gene", "treatment", "SMILES", "concentration"]] = ["", "taxol", "CCO", "0.250"]
        return metadata

    edit_metadata(to_compound)
    wells = index_wells(rxrx3, "gene-001_Plate1").set_index("well")
    assert wells.loc["B01", ["perturbation", "treatment", "smiles"]].tolist() == ["taxol", "taxol_0.25", "CCO"]
    assert wells.loc["B01", "concentration"] == 0.25
    assert wells.loc["A02", ["perturbation", "treatment"]].tolist() == ["TP53", "TP53_guide_1"]


def test_rxrx3_missing_metadata_and_columns_are_named(rxrx3, edit_metadata, tmp_path):
    edit_metadata(lambda metadata: metadata.drop(columns=["address"]))
    with pytest.raises(
        ConfigError, match=r"screen.root: .*metadata.csv has no column address; its columns are well_id,"
    ):
        plates(rxrx3)
    (tmp_path / "metadata.csv").unlink()
    with pytest.raises(ConfigError, match=r"screen.root: the file .*metadata.csv does not exist"):
        plates(rxrx3)


def test_rxrx3_faulty_values_are_named(rxrx3, edit_metadata):
    edit_metadata(lambda metadata: metadata.assign(concentration="much"))
    with pytest.raises(DataError, match=r"concentrations are no numbers: 'much'"):
        plates(rxrx3)
    edit_metadata(lambda metadata: metadata.assign(concentration="", plate=""))
    with pytest.raises(DataError, match=r"16 rows have no plate"):
        plates(rxrx3)


def test_simulated_screen_is_known_before_it_is_drawn(tmp_path):
    screen = {
        "layout": "simulated",
        "root": str(tmp_path / "not yet"),
        "channels": ["nuclei", "er"],
        "batch": "experiment",
        "controls": ["EMPTY_control"],
        "simulation": SIMULATION | {"seed": 1},
    }
    found = plates(screen)
    assert list(found) == ["gene-001_Plate1", "gene-001_Plate2", "gene-002_Plate1", "gene-002_Plate2"]
    wells = index_wells(screen, "gene-002_Plate2")
    assert len(wells) == 24
    assert (wells["role"] == "negative_control").sum() == 6
    with pytest.raises(DataError, match="no images of the plate gene-001_Plate1"):
        index_fields(screen, "gene-001_Plate1")
    other = plates(screen | {"simulation": SIMULATION | {"seed": 2}})
    assert other["gene-001_Plate1"].wells_digest != found["gene-001_Plate1"].wells_digest


def test_pattern_one_map_for_all_plates(pattern):
    screen = pattern(
        ["P1/A01_s1_w1.tif", "P2/A02_s1_w1.tif"],
        "well,compound\nA1,DMSO\nA2,x\n",
        columns={"well": "well", "perturbation": "compound"},
    )
    assert list(plates(screen)) == ["P1", "P2"]
    assert index_wells(screen, "P2")["perturbation"].tolist() == ["DMSO", "x"]


def test_pattern_without_plates_is_called_as_its_folder(pattern):
    screen = pattern(
        ["A01_s1_w1.tif"],
        "well,compound\nA1,DMSO\n",
        pattern="{well}_s{site}_w{channel}.tif",
        columns={"well": "well", "perturbation": "compound"},
    )
    assert list(plates(screen)) == ["screen"]


def test_pattern_takes_the_name_of_the_only_plate_from_the_map(pattern):
    options = {"pattern": "{well}_s{site}_w{channel}.tif"}
    screen = pattern(["A01_s1_w1.tif"], "plate,well,compound\nBR1,A1,DMSO\n", **options)
    assert list(plates(screen)) == ["BR1"]
    screen = pattern(["A01_s1_w1.tif"], "plate,well,compound\nBR1,A1,DMSO\nBR2,A1,DMSO\n", **options)
    with pytest.raises(ConfigError, match=r"do not tell apart these plates of it: BR1, BR2; make"):
        plates(screen)


def test_pattern_batches_from_map_or_from_folders(pattern):
    columns = {"plate": "plate", "well": "well", "perturbation": "compound", "batch": "day"}
    text = "plate,day,well,compound\nP1,mon,A1,DMSO\nP1,tue,A1,DMSO\n"
    files = ["mon/P1/A01_s1_w1.tif", "tue/P1/A01_s1_w1.tif"]
    by_folder = "{batch}/{plate}/{well}_s{site}_w{channel}.tif"
    both = pattern(files, text, columns=columns, batch="experiment", pattern=by_folder)
    assert {slug: plate.batch for slug, plate in plates(both).items()} == {"mon_P1": "mon", "tue_P1": "tue"}
    assert index_fields(both, "tue_P1")["path_dna"].tolist() == ["tue/P1/A01_s1_w1.tif"]
    folders_only = both | {"columns": {"plate": "plate", "well": "well", "perturbation": "compound"}}
    assert list(plates(folders_only)) == ["mon_P1", "tue_P1"]
    map_only = both | {"root": both["root"] + "/mon", "plate_map": "../map.csv"}
    with pytest.raises(ConfigError, match=r"do not tell apart these plates of it: mon P1, tue P1"):
        plates(map_only | {"pattern": "{plate}/{well}_s{site}_w{channel}.tif"})


def test_pattern_needs_a_batch_if_one_is_asked_for(pattern):
    screen = pattern(["P1/A01_s1_w1.tif"], "plate,well,compound\nP1,A1,DMSO\n", batch="experiment")
    with pytest.raises(ConfigError, match=r"screen.batch: 'experiment' was asked for"):
        plates(screen)


def test_pattern_channels_and_identifiers_must_pair(pattern):
    for identifiers in (["1"], ["1", "1"]):
        screen = pattern(["P1/A01_s1_w1.tif"], "plate,well,compound\nP1,A1,DMSO\n", channel_ids=identifiers)
        with pytest.raises(ConfigError, match=r"screen.channel_ids: .* do not name the channels dna, actin"):
            plates(screen)


def test_pattern_missing_map_and_column_are_named(pattern):
    screen = pattern(["P1/A01_s1_w1.tif"], "plate,well,compound\nP1,A1,DMSO\n")
    with pytest.raises(ConfigError, match=r"screen.plate_map: the file .*none.csv does not exist"):
        plates(screen | {"plate_map": "none.csv"})
    with pytest.raises(
        ConfigError, match=r"screen.columns.perturbation: .* no column 'gene'; .* plate, well, compound"
    ):
        plates(screen | {"columns": {"well": "well", "perturbation": "gene"}})


def test_profiles_take_columns_by_either_name(tmp_path):
    frame = pd.DataFrame(
        {
            "Metadata_Plate": ["P", "P"],
            "Metadata_Well": ["a1", "a2"],
            "Metadata_gene": ["c", "g"],
            "Metadata_dose": [0.0, 1.5],
            "Cells_Area": [1.0, 2.0],
        }
    )
    frame.to_csv(tmp_path / "profiles.csv", index=False)
    screen = {"layout": "profiles", "table": str(tmp_path / "profiles.csv"), "batch": "plate", "controls": ["c"]}
    short = screen | {"columns": {"perturbation": "gene"}}
    full = screen | {"columns": {"plate": "Metadata_Plate", "well": "Metadata_Well", "perturbation": "Metadata_gene"}}
    wells = index_wells(short, "P")
    pd.testing.assert_frame_equal(wells, index_wells(full, "P"))
    assert wells["dose"].tolist() == [0.0, 1.5]
    assert "cells_area" not in wells
    with pytest.raises(
        ConfigError, match=r"screen.control_where.kind: .* its columns are Metadata_Plate, Metadata_Well"
    ):
        plates(short | {"control_where": {"kind": ["x"]}})


def test_profiles_with_a_well_twice_are_refused(tmp_path):
    frame = pd.DataFrame({"plate": ["P", "P"], "well": ["A1", "A01"], "gene": ["c", "c"]})
    frame.to_parquet(tmp_path / "profiles.parquet")
    screen = {"layout": "profiles", "table": tmp_path / "profiles.parquet", "batch": "plate", "controls": ["c"]}
    with pytest.raises(DataError, match="1 wells are annotated more than once: P A01"):
        plates(screen | {"columns": {"perturbation": "gene"}})


def test_real_bbbc021(test_data):
    screen = {
        "layout": "pattern",
        "root": str(test_data / "bbbc021"),
        "channels": ["dna", "actin", "tubulin"],
        "batch": "plate",
        "controls": ["DMSO_0"],
        "pattern": "images/{plate}/{well}_s{site}_w{channel}.tif",
        "plate_map": "fields.csv",
        "columns": {"plate": "plate", "well": "well", "perturbation": ["compound", "concentration_uM"]},
    }
    found = survey(screen)
    assert len(found.plates) == 6
    assert not found.without_images
    assert not found.without_annotation
    wells = pd.concat([index_wells(screen, slug) for slug in found.plates])
    fields = pd.concat([index_fields(screen, slug) for slug in found.plates])
    assert len(wells) == 14
    assert len(fields) == 98
    assert fields.notna().all().all()
    assert wells["role"].value_counts().to_dict() == {"treatment": 8, "negative_control": 6}
    assert set(wells["perturbation"]) == {"DMSO_0", "cycloheximide_50", "cycloheximide_15", "cycloheximide_5"}
    assert "source_field" not in wells
    assert wells.groupby("compound")["concentration_um"].max().to_dict() == {"DMSO": 0, "cycloheximide": 50}


def test_real_nf1(test_data):
    screen = {
        "layout": "pattern",
        "root": str(test_data / "nf1"),
        "channels": ["dapi", "gfp", "rfp"],
        "channel_ids": ["DAPI", "GFP", "RFP"],
        "batch": "plate",
        "controls": ["WT"],
        "pattern": "{well}_01_*_{site}_{channel}_001.tif",
        "plate_map": "platemap.csv",
        "columns": {"well": "well_position", "perturbation": "genotype"},
    }
    assert list(plates(screen)) == ["nf1"]
    fields = index_fields(screen, "nf1")
    assert fields["well"].tolist() == ["B07", "D06", "D07", "F07", "H12"]
    assert fields["path_gfp"].tolist()[2] == "D7_01_2_1_GFP_001.tif"
    wells = index_wells(screen, "nf1").set_index("well")
    assert wells.loc["D06", "role"] == "negative_control"
    assert wells.loc["D07", "perturbation"] == "Null"


def test_real_ta_orf(test_data):
    screen = {
        "layout": "profiles",
        "table": str(test_data / "ta_orf/wells.parquet"),
        "batch": "plate",
        "controls": [],
        "columns": {"plate": "Metadata_Plate", "well": "Metadata_Well", "perturbation": "Metadata_gene"},
        "control_where": {"Metadata_pert_type": {"not": ["trt_oe"]}},
    }
    found = plates(screen)
    wells = pd.concat([index_wells(screen, slug) for slug in found])
    assert len(found) == 3
    assert len(wells) == 1092
    assert (wells["role"] == "negative_control").sum() == 158
    assert wells.loc[wells["role"] == "treatment", "perturbation"].nunique() == 189
    assert wells["pert_type"].notna().all()
    assert index_fields(screen, next(iter(found))).empty


def test_every_layout_says_whether_it_has_images():
    assert {name for name, layout in LAYOUTS.items() if not layout.has_images} == {"profiles"}
