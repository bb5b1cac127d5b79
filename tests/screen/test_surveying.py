import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from cellmae.errors import ConfigError, DataError
from cellmae.screen import plates, survey, surveying


def test_missing_root_is_named(rxrx3, tmp_path):
    with pytest.raises(ConfigError, match=r"screen.root: the folder .*elsewhere does not exist"):
        plates(rxrx3 | {"root": str(tmp_path / "elsewhere")})


def test_screen_without_wells_is_refused(rxrx3, edit_metadata):
    edit_metadata(lambda metadata: metadata.iloc[:0])
    with pytest.raises(DataError, match=r"metadata.csv holds no annotated well"):
        plates(rxrx3)


def test_duplicate_wells_are_listed(rxrx3, edit_metadata):
    edit_metadata(lambda metadata: metadata.assign(address=metadata["address"].replace("A02", "a1")))
    with pytest.raises(DataError, match=r"4 wells are annotated more than once: gene-001 Plate1 A01, gene-001 Plate2"):
        plates(rxrx3)


def test_a_label_that_does_not_occur_lists_those_that_do(rxrx3):
    with pytest.raises(ConfigError, match=r"screen.controls: no well has the perturbation 'DMSO'; .*: TP53, "):
        plates(rxrx3 | {"controls": ["EMPTY_control", "DMSO"]})
    with pytest.raises(ConfigError, match=r"screen.positive_controls: no well has the perturbation 'PLK1'"):
        plates(rxrx3 | {"positive_controls": ["PLK1"]})


def test_at_most_ten_labels_are_listed(rxrx3, edit_metadata):
    edit_metadata(lambda metadata: metadata.assign(gene=[f"G{n}" for n in range(len(metadata))]))
    with pytest.raises(ConfigError, match=r"most frequent first: (G\d+, ){9}G\d+ and 6 more$"):
        plates(rxrx3)


def test_a_screen_needs_negative_controls(rxrx3):
    with pytest.raises(ConfigError, match=r"screen.controls: no well of the plates at hand is a negative control"):
        plates(rxrx3 | {"controls": []})
    with pytest.raises(ConfigError, match=r"screen.positive_controls: TP53 is a negative control, too"):
        plates(rxrx3 | {"controls": ["TP53"], "positive_controls": ["TP53"]})


def test_plates_that_lack_images_or_annotation_are_left_out(rxrx3, edit_metadata, tmp_path, caplog):
    edit_metadata(lambda metadata: metadata[metadata["experiment_name"] == "gene-001"])
    for image in (tmp_path / "images/gene-001/Plate2").iterdir():
        image.unlink()
    found = survey(rxrx3)
    assert list(found.plates) == ["gene-001_Plate1"]
    assert found.without_images == ["gene-001 Plate2"]
    assert found.without_annotation == ["gene-002 Plate1", "gene-002 Plate2"]
    assert "plates without images are left out: gene-001 Plate2" in caplog.text


def test_names_that_agree_nowhere_are_shown(rxrx3, edit_metadata):
    edit_metadata(lambda metadata: metadata.assign(experiment_name="Gene-001").drop_duplicates(["plate", "address"]))
    with pytest.raises(DataError, match=r"images of gene-001 Plate1, .* and annotations of Gene-001 Plate1, Gene-001"):
        plates(rxrx3)


def test_names_are_only_names(pattern):
    name = "; rm -rf x"
    screen = pattern(
        [f"{name}/A01_s1_w1.tif", "P 1/A01_s1_w1.tif"], f"plate,well,compound\n{name},A1,DMSO\nP 1,A1,DMSO\n"
    )
    found = plates(screen)
    assert {plate.name for plate in found.values()} == {name, "P 1"}
    assert set(found) == {"rm--rf-x", "P-1"}


def test_digest_changes_with_the_annotation_of_that_plate_alone(rxrx3, edit_metadata):
    before = plates(rxrx3)
    edit_metadata(lambda metadata: metadata.sample(frac=1, random_state=0))
    assert plates(rxrx3) == before

    def correct(metadata):
        rows = (metadata["experiment_name"] == "gene-002") & (metadata["plate"] == "1") & (metadata["address"] == "B01")
        metadata.loc[rows, "treatment"] = "MYC_guide_9"
        return metadata

    edit_metadata(correct)
    after = plates(rxrx3)
    assert {slug for slug in before if before[slug] != after[slug]} == {"gene-002_Plate1"}


@pytest.mark.parametrize("change", [{"controls": ["EMPTY_control", "MYC"]}, {"batch": "plate"}])
def test_digest_changes_with_roles_and_batches(rxrx3, change):
    before, after = plates(rxrx3), plates(rxrx3 | change)
    assert all(before[slug].wells_digest != after[slug].wells_digest for slug in before)


def test_cache_is_used_while_nothing_changes(rxrx3, tmp_path, monkeypatch):
    cache = tmp_path / "results/plates.json"
    first = survey(rxrx3, cache=cache)
    monkeypatch.setattr(surveying, "open_layout", lambda screen: pytest.fail("looked again"))
    assert survey(rxrx3, cache=cache) == first


@pytest.mark.parametrize("change", ["config", "metadata", "plate", "image", "garbled", "other json"])
def test_cache_is_dropped_when_something_changes(rxrx3, edit_metadata, tmp_path, change):
    cache = tmp_path / "results/plates.json"
    for image in (tmp_path / "images/gene-002/Plate2").iterdir():
        image.unlink()
    first = survey(rxrx3, cache=cache)
    screen = dict(rxrx3)
    if change == "config":
        screen["batch"] = "plate"
    elif change == "metadata":
        edit_metadata(lambda metadata: metadata.iloc[:-5])
    elif change == "plate":
        (tmp_path / "images/gene-001/Plate2").rename(tmp_path / "images/gene-001/Plate3")
    elif change == "image":
        (tmp_path / "images/gene-002/Plate2/A01_s1_w1.png").write_text("pixels")
    else:
        cache.write_text("{" if change == "garbled" else "[]")
    assert survey(screen, cache=cache) == survey(screen)
    assert (survey(screen, cache=cache) == first) == (change in ("garbled", "other json"))


def test_a_cache_that_cannot_be_written_is_said_and_survived(rxrx3, tmp_path, caplog):
    (tmp_path / "results").write_text("a file where a folder should be")
    found = plates(rxrx3, cache=tmp_path / "results/plates.json")
    assert found == plates(rxrx3)
    assert "plates.json cannot be written (" in caplog.text


def test_planning_imports_no_torch(rxrx3):
    code = f"import sys, cellmae.screen as s; s.plates({rxrx3!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
def test_planning_the_whole_of_rxrx3_takes_seconds(tmp_path):
    wells, plates_an_experiment = 1000, 12
    number = np.arange(2_200_000)
    plate = number // wells
    letters = [f"{chr(65 + row)}" for row in range(25)]
    addresses = np.array([f"{letters[n // 40]}{n % 40 + 1:02d}" for n in range(wells)])
    genes = np.where(number % 5 == 0, "EMPTY_control", np.char.add("RXRX3_", (number * 7919 % 17063).astype(str)))
    names = np.char.add("gene-", (plate // plates_an_experiment).astype(str))
    table = {"experiment_name": names, "plate": plate % plates_an_experiment + 1, "address": addresses[number % wells]}
    pd.DataFrame(table | {"gene": genes, "treatment": genes}).to_csv(tmp_path / "metadata.csv", index=False)
    for n in range(plate[-1] + 1):
        folder = tmp_path / f"images/gene-{n // plates_an_experiment}/Plate{n % plates_an_experiment + 1}"
        folder.mkdir(parents=True)
        (folder / "A01_s1_w1.png").touch()
    screen = {"layout": "rxrx3", "root": str(tmp_path), "channels": ["nuclei"], "batch": "experiment"}
    screen["controls"] = ["EMPTY_control"]
    start = time.process_time()
    assert len(plates(screen, cache=tmp_path / "plates.json")) == 2200
    assert time.process_time() - start < 60
    start = time.process_time()
    plates(screen, cache=tmp_path / "plates.json")
    assert time.process_time() - start < 1
