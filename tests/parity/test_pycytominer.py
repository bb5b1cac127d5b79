"""Means weighted by the agreement of replicates beside pycytominer's MODZ."""

import numpy as np
import pandas as pd
import pytest

from cellmae.maps import Groups, agreement

pytest.importorskip("pycytominer", reason="needs pycytominer (extra dev)")


@pytest.mark.parametrize("noise", [0.3, 1.0, 5.0])
def test_weighted_means_are_the_peer(noise):
    from pycytominer.cyto_utils import modz

    generator = np.random.default_rng(0)
    wells = generator.integers(1, 7, 30)
    names = np.repeat([f"t{number:02d}" for number in range(30)], wells)
    X = np.repeat(generator.normal(size=(30, 20)), wells, axis=0)
    X = X + noise * generator.exponential(size=(len(X), 1)) * generator.normal(size=X.shape)
    features = [f"f{number}" for number in range(20)]
    table = pd.DataFrame(X, columns=features).assign(treatment=names)
    peer = modz(table, "treatment", features=features, method="spearman", min_weight=0.01, precision=15)
    groups = Groups.of(names)
    ours = groups.means(X, weights=agreement(X, groups))
    np.testing.assert_allclose(ours, peer.set_index("treatment").loc[groups.names, features], atol=1e-9)
