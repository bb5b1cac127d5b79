"""A study: its models side by side against their operations, while it runs and in the end."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from .checkout import CONFIG, PLATES, Checkout

pytestmark = pytest.mark.slow
LINE = {key: value for key, value in CONFIG["models"]["mae"].items() if key != "crops_total"}
SHORT, LONG = "line-c64", "line-c160"


def page(checkout: Checkout) -> str:
    return (checkout.results / "report/index.html").read_text()


def test_a_study_is_shown_while_it_runs_and_in_the_end(finished):
    finished.configure(study={"line": LINE | {"vary": {"crops_total": [64, 160]}}})
    finished.run("--", f"results/maps/{SHORT}/tvn/map.json")
    finished.run("--config", "partial=True")
    points = pd.read_csv(finished.results / "maps/scaling.csv")
    assert set(points["model"]) == {"mae", "intensity", SHORT}
    assert f"Not finished, and left out: {LONG}." in page(finished)
    assert finished.plan("--config", "partial=True") == set()

    assert f"Training {LONG}" in finished.plan()
    finished.run()
    points = pd.read_csv(finished.results / "maps/scaling.csv").set_index("model")
    assert set(points.index) == {"mae", "intensity", SHORT, LONG}
    assert points.loc[LONG, "flops"] == pytest.approx(2.5 * points.loc[SHORT, "flops"])
    trends, bands = (pd.read_csv(finished.results / f"maps/scaling_{name}.csv") for name in ("trends", "bands"))
    assert trends["line"].unique().tolist() == ["line"]
    assert bands["flops"].agg(["min", "max"]).tolist() == pytest.approx(points.loc[[SHORT, LONG], "flops"].tolist())
    assert "Not finished" not in page(finished)
    assert (finished.results / "report/figures/compute-1.png").is_file()


def test_points_on_the_way_are_in_the_report(finished):
    finished.configure(models__mae=CONFIG["models"]["mae"] | {"points": [160]})
    finished.run()
    recall = pd.read_csv(finished.results / "report/tables/recall.csv")
    assert set(recall["model"]) == {"mae", "mae-at-160", "intensity"}


def test_another_block_is_embedded_without_another_training(finished):
    line = {"family": "saved", "of": "mae", "against": "mae", "vary": {"embed_block": [2]}}
    finished.configure(study={"block": line})
    assert not {job for job in finished.plan() if job.startswith("Training")}
    finished.run("--", "results/maps/scaling.json")
    embedded = [
        ad.read_h5ad(finished.results / "embeddings" / name / f"{PLATES[0]}.h5ad").X for name in ("mae", "block-b2")
    ]
    assert not np.allclose(*embedded)
    points = pd.read_csv(finished.results / "maps/scaling.csv").set_index("model")
    took = ["crops", "flops", "device_hours", "memory_mb"]
    assert points.loc["block-b2", took].tolist() == points.loc["mae", took].tolist()
    assert (points.loc["mae", took] > 0).all()


def test_a_part_of_nothing_is_refused(fresh):
    fresh.configure(partial=True)
    with pytest.raises(SystemExit, match="cellmae: partial: no model is mapped yet"):
        fresh.plan()
