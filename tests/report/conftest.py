"""Finished runs, and the reports on them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cellmae.report import explorer, wells

from .runs import MEMBERS, finish_run, gene_names, report_on


@pytest.fixture(scope="session", autouse=True)
def plain_layout() -> Iterator[None]:
    """Lay wells out by their first two dimensions: compiling UMAP takes longer than all tests together."""

    def lay_out(vectors: NDArray, obs: pd.DataFrame, *, stage: str, seed: int) -> wells.WellMap:
        return wells.WellMap(stage, obs, vectors[:, :2], wells.nearest_wells(vectors))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wells, "lay_out", lay_out)
        patch.setattr(explorer, "lay_out", lambda units, seed: np.clip((units[:, :2] + 1) / 2, 0, 1))
        yield


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a simulated screen of 30 genes, two of which have names that are dangerous in a page or a figure."""
    return finish_run(tmp_path_factory.mktemp("run"), genes=gene_names())


@pytest.fixture(scope="session")
def report(run: Path) -> Path:
    """Report of that run."""
    return report_on(run)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a screen with too few genes for recall."""
    return finish_run(tmp_path_factory.mktemp("small"), genes=gene_names()[: 2 * MEMBERS])
