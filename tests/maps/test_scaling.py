"""Scores against operations: trends and gains of models whose recall is known."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import yaml

from cellmae.files import write_manifest
from cellmae.maps.scaling import BAND_POINTS, scale, scale_models, training_facts

GENES = [f"g{number}" for number in range(40)]
PAIRS = list(combinations(GENES, 2))
RECALLS = {"mae-s0": 0.2, "mae-s1": 0.25, "mae-large": 0.4, "mae-large-at-100": 0.3, "net": 0.25, "guess": 0.1}
FLOPS = {"mae-s0": 1e12, "mae-s1": 1e12, "mae-large": 1e14, "mae-large-at-100": 1e13, "net": 1e13, "guess": 0.0}
FAMILIES = {"net": "classifier", "guess": "untrained"}


def facts():
    table = pd.DataFrame({"flops": FLOPS, "family": {name: FAMILIES.get(name, "mae") for name in FLOPS}})
    return table.assign(line=table["family"]).loc[list(FLOPS)]


def pairs_of(share, seed=0):
    """Return pairs of which a share, drawn evenly over genes, is recalled."""
    rank = np.random.default_rng(seed).permutation(len(PAIRS)) / len(PAIRS)
    extreme = np.where(rank < share, 0.999, 0.5)
    table = pd.DataFrame(PAIRS, columns=["entity1", "entity2"])
    return table.assign(source="known", cosine=extreme, share_below=extreme, share_at_or_below=extreme)


def errors_of(r2):
    return pd.DataFrame({"perturbation": GENES, "wells": 1, "sse": 1 - r2, "sst": 1.0})


def test_trends_are_lines_over_the_logarithm_of_operations():
    pairs = {name: pairs_of(share) for name, share in RECALLS.items()}
    points, trends, bands, _ = scale(facts(), pairs, {}, replicates=200)
    assert points.set_index("model")["value"].to_dict() == pytest.approx(RECALLS, abs=1e-3)
    members = [name for name in RECALLS if name.startswith("mae")]
    slope, intercept = np.polyfit([np.log10(FLOPS[name]) for name in members], [RECALLS[name] for name in members], 1)
    (trend,) = trends.to_dict("records")
    assert trend["line"] == "mae"
    assert trend["slope"] == pytest.approx(slope, abs=1e-3)
    assert trend["intercept"] == pytest.approx(intercept, abs=2e-2)
    assert trend["slope_ci_low"] < trend["slope"] < trend["slope_ci_high"]
    assert (trend["models"], trend["lowest_flops"], trend["highest_flops"]) == (4, 1e12, 1e14)
    assert trend["p_value"] < 0.02
    assert (bands["flops"].min(), bands["flops"].max()) == pytest.approx((1e12, 1e14))
    assert bands["value"].to_numpy() == pytest.approx(trend["intercept"] + trend["slope"] * np.log10(bands["flops"]))
    assert (bands["value_ci_low"] < bands["value"]).all()
    assert (bands["value"] < bands["value_ci_high"]).all()
    width = (bands["value_ci_high"] - bands["value_ci_low"]).to_numpy()
    assert width[len(width) // 3] < width[-1]  # a line is known best amid its points


def test_gains_are_those_of_the_best_over_the_best_classifier():
    pairs = {name: pairs_of(share) for name, share in RECALLS.items()}
    *_, gains = scale(facts(), pairs, {}, replicates=200)
    (gain,) = gains.to_dict("records")
    assert (gain["model"], gain["baseline"]) == ("mae-large", "net")
    assert gain["gain"] == pytest.approx(0.4 / 0.25 - 1, abs=0.02)
    assert 0 < gain["gain_ci_low"] < gain["gain"] < gain["gain_ci_high"]


def test_without_a_classifier_or_a_second_budget_there_is_nothing_to_say():
    some = facts().loc[["mae-s0", "mae-s1", "guess"]]
    points, trends, bands, gains = scale(
        some, {name: pairs_of(RECALLS[name]) for name in some.index}, {}, replicates=20
    )
    assert len(points) == 3
    assert trends.empty
    assert bands.empty
    assert gains.empty


def test_a_gain_over_a_classifier_that_may_score_nothing_has_no_interval():
    pairs = {name: pairs_of(share) for name, share in RECALLS.items()} | {"net": pairs_of(0.002)}
    *_, gains = scale(facts(), pairs, {}, replicates=200)
    (gain,) = gains.to_dict("records")
    assert gain["gain"] > 1
    assert np.isnan([gain["gain_ci_low"], gain["gain_ci_high"]]).all()
    assert gain["p_value"] < 0.02  # its difference from the classifier is clear all the same


def test_almost_the_same_operations_are_no_trend():
    some = facts().loc[["mae-s0", "mae-s1"]]
    pairs = {name: pairs_of(RECALLS[name]) for name in some.index}
    for factor, found in ((1.9, 0), (2.0, 1)):
        _, trends, bands, _ = scale(some.assign(flops=[1e12, factor * 1e12]), pairs, {}, replicates=20)
        assert (len(trends), len(bands)) == (found, found * BAND_POINTS)


def test_models_are_scored_on_what_all_maps_have(caplog):
    pairs = {name: pairs_of(RECALLS[name]) for name in ("mae-s0", "mae-large", "net", "guess")}
    known = pairs["mae-s0"]["entity2"].isin(GENES[:20])
    pairs["guess"] = pairs["guess"][known.to_numpy()]
    pairs["net"] = pairs["net"][:0]
    errors = {name: errors_of(0.5) for name in ("mae-s0", "mae-large")} | {"guess": errors_of(0.1)[:10]}
    points, *_ = scale(facts().loc[list(pairs)], pairs, errors, replicates=20)
    recall, probe = (points[points["score"] == score].set_index("model") for score in ("recall", "probe_r2"))
    assert list(recall.index) == list(probe.index) == ["mae-s0", "mae-large", "guess"]
    assert set(recall["pairs"]) == {known.sum()}
    assert (set(recall["genes"]), set(probe["genes"])) == ({20}, {10})
    assert recall.loc["mae-large", "value"] == (pairs["mae-large"]["share_below"][known] > 0.9).mean()
    assert [record.message for record in caplog.records] == [
        "recall of known: not scored for net, which is left out",
        "known pairs of known: 190 of 780 are on all maps; fewer on those of guess (190)",
        "perturbations: 10 of 40 are on all maps; fewer on those of guess (10)",
    ]


def test_profiles_from_elsewhere_took_no_training(tmp_path):
    found = training_facts("cellprofiler", tmp_path, {"mae": {"vary": {"seed": [0]}}})
    assert (found["line"], found["family"], found["flops"]) == ("cellprofiler", "features", 0)
    assert np.isnan(found["device_hours"])


def test_equal_models_show_no_trend():
    pairs = {name: pairs_of(0.3, seed=number) for number, name in enumerate(RECALLS)}
    _, trends, _, gains = scale(facts(), pairs, {}, replicates=200)
    assert trends["slope_ci_low"].item() < 0 < trends["slope_ci_high"].item()
    assert gains["gain_ci_low"].item() < 0 < gains["gain_ci_high"].item()


def test_the_probe_is_scored_alike():
    pairs = {name: pairs_of(share) for name, share in RECALLS.items()}
    errors = {name: errors_of(share / 2) for name, share in RECALLS.items()}
    points, trends, *_ = scale(facts(), pairs, errors, replicates=20)
    assert points.loc[points["score"] == "probe_r2", "value"].tolist() == pytest.approx(
        [v / 2 for v in RECALLS.values()]
    )
    assert set(trends["score"]) == {"recall", "probe_r2"}


def test_files(tmp_path):
    for name, share in RECALLS.items():
        folder = tmp_path / "maps" / name / "tvn"
        folder.mkdir(parents=True)
        write_manifest(folder / "map.json", stage="maps", version=1, digest="", model=name, alignment="tvn")
        pairs_of(share).to_parquet(folder / "pairs.parquet")
        model = tmp_path / "models" / name
        model.mkdir(parents=True)
        record = {"stage": "models", "spec": {"family": FAMILIES.get(name, "mae"), "size": "tiny", "seed": 0}}
        record |= {"plates": ["a", "b"], "parameters": 7, "training": None}
        if FLOPS[name]:
            record["training"] = {"crops": 100 if "-at-" in name else 200, "flops": FLOPS[name]}
            history = pd.DataFrame({"crops": [50, 100, 200], "crops_per_second": [0.5, 1.0, 2.0]})
            history["devices"] = [1, 4, 4]
            history["memory_mb"] = [500.0, 600.0, 700.0]
            history.to_csv(model / "history.csv", index=False)
        (model / "model.yaml").write_text(yaml.safe_dump(record))
    study = {"ours": {"vary": {"seed": [0, 1]}}}
    halfway, whole = (training_facts(name, tmp_path / "models", study) for name in ("mae-large-at-100", "mae-large"))
    assert (halfway["device_hours"], halfway["memory_mb"]) == (pytest.approx(300 / 3600), 600)
    assert (whole["device_hours"], whole["memory_mb"]) == (pytest.approx(500 / 3600), 700)
    files = {name: tmp_path / f"{name}.csv" for name in ("points", "trends", "bands", "gains")}
    scale_models(
        [tmp_path / "maps" / name / "tvn" for name in RECALLS],
        models=tmp_path / "models",
        study={"mae": {"vary": {"seed": [0, 1]}}},
        replicates=20,
        **files,
    )
    points = pd.read_csv(files["points"]).set_index("model")
    alone = {name: name.removesuffix("-at-100") for name in RECALLS}
    assert points["line"].to_dict() == alone | {"mae-s0": "mae", "mae-s1": "mae"}
    assert points.loc["mae-large-at-100", "on_the_way"]
    assert points.loc["guess", ["device_hours", "memory_mb"]].isna().all()
    assert pd.read_csv(files["trends"])[["alignment", "line"]].to_numpy().tolist() == [["tvn", "mae-large"]]
    assert len(pd.read_csv(files["bands"])) == BAND_POINTS
    assert pd.read_csv(files["gains"])["line"].tolist() == ["mae", "mae-large"]
