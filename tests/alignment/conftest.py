"""Small screens with known batch effects."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

MakeScreen = Callable[..., AnnData]


def make_screen(
    *,
    batches: int = 4,
    controls: int | list[int] = 12,
    treatments: int = 20,
    features: int = 40,
    shift: float = 3.0,
    effect: float = 1.0,
    seed: int = 0,
) -> AnnData:
    """Return annotated wells: correlated noise, treatments along ten directions, batches moved and stretched."""
    generator = np.random.default_rng(seed)
    counts = [controls] * batches if isinstance(controls, int) else controls
    noise = generator.normal(size=(features, features)) * np.exp(-np.arange(features) / 10)
    effects = generator.normal(size=(treatments, 10)) @ generator.normal(size=(10, features)) / 3
    tables, blocks = [], []
    for batch, count in enumerate(counts):
        labels = [f"gene{number}" for number in range(treatments)] + ["control"] * count
        means = np.vstack([effect * effects, np.zeros((count, features))])
        wells = means + generator.normal(size=means.shape) @ noise.T
        stretch = np.exp(0.1 * generator.normal(size=features))
        blocks.append(wells * stretch + shift * generator.normal(size=features) + 5)
        tables.append(pd.DataFrame({"plate": f"plate{batch}", "perturbation": labels}))
    obs = pd.concat(tables, ignore_index=True)
    obs["batch"] = obs["plate"]
    obs["treatment"] = obs["perturbation"]
    obs["role"] = np.where(obs["perturbation"] == "control", "negative_control", "treatment")
    obs.index = obs.index.astype(str)
    return AnnData(
        np.vstack(blocks).astype(np.float32),
        obs=obs.astype("category"),
        var=pd.DataFrame(index=[f"feature{number}" for number in range(features)]),
        uns={"cellmae": {"stage": "embeddings", "model": "toy", "weights_digest": "abc"}},
    )


@pytest.fixture
def screen() -> MakeScreen:
    """Make a screen; see the keywords of ``make_screen``."""
    return make_screen
