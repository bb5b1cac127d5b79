"""The simulated screen: right layout, known truth, honest nuisance."""

import imagecodecs
import numpy as np
import pandas as pd
import pytest

from cellmae.files import read_manifest
from cellmae.screen.simulation import (
    CHANNELS,
    COMPLEXES,
    PHENOTYPES,
    complex_pairs,
    design,
    guide_phenotypes,
    render_field,
    screened_genes,
    simulate_plate,
    write_truth,
)
from cellmae.screen.simulation.microscope import draw_optics, expose

SIMULATION = {
    "experiments": 2,
    "plates": 2,
    "genes": 12,
    "guides": 2,
    "rows": 4,
    "columns": 6,
    "control_share": 0.25,
    "fields": 1,
    "size": 96,
    "strength": 1.0,
    "seed": 3,
}


def test_no_gene_belongs_to_two_complexes():
    genes = [gene for members in COMPLEXES.values() for gene in members]
    assert len(genes) == len(set(genes))


@pytest.mark.parametrize("count", [12, 48, 400])
def test_screened_genes(count):
    genes = screened_genes(count)
    assert len(genes) == count
    assert genes.index.is_unique
    assert genes["complex"].isna().mean() == pytest.approx(0.15, abs=0.05)


def test_too_many_genes_are_refused():
    with pytest.raises(ValueError, match="about 400 are available"):
        screened_genes(5000)


def test_pairs_share_a_complex():
    genes = screened_genes(48)
    pairs = complex_pairs(genes)
    assert not pairs.duplicated().any()
    assert (
        genes.loc[pairs["entity1"], "complex"].to_numpy() == genes.loc[pairs["entity2"], "complex"].to_numpy()
    ).all()


def test_design_is_balanced_and_has_enough_controls():
    wells = design({**SIMULATION, "rows": 8, "columns": 12, "genes": 48, "guides": 3, "plates": 3})
    controls = wells["gene"] == "EMPTY_control"
    assert (controls.groupby([wells["experiment_name"], wells["plate"]]).mean() >= 0.2).all()
    replicates = wells.loc[~controls, "treatment"].value_counts()
    assert replicates.max() - replicates.min() <= 2
    assert not wells.duplicated(["experiment_name", "plate", "address"]).any()


def test_a_plate_does_not_depend_on_how_many_there_are():
    few, many = design(SIMULATION), design({**SIMULATION, "plates": 3, "experiments": 3})
    shared = many[many["well_id"].isin(few["well_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(shared, few)


def test_truth_of_complexes():
    truth = guide_phenotypes(genes=48, guides=3, strength=1.0, seed=0)
    genes = truth.groupby("perturbation")[list(PHENOTYPES)].mean()
    unit = genes.div(np.linalg.norm(genes, axis=1), axis=0)
    cosine = unit @ unit.T
    pairs = complex_pairs(screened_genes(48))
    known = np.array([cosine.loc[a, b] for a, b in pairs.to_numpy()])
    assert np.abs(known).min() > 0.8
    assert (known < 0).any(), "some members do the opposite"
    assert (genes.loc["OR1A1"] == 0).all()
    pd.testing.assert_frame_equal(
        2 * truth.drop(columns="perturbation"),
        guide_phenotypes(genes=48, guides=3, strength=2.0, seed=0).drop(columns="perturbation"),
    )


def test_graded_complexes_reach_from_strong_to_weak():
    even, graded = (guide_phenotypes(genes=400, guides=1, strength=1.0, seed=0, weakest=w) for w in (1.0, 0.1))
    lengths = [np.linalg.norm(truth[list(PHENOTYPES)], axis=1) for truth in (graded, even)]
    acting = lengths[1] > 0
    ratio = pd.Series(lengths[0][acting] / lengths[1][acting], index=even["perturbation"][acting]).round(9)
    by_complex = ratio.groupby(screened_genes(400)["complex"].reindex(ratio.index).to_numpy())
    assert (by_complex.nunique() == 1).all()
    assert by_complex.first().min() < 0.15
    assert by_complex.first().max() > 0.85


@pytest.mark.parametrize(
    ("phenotype", "channel", "measure"),
    [
        ("nucleus_size", "nuclei", lambda image: (image > 0.3).mean()),
        ("cell_size", "er", lambda image: (image > 0.05).mean()),
        ("nucleolus_count", "rna", lambda image: (image > 0.6).mean()),
        ("chromatin_clumps", "nuclei", lambda image: image[image > 0.3].std()),
        ("mitochondria_length", "mitochondria", lambda image: (image > 0.3).mean()),
        ("golgi_fragments", "golgi", lambda image: (image > 0.5).mean()),
        ("cell_count", "nuclei", lambda image: image.mean()),
    ],
)
def test_phenotypes_are_drawn(phenotype, channel, measure):
    values = []
    for sign in (-1.5, 1.5):
        well = np.zeros(len(PHENOTYPES))
        well[list(PHENOTYPES).index(phenotype)] = sign
        fields = [render_field(well, size=192, rng=np.random.default_rng(seed)) for seed in range(4)]
        values.append(np.mean([measure(field[CHANNELS.index(channel)]) for field in fields]))
    assert values[1] > 1.1 * values[0]


def test_exposure_differs_between_wells_and_plates():
    light = render_field(np.zeros(len(PHENOTYPES)), size=96, rng=np.random.default_rng(0))

    def brightness(experiment, plate, well):
        optics = draw_optics(np.random.default_rng(experiment), np.random.default_rng([experiment, plate]))
        counts = expose(light, optics, position=(0.5, 0.5), edge=False, rng=np.random.default_rng(well))
        assert counts.dtype == np.uint16
        return np.log(counts.mean(axis=(1, 2)))

    wells = np.array([brightness(1, 1, well) for well in range(30)])
    assert 0.1 < wells.std(axis=0).mean() < 0.4
    assert np.abs(brightness(1, 1, 0) - brightness(2, 1, 0)).max() > 0.1


def test_simulate_plate_is_deterministic_and_in_the_layout_of_rxrx3(tmp_path):
    digests = []
    for folder in ("a", "b"):
        root, manifest = tmp_path / folder, tmp_path / folder / "plate.json"
        simulate_plate(SIMULATION, root=root, experiment="gene-002", plate=1, manifest=manifest)
        digests.append(read_manifest(manifest, stage="simulation")["digest"])
    assert digests[0] == digests[1]
    images = sorted((tmp_path / "a/images/gene-002/Plate1").iterdir())
    assert len(images) == 4 * 6 * len(CHANNELS)
    assert images[0].name == "A01_s1_w1.png"
    image = imagecodecs.imread(images[0])
    assert image.shape == (96, 96)
    assert image.dtype == np.uint16


def test_write_truth(tmp_path):
    write_truth(SIMULATION, root=tmp_path)
    metadata = pd.read_csv(tmp_path / "metadata.csv", keep_default_na=False)
    truth = pd.read_parquet(tmp_path / "truth.parquet")
    treated = set(metadata["treatment"]) - {"EMPTY_control"}
    assert treated <= set(truth.index)
    assert list(truth.columns) == ["perturbation", *PHENOTYPES]
    relationships = pd.read_csv(tmp_path / "relationships.csv")
    assert set(relationships.stack()) <= set(truth["perturbation"])
