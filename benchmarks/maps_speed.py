"""How fast wells become a scored map, against the packages that people use for each part.

Contestants take turns, each in a process of its own; ratios are medians over rounds, of CPU seconds, and the memory is
the largest of the process. A peer that is not installed is left out.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from sklearn.decomposition import PCA

from cellmae.alignment import BatchRows, fit_alignment
from cellmae.alignment.coral import fit_ridge_coral
from cellmae.alignment.whitening import Coordinates, control_whitening
from processes import Cost, cost_of
from timing import Row, report


@dataclass(frozen=True)
class Contest:
    """One task and who does it, ours first; peers by the name of their package."""

    task: str
    contestants: Mapping[str, Callable[[], object]]


def screen(args: argparse.Namespace, features: int) -> AnnData:
    """Return wells on principal axes, with the variances that embeddings tend to have."""
    generator = np.random.default_rng(0)
    wells = args.wells // args.batches
    X = generator.normal(size=(args.batches * wells, features)) * np.exp(-3 * np.arange(features) / features)
    control = np.tile(np.arange(wells) < args.controls * wells, args.batches)
    batch = np.repeat([f"batch{number:03d}" for number in range(args.batches)], wells)
    obs = pd.DataFrame({"plate": batch, "batch": batch, "perturbation": np.where(control, "control", "other")})
    obs["role"] = np.where(control, "negative_control", "treatment")
    return AnnData(PCA(svd_solver="full").fit_transform(X), obs=obs.set_axis(obs.index.astype(str)))


def tvn(args: argparse.Namespace) -> Iterator[Contest]:
    """Typical variation normalisation of given principal coordinates, and our default with its PCA."""
    for dimensions in args.dimensions:
        adata = screen(args, dimensions)
        yield Contest(
            f"TVN, {dimensions} dimensions",
            {
                "cellmae, efaar": partial(normalise, adata),
                "cellmae, tvn and PCA": partial(align, adata),
                "efaar_benchmarking": partial(normalise_by_peer, adata),
            },
        )


def normalise(adata: AnnData) -> np.ndarray:
    X = np.asarray(adata.X)
    batches = BatchRows.of(adata.obs["batch"], adata.obs["role"] == "negative_control")
    groups = list(batches.groups())
    controls = [X[rows][batches.is_control[rows]] for _, rows in groups]
    whitening = control_whitening(Coordinates(controls, X[:, :1].var(axis=0), np.zeros((0, 0)), 0))
    aligned = whitening.apply(X)
    white = [aligned[rows][batches.is_control[rows]] for _, rows in groups]
    maps = fit_ridge_coral(white).maps(white)
    for batch, rows in groups:
        aligned[rows] = maps.apply(batch, aligned[rows])
    return aligned


def align(adata: AnnData) -> np.ndarray:
    return np.concatenate([aligned for *_, aligned in fit_alignment(adata, pca=adata.n_vars).stream(adata)])


def normalise_by_peer(adata: AnnData) -> np.ndarray:
    from efaar_benchmarking.efaar import tvn_on_controls

    return tvn_on_controls(adata.X, adata.obs, "perturbation", "control", batch_col="batch")


PARTS: Mapping[str, Callable[[argparse.Namespace], Iterator[Contest]]] = {"tvn": tvn}


def rows_of(contest: Contest, args: argparse.Namespace) -> list[Row]:
    """Let the contestants take turns and compare each with the first."""
    present = {name: work for name, work in contest.contestants.items() if find_spec(name.split(",")[0])}
    costs: dict[str, list[Cost]] = {name: [] for name in present}
    for _ in range(args.rounds):
        for name, work in present.items():
            costs[name].append(cost_of(work, seconds=args.seconds))
    first = next(iter(costs.values()))
    return [
        {
            "task": contest.task,
            "who": name,
            "CPU-s": median(cost.cpu for cost in own),
            "s": median(cost.wall for cost in own),
            "GB": max(cost.memory for cost in own),
            "this/first": median(a.cpu / b.cpu for a, b in zip(own, first, strict=True)),
        }
        for name, own in costs.items()
    ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--wells", type=int, default=20_000)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--controls", type=float, default=0.2, help="share of the wells of a batch")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[128], help="384 takes the peer minutes")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0, help="least length of a turn; shorter work is repeated")
    parser.add_argument("--csv", type=Path, help="file for the rows")
    return parser.parse_args()


def main() -> None:
    args = parse()
    rows: list[Row] = []
    for part in args.parts:
        for contest in PARTS[part](args):
            rows += rows_of(contest, args)
            report(rows, torch.device("cpu"), args.csv)


if __name__ == "__main__":
    main()
