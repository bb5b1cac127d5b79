"""Recall of known relationships: our CPU time and memory beside efaar_benchmarking's, and all pairs of a genome.

    python benchmarks/maps_recall_speed.py --relationships FOLDER [--genes 5000] [--genome 17000]

FOLDER holds CORUM.txt and others, as the peer reads them. Neither side resamples in the race; at the size of a genome
we do.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from cellmae.maps import read_relationships, recall
from timing import Row, report

SOURCES = ["CORUM", "HuMAP", "Reactome", "SIGNOR", "StringDB"]
THRESHOLDS = ((0.05, 0.95), (0.1, 0.9))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--relationships", type=Path, required=True)
    parser.add_argument("--genes", type=int, default=5000, help="of the map of the race")
    parser.add_argument("--genome", type=int, default=17_000, help="of the map that we score alone")
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--replicates", type=int, default=1000, help="of bootstrap and permutation, at the genome")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    names = known_names(arguments.relationships)
    small = random_map(names, arguments.genes, arguments.dimensions)
    large = random_map(names, arguments.genome, arguments.dimensions)
    contestants: dict[str, Callable[[], object]] = {
        "cellmae": lambda: ours(small, arguments.relationships, replicates=0),
        "efaar_benchmarking": lambda: theirs(small, arguments.relationships),
    }
    rows = [measure(name, small, work) for _ in range(arguments.rounds) for name, work in contestants.items()]
    whole = [measure("cellmae", large, lambda: ours(large, arguments.relationships, replicates=arguments.replicates))]
    report(rows + whole, torch.device("cpu"), arguments.csv)


def known_names(folder: Path) -> pd.Index:
    tables = [read_relationships(folder / f"{source}.txt") for source in SOURCES]
    return pd.Index(pd.unique(pd.concat(tables).to_numpy().ravel()))


def random_map(names: pd.Index, size: int, dimensions: int) -> AnnData:
    labels = [*names[:size], *(f"other{number}" for number in range(size - len(names)))]
    X = np.random.default_rng(0).normal(size=(size, dimensions)).astype(np.float32)
    return AnnData(X, obs=pd.DataFrame(index=labels))


def ours(adata: AnnData, folder: Path, *, replicates: int) -> None:
    known = {source: read_relationships(folder / f"{source}.txt") for source in SOURCES}
    recall(adata, known, thresholds=THRESHOLDS, replicates=replicates)


def theirs(adata: AnnData, folder: Path) -> None:
    from efaar_benchmarking import benchmarking

    data = benchmarking.Bunch(features=pd.DataFrame(adata.X), metadata=pd.DataFrame({"gene": adata.obs_names}))
    benchmarking.known_relationship_benchmark(
        data, pert_col="gene", benchmark_sources=SOURCES, recall_thr_pairs=list(THRESHOLDS), benchmark_data_dir=folder
    )


def measure(name: str, adata: AnnData, work: Callable[[], object]) -> Row:
    """Time a piece of work; the memory is the peak of the process so far."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"name": name, "perturbations": adata.n_obs, "cpu_seconds": cpu, "seconds": wall, "peak_gib": peak}


if __name__ == "__main__":
    main()
