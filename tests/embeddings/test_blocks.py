import numpy as np
import pandas as pd
import pytest
import torch

from cellmae.embeddings import rank_blocks
from cellmae.embeddings.blocks import COLUMNS, AllBlocks, probe_blocks
from cellmae.models import build_baseline, load_encoder

GENES = ["PSMA1", "COPA", "SMC2", "ACTR2"]


def wells(plates=2, replicates=3, controls=4) -> pd.DataFrame:
    rows = [
        {"plate": f"plate{plate}", "perturbation": gene, "role": "treatment"}
        for plate in range(plates)
        for gene in GENES
        for _ in range(replicates)
    ]
    rows += [{"plate": "plate0", "perturbation": "EMPTY_control", "role": "negative_control"}] * controls
    return pd.DataFrame(rows)


def blocks_of(table: pd.DataFrame, signals: list[float], seed: int = 0) -> np.ndarray:
    """Return a block a signal, which shows the gene of a well that strongly, beside noise and a shift of the plate."""
    generator = np.random.default_rng(seed)
    centres = {gene: generator.normal(size=8) for gene in [*GENES, "EMPTY_control"]}
    of_gene = np.stack([centres[gene] for gene in table["perturbation"]])
    of_plate = 5 * table["plate"].eq("plate1").to_numpy()[:, None]
    return np.stack([signal * of_gene + of_plate + generator.normal(size=of_gene.shape) for signal in signals], axis=1)


@pytest.mark.parametrize("plates", [1, 2, 3])
def test_the_block_that_shows_most_comes_first(plates):
    table = wells(plates)
    ranking = probe_blocks(blocks_of(table, [0.0, 4.0, 0.7]), table)
    assert list(ranking.columns) == COLUMNS
    assert ranking["block"].tolist() == [2, 3, 1]
    assert ranking["accuracy"].iloc[0] > 0.9
    assert ranking["accuracy"].iloc[-1] < 0.6
    assert ranking["chance"].eq(1 / len(GENES)).all()
    assert ranking["wells"].eq(3 * plates * len(GENES)).all()  # without controls
    assert ranking["folds"].eq({1: 3, 2: 2, 3: 3}[plates]).all()


def test_what_a_plate_shows_of_itself_tells_no_perturbation():
    table = wells(2)
    table = table[(table["plate"] == "plate0") == table["perturbation"].isin(GENES[:2])]
    ranking = probe_blocks(blocks_of(table, [0.0]), table)
    assert ranking["accuracy"].iloc[0] < 0.6


def test_wells_without_replicate_are_a_reason():
    table = wells(1, replicates=1)
    ranking = probe_blocks(blocks_of(table, [1.0, 1.0]), table)
    assert ranking["reason"].tolist() == ["0 perturbations in 2 wells or more, of at least 2"] * 2
    assert ranking["accuracy"].isna().all()


def test_all_blocks_embed_as_one_would_be_chosen(tmp_path):
    spec = {"family": "untrained", "size": "tiny", "patch": 8}
    crops = torch.randint(0, 256, (3, 2, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for block in (None, 2):
        folder = tmp_path / str(block)
        build_baseline(spec | {"embed_block": block}, channels=["a", "b"], crop_size=16, folder=folder)
    every = AllBlocks(load_encoder(tmp_path / "None"))
    vectors = every.embed(crops).unflatten(1, (4, -1))
    assert every.dim == 4 * 128
    torch.testing.assert_close(vectors[:, 1], load_encoder(tmp_path / "2").embed(crops))
    torch.testing.assert_close(vectors[:, 3], load_encoder(tmp_path / "None").embed(crops))


def test_a_file_ranks_the_blocks_on_the_wells_of_a_plate(plate, make_model, tmp_path):
    genes = ["PSMA1", "PSMA1", "COPA"]
    annotated = pd.DataFrame({"plate": "e1_p", "plate_name": "p", "batch": "e1", "well": ["A01", "A02", "A03"]})
    annotated = annotated.assign(row=1, column=[1, 2, 3], perturbation=genes, treatment=genes, role="treatment")
    annotated.to_parquet(tmp_path / "wells.parquet")
    rank_blocks(
        make_model(),
        tiles=[tmp_path / "p.json"],
        wells=[tmp_path / "wells.parquet"],
        output=tmp_path / "blocks.csv",
        batch_size=4,
        threads=1,
    )
    ranking = pd.read_csv(tmp_path / "blocks.csv")
    assert sorted(ranking["block"]) == [1, 2, 3, 4]
    assert ranking["reason"].eq("1 perturbations in 2 wells or more, of at least 2").all()
