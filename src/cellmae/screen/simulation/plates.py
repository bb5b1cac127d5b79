"""Lays out the plates of the simulated screen and writes them as RxRx3 does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd

from cellmae.files import atomic_path, digest_bytes, digest_json, write_csv, write_manifest
from cellmae.logging import progress
from cellmae.screen import VERSION
from cellmae.screen.simulation.cells import CHANNELS, render_field
from cellmae.screen.simulation.genes import complex_pairs, screened_genes
from cellmae.screen.simulation.microscope import Optics, draw_optics, expose
from cellmae.screen.simulation.phenotypes import PHENOTYPES, guide_phenotypes
from cellmae.screen.wells import well_name

CONTROL = "EMPTY_control"
WELL_EFFECT = 0.2  # spread between wells with the same guide, in units of a phenotype
BATCH_EFFECT = 0.25  # shift of all cells of an experiment, likewise
EDGE_CROWDING = -0.5  # cells grow less well on the rim of a plate

LAYOUT_STREAM, OPTICS_STREAM, WELL_STREAM = 11, 12, 13


def design(simulation: Mapping[str, Any]) -> pd.DataFrame:
    """Say what is done to which well.

    Every plate holds the guides in a random order, beginning where the plate before it in the same experiment
    ended, so that replicates of a guide spread over plates. A plate's layout does not depend on how many
    plates or experiments there are.

    Parameters
    ----------
    simulation
        ``experiments``, ``plates`` (an experiment), ``genes``, ``guides`` (a gene), ``rows``, ``columns``,
        ``control_share`` and ``seed``.

    Returns
    -------
    pandas.DataFrame
        A row a well, with the columns of RxRx3's ``metadata.csv``.
    """
    genes = screened_genes(simulation["genes"]).index
    guides = [(gene, f"{gene}_guide_{n}") for gene in genes for n in range(1, simulation["guides"] + 1)]
    addresses = [
        well_name(row, column)
        for row in range(1, simulation["rows"] + 1)
        for column in range(1, simulation["columns"] + 1)
    ]
    controls = round(len(addresses) * simulation["control_share"])
    frames = []
    for experiment in range(1, simulation["experiments"] + 1):
        for plate in range(1, simulation["plates"] + 1):
            rng = np.random.default_rng([simulation["seed"], LAYOUT_STREAM, experiment, plate])
            treated = len(addresses) - controls
            slots = np.arange((plate - 1) * treated, plate * treated)
            chosen = _shuffled_guides(guides, slots, simulation["seed"], experiment) + [(CONTROL, CONTROL)] * controls
            order = rng.permutation(len(addresses))
            wells = pd.DataFrame([chosen[i] for i in order], columns=["gene", "treatment"])
            wells.insert(0, "address", addresses)
            wells.insert(0, "plate", plate)
            wells.insert(0, "experiment_name", f"gene-{experiment:03d}")
            frames.append(wells)
    wells = pd.concat(frames, ignore_index=True)
    names = wells["experiment_name"] + "_" + wells["plate"].astype(str) + "_" + wells["address"]
    wells.insert(0, "well_id", names)
    return wells.assign(SMILES="", concentration=np.nan, perturbation_type="CRISPR", cell_type="SIMULATED")


def _shuffled_guides(
    guides: list[tuple[str, str]], slots: np.ndarray, seed: int, experiment: int
) -> list[tuple[str, str]]:
    """Take slots of an endless sequence that holds all guides once in every round, each round shuffled anew."""
    rounds = range(slots[0] // len(guides), slots[-1] // len(guides) + 1)
    orders = [
        np.random.default_rng([seed, LAYOUT_STREAM, experiment, 0, round_]).permutation(len(guides))
        for round_ in rounds
    ]
    order = np.concatenate(orders)[slots - rounds[0] * len(guides)]
    return [guides[i] for i in order]


def simulate_plate(
    simulation: Mapping[str, Any],
    *,
    root: str | Path,
    experiment: str,
    plate: int,
    manifest: str | Path,
) -> None:
    """Draw the fields of one plate into ``root/images/EXPERIMENT/PlateN/``, and write its manifest last.

    Parameters
    ----------
    simulation
        The keys of :func:`design`, and ``fields`` (sites a well), ``size`` (pixels) and ``strength``.
    root
        Folder of the screen.
    experiment, plate
        Name of the experiment as in :func:`design`, and number of the plate in it.
    manifest
        Where to write the manifest.
    """
    wells = design(simulation)
    wells = wells[(wells["experiment_name"] == experiment) & (wells["plate"] == plate)].reset_index(drop=True)
    truth = _truth(simulation).drop(columns="perturbation")
    phenotypes = truth.reindex(wells["treatment"], fill_value=0.0).to_numpy()
    number = int(experiment.removeprefix("gene-"))
    experiment_rng = np.random.default_rng([simulation["seed"], OPTICS_STREAM, number])
    shift = experiment_rng.normal(0, BATCH_EFFECT, len(PHENOTYPES))
    optics = draw_optics(experiment_rng, np.random.default_rng([simulation["seed"], OPTICS_STREAM, number, plate]))

    folder = Path(root) / "images" / experiment / f"Plate{plate}"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = list(zip(wells["address"], phenotypes + shift, strict=True))
    digests = [
        _draw_well(simulation, optics, (number, plate), folder, index, address, phenotype)
        for index, (address, phenotype) in enumerate(
            progress(jobs, description=f"drawing {experiment} Plate{plate}", unit="well")
        )
    ]
    write_manifest(
        manifest,
        stage="simulation",
        version=VERSION,
        digest=digest_json(digests),
        wells=len(wells),
        fields=len(wells) * simulation["fields"],
    )


def _draw_well(
    simulation: Mapping[str, Any],
    optics: Optics,
    plate: tuple[int, int],
    folder: Path,
    index: int,
    address: str,
    phenotype: np.ndarray,
) -> str:
    """Draw all fields of one well and return the digest of their pixels."""
    row, column = divmod(index, simulation["columns"])
    rows, columns = simulation["rows"], simulation["columns"]
    edge = row in (0, rows - 1) or column in (0, columns - 1)
    rng = np.random.default_rng([simulation["seed"], WELL_STREAM, *plate, row, column])
    phenotype = phenotype + rng.normal(0, WELL_EFFECT, len(PHENOTYPES))
    phenotype[list(PHENOTYPES).index("cell_count")] += EDGE_CROWDING * edge
    position = (row / max(rows - 1, 1), column / max(columns - 1, 1))
    parts = []
    for site in range(1, simulation["fields"] + 1):
        light = render_field(phenotype, size=simulation["size"], rng=rng)
        field = expose(light, optics, position=position, edge=edge, rng=rng)
        for channel in range(1, len(CHANNELS) + 1):
            with atomic_path(folder / f"{address}_s{site}_w{channel}.png") as partial_file:
                partial_file.write_bytes(imagecodecs.png_encode(field[channel - 1], level=1))
        parts.append(field.tobytes())
    return digest_bytes(*parts)


def write_truth(simulation: Mapping[str, Any], *, root: str | Path) -> None:
    """Write ``metadata.csv``, ``relationships.csv`` (pairs that share a complex) and ``truth.parquet``.

    ``truth.parquet`` has the index ``treatment`` (the guide), the column ``perturbation`` (the gene) and a
    column a phenotype, see :data:`cellmae.screen.simulation.PHENOTYPES`; control wells are zero throughout.
    """
    root = Path(root)
    write_csv(root / "metadata.csv", design(simulation))
    write_csv(root / "relationships.csv", complex_pairs(screened_genes(simulation["genes"])))
    with atomic_path(root / "truth.parquet") as path:
        _truth(simulation).to_parquet(path)


def _truth(simulation: Mapping[str, Any]) -> pd.DataFrame:
    keys = ("genes", "guides", "strength", "seed")
    return guide_phenotypes(**{key: simulation[key] for key in keys}, weakest=simulation.get("weakest", 1.0))
