"""The default configuration: what `make demo` shows."""

import pandas as pd
import pytest


@pytest.fixture(scope="module")
def results(run_configuration):
    return run_configuration("config.yaml") / "results" / "demo"


def test_the_masked_autoencoder_recalls_more_than_chance(results):
    recall = pd.read_csv(results / "maps/mae-tiny/tvn/recall.csv").iloc[0]
    assert recall["recall_ci_low"] > recall["chance_ci_high"]


def test_constant_embeddings_score_nothing(results):
    recall = pd.read_csv(results / "maps/constant/tvn/recall.csv").iloc[0]
    assert recall["recall"] == 0
    assert not pd.read_csv(results / "maps/constant/tvn/probe.csv")["r2"].iloc[0] > 0.01


def test_models_are_compared_pair_by_pair(results):
    comparison = pd.read_csv(results / "maps/comparison.csv")
    comparison = comparison[~comparison[["model_a", "model_b"]].eq("constant").any(axis=1)]
    pairs = {frozenset(pair) for pair in comparison[["model_a", "model_b"]].to_numpy()}
    assert {frozenset(pair) for pair in (("mae-tiny", "untrained"), ("mae-tiny", "intensity"))} <= pairs
    assert comparison[["difference", "difference_ci_low", "difference_ci_high"]].notna().all(axis=None)


def test_the_report_is_one_file(results):
    page = (results / "report/index.html").read_text()
    assert "mae-tiny" in page
    assert 'src="http' not in page
