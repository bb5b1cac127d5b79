"""Neighbourhoods and groups of wells."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cellmae.genes import Aliases, Genes
from cellmae.report.wells import (
    known_groups,
    lay_out,
    nearest_wells,
    perturbation_labels,
    shared_with_neighbours,
    well_maps,
)


def two_clouds(wells: int = 40) -> np.ndarray:
    """Vectors in two directions, so that the nearest wells of one are all of its own cloud."""
    generator = np.random.default_rng(0)
    centres = np.repeat(np.eye(2, 5), wells // 2, axis=0)
    return (centres + 0.01 * generator.normal(size=(wells, 5))).astype(np.float32)


def test_neighbours_share_a_label_that_separates_them() -> None:
    neighbours = nearest_wells(two_clouds())
    everyone = np.ones(40, dtype=bool)
    own = pd.Series(np.repeat(["left", "right"], 20))
    assert shared_with_neighbours(neighbours, own, everyone) == (1.0, pytest.approx(19 / 39))


def test_neighbours_do_not_share_a_label_that_says_nothing() -> None:
    neighbours = nearest_wells(two_clouds())
    alternating = pd.Series(np.tile(["odd", "even"], 20))
    found, shuffled = shared_with_neighbours(neighbours, alternating, np.ones(40, dtype=bool))
    assert found == pytest.approx(shuffled, abs=0.08)


def test_only_the_wells_asked_count() -> None:
    neighbours = np.array([[1], [0], [0]])
    labels = pd.Series(["a", "a", "b"])
    assert shared_with_neighbours(neighbours, labels, np.array([False, False, True]))[0] == 0.0


def test_wells_have_the_names_of_the_map(tmp_path: Path) -> None:
    vectors = two_clouds()
    obs = pd.DataFrame({"perturbation": np.repeat(["P53", "MYC"], 20), "batch": "1"}, index=map(str, range(40)))
    AnnData(vectors, obs=obs, obsm={"X_pca": vectors, "X_tvn": vectors}).write_h5ad(tmp_path / "tvn.h5ad")
    genes = Genes(aliases=Aliases(frozenset({"TP53", "MYC"}), {"P53": "TP53"}, {}))
    for laid_out in well_maps({"tvn": tmp_path / "tvn.h5ad"}, genes=genes, seed=0):
        assert laid_out.obs["perturbation"].tolist() == ["TP53"] * 20 + ["MYC"] * 20


def test_groups_are_closed_sets_of_three_and_more() -> None:
    pairs = pd.DataFrame([("a", "b"), ("b", "c"), ("d", "e"), ("x", "y")], columns=["entity1", "entity2"])
    assert known_groups(pairs, ["c", "a", "b", "d", "e", "f"]) == [("a", "b", "c")]


def test_controls_and_the_rest_get_no_colour() -> None:
    obs = pd.DataFrame({"perturbation": ["a"] * 3 + ["b"] * 2 + ["DMSO"] * 9, "role": "treatment"})
    obs.loc[obs["perturbation"] == "DMSO", "role"] = "negative_control"
    none_known = pd.DataFrame(columns=["source", "entity1", "entity2"])
    labels = perturbation_labels(obs, none_known)
    assert labels.tolist() == ["a"] * 3 + ["b"] * 2 + [""] * 9


def test_groups_of_the_source_with_most_give_the_colours() -> None:
    names = list("abcdefghi")
    obs = pd.DataFrame({"perturbation": names, "role": "treatment"})
    rows = [("dense", first, second) for first in names for second in names if first < second]
    rows += [("complexes", *pair) for pair in ("ab", "bc", "de", "ef", "gi", "hg")]
    labels = perturbation_labels(obs, pd.DataFrame(rows, columns=["source", "entity1", "entity2"]))
    assert labels.tolist() == ["a, b, c"] * 3 + ["d, e, f"] * 3 + ["g, h, i"] * 3


@pytest.mark.slow
def test_umap_keeps_clouds_apart_and_is_reproducible() -> None:
    vectors = two_clouds()
    obs = pd.DataFrame(index=[f"well{number}" for number in range(40)])
    first, second = (lay_out(vectors, obs, stage="before", seed=0).coordinates for _ in range(2))
    np.testing.assert_array_equal(first, second)
    left, right = first[:20], first[20:]
    between = np.linalg.norm(left.mean(axis=0) - right.mean(axis=0))
    assert between > 2 * max(np.linalg.norm(cloud - cloud.mean(axis=0), axis=1).mean() for cloud in (left, right))
