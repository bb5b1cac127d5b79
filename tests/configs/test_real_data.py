"""Real microscope images, and real profiles, through the whole workflow."""

import json

import pandas as pd
import pytest

from cellmae.files import read_json


@pytest.fixture(scope="module")
def bbbc021(run_configuration, test_data):
    return run_configuration("configs/bbbc021.yaml", CELLMAE_TEST_DATA=str(test_data)) / "results" / "bbbc021"


@pytest.fixture(scope="module")
def ta_orf(run_configuration, test_data):
    return run_configuration("configs/ta-orf.yaml", CELLMAE_TEST_DATA=str(test_data)) / "results" / "ta-orf"


def test_bbbc021_loses_no_field(bbbc021):
    manifests = [read_json(path) for path in (bbbc021 / "tiles").glob("*.json")]
    assert len(manifests) == 6
    assert sum(manifest["fields"] for manifest in manifests) == 98
    assert not any(manifest["dropped"] for manifest in manifests)


def test_bbbc021_learns_to_reconstruct(bbbc021):
    history = pd.read_csv(bbbc021 / "models/mae-tiny/history.csv")
    last = history.tail(20).mean()
    assert last["mse"] < 0.9 * last["mse_visible_mean"]
    assert last["mse"] < 0.9 * last["mse_zero"]


def test_bbbc021_says_why_recall_is_skipped(bbbc021):
    page = (bbbc021 / "report/index.html").read_text()
    assert "of at least 20" in page


@pytest.mark.parametrize("components", [50, 100])
def test_ta_orf_equals_efaar_benchmarking(ta_orf, test_data, components):
    reference = json.loads((test_data / "expected/ta_orf_pca_tvn_recall.json").read_text())[str(components)]
    ours = pd.read_csv(ta_orf / f"maps/l1000/efaar-{components}/recall.csv").set_index(["source", "low"])
    for row in reference["table"]:
        for low, high in ((0.05, 0.95), (0.1, 0.9)):
            found = ours.loc[row["source"], low]
            assert found["pairs"] == row["query_distribution_size"]
            assert abs(found["recall"] - row[f"recall_{low}_{high}"]) * found["pairs"] < 1


def test_ta_orf_has_the_robust_default_beside(ta_orf):
    recall = pd.read_csv(ta_orf / "maps/l1000/tvn/recall.csv")
    assert len(recall) == 10
    assert recall["recall"].between(0, 1).all()
