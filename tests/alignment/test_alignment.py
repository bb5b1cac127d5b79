"""Alignments of whole screens: what they remove, what they keep, and what happens where data are thin."""

import h5py
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from cellmae.alignment import Alignment, fit_alignment
from cellmae.errors import ConfigError, DamagedError, DataError

METHODS = ("tvn", "efaar", "pca-cs", "centre", "none")


def controls_of(adata):
    return (adata.obs["role"] == "negative_control").to_numpy()


def share_between_batches(X, batches):
    """Share of the variance of rows that lies between batches."""
    centred = X - X.mean(axis=0)
    groups = [centred[batches == batch] for batch in np.unique(batches)]
    between = sum(len(group) * np.square(group.mean(axis=0)).sum() for group in groups)
    return between / np.square(centred).sum()


def nearest_agree(adata):
    """Share of perturbed wells whose nearest other well has the same treatment."""
    treated = ~controls_of(adata)
    X = adata.obsm["X_tvn"][treated]
    U = X / np.linalg.norm(X, axis=1, keepdims=True)
    labels = adata.obs["treatment"].astype(str).to_numpy()[treated]
    cosine = U @ U.T
    np.fill_diagonal(cosine, -1)
    return (labels[cosine.argmax(axis=1)] == labels).mean()


def test_tvn_removes_what_differs_between_batches(screen):
    adata = screen()
    before, after = (
        fit_alignment(adata, method=method, pca=20).apply(adata.copy()).obsm["X_tvn"] for method in ("none", "tvn")
    )
    batches = adata.obs["batch"].to_numpy()
    assert share_between_batches(before, batches) > 0.5
    assert share_between_batches(after, batches) < 0.05


def test_tvn_gives_controls_zero_mean_and_unit_variance(screen):
    adata = screen(controls=200)
    aligned = fit_alignment(adata, method="tvn", pca=10).apply(adata).obsm["X_tvn"][controls_of(adata)]
    assert np.abs(aligned.mean(axis=0)).max() < 0.2
    np.testing.assert_allclose(np.cov(aligned, rowvar=False), np.eye(10), atol=0.3)


@pytest.mark.parametrize(("controls", "gain"), [(3, 1.5), (12, 0.9), (40, 0.9)])
def test_few_controls_cost_tvn_less_than_efaar_and_many_no_more(screen, controls, gain):
    scores = dict.fromkeys(("tvn", "efaar"), 0.0)
    for seed in range(3):
        adata = screen(batches=6, controls=controls, effect=0.5, seed=seed)
        for method in scores:
            scores[method] += nearest_agree(fit_alignment(adata, method=method, pca=30).apply(adata.copy()))
    assert scores["tvn"] > gain * scores["efaar"]


def test_weight_of_all_wells_falls_as_controls_grow(screen):
    weights = [
        fit_alignment(screen(controls=controls, effect=4), method="tvn", pca=20).steps.whitening.borrowed
        for controls in (2, 12, 200)
    ]
    assert weights[0] > weights[1] > weights[2]


@pytest.mark.parametrize("method", METHODS)
def test_result_is_the_same_to_the_last_bit(screen, method):
    first, second = (fit_alignment(screen(), method=method, pca=15) for _ in range(2))
    assert first.digest == second.digest
    assert first.apply(screen()).obsm["X_tvn"].tobytes() == second.apply(screen()).obsm["X_tvn"].tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_saved_alignment_is_the_same(screen, method, tmp_path):
    adata = screen()
    alignment = fit_alignment(adata, method=method, pca=15)
    alignment.save(tmp_path / "a.fit.h5")
    loaded = Alignment.load(tmp_path / "a.fit.h5")
    assert loaded.digest == alignment.digest
    assert loaded.describe() == alignment.describe()
    assert (loaded.features, loaded.plates, loaded.source) == (alignment.features, alignment.plates, alignment.source)
    np.testing.assert_array_equal(loaded.apply(adata.copy()).obsm["X_tvn"], alignment.apply(adata).obsm["X_tvn"])


@pytest.mark.parametrize("method", METHODS)
def test_later_plates_are_placed_without_moving_the_others(screen, method):
    adata = screen(batches=5)
    later = (adata.obs["plate"] == "plate4").to_numpy()
    alignment = fit_alignment(adata[~later].copy(), method=method, pca=15)
    alone = alignment.apply(adata[~later].copy()).obsm["X_tvn"]
    together = alignment.apply(adata.copy())
    np.testing.assert_array_equal(together.obsm["X_tvn"][~later], alone)
    assert together.uns["cellmae"]["fit_plates"] == [f"plate{number}" for number in range(4)]
    if method == "tvn":
        assert share_between_batches(together.obsm["X_tvn"], adata.obs["batch"].to_numpy()) < 0.05


def test_later_plate_of_a_known_batch_is_treated_like_that_batch(screen):
    adata = screen()
    alignment = fit_alignment(adata, method="tvn", pca=15)
    half = adata[adata.obs["batch"] == "plate1"][::2].copy()
    expected = alignment.apply(adata.copy())[half.obs_names].obsm["X_tvn"]
    np.testing.assert_allclose(alignment.apply(half).obsm["X_tvn"], expected, rtol=1e-6)


def test_none_is_a_pca(screen):
    adata = screen()
    fit_alignment(adata, method="none", pca=8).apply(adata)
    np.testing.assert_array_equal(adata.obsm["X_tvn"], adata.obsm["X_pca"])
    centred = adata.X - adata.X.mean(axis=0)
    np.testing.assert_allclose(adata.obsm["X_pca"], centred @ adata.varm["PCs"], atol=1e-3)
    np.testing.assert_allclose(adata.obsm["X_pca"].var(axis=0, ddof=1), adata.uns["pca"]["variance"], rtol=1e-4)


def constant_and_doubled(adata):
    adata.X[:, 3] = 0.1
    adata.X[:, 5] = adata.X[:, 6]


def all_alike(adata):
    adata.X[:] = 2.5


def controls_alike(adata):
    for batch in adata.obs["batch"].unique():
        rows = controls_of(adata) & (adata.obs["batch"] == batch).to_numpy()
        adata.X[rows] = adata.X[rows][:1]


def still_batch(adata):
    adata.X[(adata.obs["batch"] == "plate0").to_numpy()] = 0.3


def controls_in_a_plane(adata):
    adata.X[controls_of(adata), 2:] = 0.7


THIN = {
    "enough": {},
    "a batch without controls": {"controls": [0, 12, 12, 12]},
    "one control a batch": {"controls": 1},
    "one control in one batch": {"controls": [0, 0, 1, 0]},
    "two controls in one batch": {"controls": [0, 0, 2, 0]},
    "one batch": {"batches": 1},
    "single wells": {"controls": 1, "treatments": 1, "batches": 6},
    "fewer wells than components": {"controls": 1, "treatments": 2, "batches": 2},
}


@pytest.mark.parametrize(
    "spoil", [None, constant_and_doubled, all_alike, controls_alike, controls_in_a_plane, still_batch]
)
@pytest.mark.parametrize("thin", THIN)
@pytest.mark.parametrize("method", METHODS)
def test_thin_data_give_finite_sane_values(screen, method, thin, spoil):
    adata = screen(**THIN[thin])
    if spoil:
        spoil(adata)
    if method in ("efaar", "pca-cs") and controls_of(adata).sum() < 2:
        with pytest.raises(DataError, match=f"{method} needs at least 2 negative controls and found 1 in 4 batches"):
            fit_alignment(adata, method=method)
        return
    aligned = fit_alignment(adata, method=method, pca=30).apply(adata).obsm["X_tvn"]
    assert np.isfinite(aligned).all()
    assert np.abs(aligned).max() < 1e4
    if spoil is all_alike:
        assert not aligned.any()


def test_batches_with_few_controls_are_named(screen, caplog):
    fit_alignment(screen(controls=[0, 12, 1, 12]), method="tvn", pca=10)
    assert "1 of 4 batches have no negative control and borrow from the others: plate0" in caplog.text
    assert "1 of 4 batches have one negative control and borrow from the others: plate2" in caplog.text


def test_pca_cs_names_batches_below_five_controls(screen, caplog):
    fit_alignment(screen(controls=[4, 5, 12, 3]), method="pca-cs", pca=10)
    assert "1 of 4 batches have 3 negative controls and borrow from the others: plate3" in caplog.text
    assert "1 of 4 batches have 4 negative controls and borrow from the others: plate0" in caplog.text
    assert "plate1" not in caplog.text.split("alignment:")[0]


@pytest.mark.parametrize("method", METHODS)
def test_what_does_not_vary_is_said(screen, method, caplog):
    adata = screen()
    constant_and_doubled(adata)
    still_batch(adata)
    adata.X[:, 3] = 0.3
    fit_alignment(adata, method=method, pca=10)
    assert "1 of 40 features do not vary and contribute nothing" in caplog.text
    assert "the wells of 1 of 4 batches do not differ from each other: plate0" in caplog.text


@pytest.mark.parametrize("method", METHODS)
def test_later_batch_that_does_not_vary_is_named_and_stays_sane(screen, method, caplog):
    adata = screen(batches=5, controls=11)
    alignment = fit_alignment(adata[adata.obs["batch"] != "plate0"].copy(), method=method, pca=10)
    still_batch(adata)
    aligned = alignment.apply(adata).obsm["X_tvn"]
    assert "the wells of 1 of 1 batches do not differ from each other: plate0" in caplog.text
    assert np.abs(aligned).max() < 1e4


@pytest.mark.parametrize("method", METHODS)
def test_nan_is_refused_by_the_fit_and_when_applied(screen, method):
    adata = screen()
    alignment = fit_alignment(adata, method=method, pca=10)
    adata.X[3, 5] = np.nan
    with pytest.raises(DataError, match=r"NaN or infinity in the batches plate0: .*annotate leaves such wells out"):
        fit_alignment(adata, method=method, pca=10)
    with pytest.raises(DataError, match=r"embeddings of 1 wells hold NaN or infinity \(3\)"):
        alignment.apply(adata)


def test_any_column_can_be_the_batch(screen):
    adata = screen()
    adata.obs["line"] = [3, 4, 4, 3] * (adata.n_obs // 4)
    alignment = fit_alignment(adata, batch="line", pca=10)
    assert alignment.batches.names.tolist() == ["3", "4"]
    assert alignment.describe()["options"]["batch"] == "line"
    adata.obs.loc[["5", "7"], "line"] = None
    for use in (lambda wells: fit_alignment(wells, batch="line", pca=10), alignment.apply):
        with pytest.raises(ConfigError, match=r"batch: column 'line' has no value for 2 wells \(5, 7\)"):
            use(adata)
    del adata.obs["line"]
    with pytest.raises(ConfigError, match=r"batch: no column 'line' among"):
        alignment.apply(adata)


def test_chosen_controls_are_the_only_ones(screen):
    adata = screen(controls=24)
    half = controls_of(adata) & (np.arange(adata.n_obs) % 2 == 0)
    adata.obs["perturbation"] = np.where(half, "DMSO", adata.obs["perturbation"].astype(str))
    expected = adata.copy()
    expected.obs["role"] = np.where(half, "negative_control", "treatment")
    chosen = fit_alignment(adata, pca=10, controls=["DMSO"])
    np.testing.assert_array_equal(
        chosen.apply(adata.copy()).obsm["X_tvn"], fit_alignment(expected, pca=10).apply(expected).obsm["X_tvn"]
    )
    assert chosen.describe()["options"]["controls"] == ["DMSO"]
    with pytest.raises(ConfigError, match="controls: no negative control is named gene1; there are DMSO, control"):
        fit_alignment(adata, pca=10, controls=["DMSO", "gene1"])


def test_pca_cs_is_standardisation_by_controls_on_their_axes(screen):
    adata = screen(controls=30)
    fit_alignment(adata, method="pca-cs", pca=8).apply(adata)
    control = controls_of(adata)
    axes = PCA(8, svd_solver="full").fit(adata.X[control].astype(float))
    Y = axes.transform(adata.X.astype(float))
    np.testing.assert_allclose(np.abs(adata.obsm["X_pca"]), np.abs(Y), rtol=1e-4, atol=1e-4)
    for batch in adata.obs["batch"].unique():
        own = (adata.obs["batch"] == batch).to_numpy()
        expected = StandardScaler().fit(Y[own & control]).transform(Y[own])
        np.testing.assert_allclose(np.abs(adata.obsm["X_tvn"][own]), np.abs(expected), rtol=1e-4, atol=1e-4)


def test_more_components_than_there_are_is_said(screen, caplog):
    alignment = fit_alignment(screen(features=6), method="none", pca=50)
    assert len(alignment.steps.axes.components) == 6
    assert "pca: 50 components asked for" in caplog.text


@pytest.mark.parametrize("method", ["tvn", "efaar", "pca-cs", "centre"])
def test_no_control_at_all_is_an_error(screen, method):
    with pytest.raises(DataError, match=r"needs at least \d negative controls and found 0 in 4 batches.*method none"):
        fit_alignment(screen(controls=0), method=method)


def test_one_well_is_an_error(screen):
    with pytest.raises(DataError, match="at least 2 wells"):
        fit_alignment(screen()[:1].copy(), method="none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "expected one of tvn, efaar, pca-cs, centre, none"),
        ({"batch": "week"}, "no column 'week'"),
        ({"standardise": "well"}, "expected 'batch' or 'none'"),
    ],
)
def test_wrong_option_is_named(screen, options, message):
    with pytest.raises(ConfigError, match=message):
        fit_alignment(screen(), **options)


def test_efaar_without_standardisation_keeps_batches_apart(screen):
    adata = screen()
    batches = adata.obs["batch"].to_numpy()
    apart, together = (
        share_between_batches(
            fit_alignment(adata, method="efaar", pca=20, standardise=key).apply(adata.copy()).obsm["X_pca"], batches
        )
        for key in ("none", "batch")
    )
    assert together < 0.01 < apart


def test_other_embeddings_are_refused(screen):
    alignment = fit_alignment(screen(), pca=5)
    with pytest.raises(DataError, match="fitted on 40 features"):
        alignment.apply(screen(features=10))
    other = screen()
    other.uns["cellmae"]["weights_digest"] = "def"
    with pytest.raises(DataError, match="weights abc and met those of def"):
        alignment.apply(other)


def test_other_files_are_refused(screen, tmp_path):
    path = tmp_path / "a.fit.h5"
    with pytest.raises(DataError, match="cannot be read as an alignment"):
        Alignment.load(path)
    with h5py.File(path, "w"):
        pass
    with pytest.raises(DataError, match="no alignment"):
        Alignment.load(path)
    fit_alignment(screen(), pca=5).save(path)
    with h5py.File(path, "a") as file:
        file.attrs["version"] = 99
    with pytest.raises(DataError, match=r"version 99 of the stage alignment, .* update cellmae"):
        Alignment.load(path)


def test_an_alignment_of_an_older_version_is_refused(screen, tmp_path):
    path = tmp_path / "a.fit.h5"
    fit_alignment(screen(), pca=5).save(path)
    with h5py.File(path, "a") as file:
        file.attrs["version"] = 0
    with pytest.raises(DamagedError, match=r"version 0 of the stage alignment, .* run snakemake again") as caught:
        Alignment.load(path)
    assert caught.value.manifest == tmp_path / "a.fit.json"
