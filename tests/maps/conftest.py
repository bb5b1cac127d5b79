"""Small aligned screens and maps with known structure."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

MakeMap = Callable[..., AnnData]
MakeWells = Callable[..., AnnData]


def make_map(*, complexes: int = 12, members: int = 3, spread: float = 0.3, dimensions: int = 16, seed: int = 0):
    """Return a map whose genes ``c{complex}m{member}`` scatter about a direction a complex."""
    generator = np.random.default_rng(seed)
    centres = np.repeat(generator.normal(size=(complexes, dimensions)), members, axis=0)
    names = [f"c{number}m{member}" for number in range(complexes) for member in range(members)]
    X = centres + spread * generator.normal(size=centres.shape)
    return AnnData(X.astype(np.float32), obs=pd.DataFrame(index=names))


def make_wells(*, genes: int = 24, guides: int = 2, plates: int = 4, noise: float = 0.5, seed: int = 0):
    """Return aligned wells of guides whose effect is a linear image of a phenotype, and the phenotypes."""
    generator = np.random.default_rng(seed)
    phenotype = generator.normal(size=(genes, 3))
    image = generator.normal(size=(3, 10))
    names = [(f"gene{gene}", f"gene{gene}_guide{guide}") for gene in range(genes) for guide in range(guides)]
    truth = pd.DataFrame(np.repeat(phenotype, guides, axis=0), columns=["size", "shape", "texture"])
    truth.insert(0, "perturbation", [gene for gene, _ in names])
    truth.index = pd.Index([guide for _, guide in names], name="treatment")
    controls = 6
    X, tables = [], []
    for plate in range(plates):
        means = np.vstack([truth.iloc[:, 1:].to_numpy() @ image, np.zeros((controls, 10))])
        X.append(means + noise * generator.normal(size=means.shape))
        table = pd.DataFrame(names + [("control", "control")] * controls, columns=["perturbation", "treatment"])
        tables.append(table.assign(plate=f"p{plate}", batch=f"b{plate // 2}"))
    obs = pd.concat(tables, ignore_index=True)
    obs["role"] = np.where(obs["perturbation"] == "control", "negative_control", "treatment")
    obs.index = obs.index.astype(str)
    aligned = np.vstack(X).astype(np.float32)
    return AnnData(
        aligned.copy(), obs=obs.astype("category"), obsm={"X_tvn": aligned}, uns={"cellmae": {"stage": "alignment"}}
    ), truth


@pytest.fixture
def complexes() -> MakeMap:
    """Make a map; see the keywords of ``make_map``."""
    return make_map


@pytest.fixture
def known_pairs() -> pd.DataFrame:
    """All pairs of members of the complexes of ``make_map``."""
    pairs = [(f"c{number}m{a}", f"c{number}m{b}") for number in range(12) for a in range(3) for b in range(a + 1, 3)]
    return pd.DataFrame(pairs, columns=["entity1", "entity2"])


@pytest.fixture
def wells() -> MakeWells:
    """Make aligned wells and their truth; see the keywords of ``make_wells``."""
    return make_wells
