"""Speed and memory of the scores of replicates, beside copairs, efaar_benchmarking and scipy.

The screen has 20,000 wells, a fifth of them negative controls, 4,500 perturbations, 128 dimensions; proximity bias
takes 5,000 genes on 40 arms. Each contestant works in a process of its own, forked once all data and libraries are
there, so that its CPU seconds and its peak memory above that are its own:

    OMP_NUM_THREADS=1 python benchmarks/maps_replicates_speed.py --out results/maps_replicates_speed.csv
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from copairs.map import average_precision, mean_average_precision
from efaar_benchmarking.benchmarking import pert_signal_consistency_benchmark, pert_signal_magnitude_benchmark
from scipy.stats import brunnermunzel

from cellmae.maps import Groups, activity, proximity_bias, score_consistency, score_magnitude
from cellmae.maps.replication import mean_cosines
from cellmae.maps.similarity import cosine_matrix
from timing import Row, report

WELLS, PERTURBATIONS, DIMENSIONS, CONTROL_SHARE = 20_000, 4_500, 128, 0.2
GENES, ARMS = 5_000, 40
DRAWS = 10_000


class Screen:
    """Wells of perturbations with weak effects, and controls."""

    def __init__(self, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        codes = generator.integers(PERTURBATIONS, size=WELLS)
        self.control = np.arange(WELLS) < CONTROL_SHARE * WELLS
        effects = 0.5 * generator.normal(size=(PERTURBATIONS, DIMENSIONS))
        self.X = generator.normal(size=(WELLS, DIMENSIONS)) + np.where(self.control[:, None], 0, effects[codes])
        names = np.array([f"gene{code:04d}" for code in codes], dtype=object)
        self.names = pd.Series(np.where(self.control, "control", names), dtype=object)
        self.groups = Groups.of(self.names.where(~self.control))
        self.controls, self.treated = np.flatnonzero(self.control), np.flatnonzero(~self.control)
        self.genes = generator.normal(size=(GENES, DIMENSIONS))
        self.arms = pd.Series(generator.integers(ARMS, size=GENES).astype(str))

    def metadata(self) -> pd.DataFrame:
        return pd.DataFrame({"perturbation": self.names, "reference": np.where(self.control, np.arange(WELLS), -1)})


def copairs_activity(screen: Screen) -> None:
    both = ["perturbation", "reference"]
    table = average_precision(screen.metadata(), screen.X, both, [], [], both, progress_bar=False)
    with tempfile.TemporaryDirectory() as folder:
        mean_average_precision(
            table[~screen.control], ["perturbation"], DRAWS, 0.05, seed=0, progress_bar=False, cache_dir=folder
        )


def efaar_consistency(screen: Screen) -> None:
    null = sorted(set(screen.names[screen.treated]))[:500]
    pert_signal_consistency_benchmark(
        screen.X, screen.metadata(), "perturbation", null, keys_to_drop=["control"], n_jobs=1
    )


def efaar_magnitude(screen: Screen) -> None:
    null = sorted(set(screen.names[screen.treated]))[:500]
    pert_signal_magnitude_benchmark(screen.X, screen.metadata(), "perturbation", null, "control", n_jobs=1)


def scipy_proximity(screen: Screen) -> None:
    cosine = cosine_matrix(screen.genes)
    for arm in screen.arms.unique():
        own = (screen.arms == arm).to_numpy()
        within = cosine[np.ix_(own, own)][np.triu_indices(own.sum(), k=1)]
        brunnermunzel(within, cosine[np.ix_(own, ~own)].ravel())
    first, second = np.triu_indices(GENES, k=1)
    same = screen.arms.to_numpy()[first] == screen.arms.to_numpy()[second]
    values = cosine[first, second]
    brunnermunzel(values[same], values[~same])


CONTESTS: dict[str, dict[str, Callable[[Screen], object]]] = {
    "activity mAP, all controls": {
        "cellmae": lambda screen: activity(screen.X, screen.groups, screen.controls, draws=DRAWS),
        "copairs": copairs_activity,
    },
    "consistency": {
        "cellmae": lambda screen: score_consistency(screen.X, screen.groups, screen.treated, draws=DRAWS),
        "cellmae, without sets": lambda screen: mean_cosines(screen.X, screen.groups),
        "efaar_benchmarking": efaar_consistency,
    },
    "magnitude, 1,000 controls": {
        "cellmae": lambda screen: score_magnitude(screen.X, screen.groups, screen.controls, draws=DRAWS),
        "efaar_benchmarking": efaar_magnitude,
    },
    "proximity bias": {
        "cellmae": lambda screen: proximity_bias(screen.genes, screen.arms),
        "scipy": scipy_proximity,
    },
}


def peak_memory() -> int:
    """Highest resident memory of this process, in kB, since it was last reset."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


def work(contestant: Callable[[Screen], object], screen: Screen, results: "multiprocessing.Queue[Row]") -> None:
    """Run a contestant in a fresh process and put down what it took."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    Path("/proc/self/clear_refs").write_text("5")
    before, cpu, start = peak_memory(), time.process_time(), time.perf_counter()
    contestant(screen)
    results.put(
        {
            "cpu_s": time.process_time() - cpu,
            "wall_s": time.perf_counter() - start,
            "memory_GB": (peak_memory() - before) / 1e6,
        }
    )


def measure(contestant: Callable[[Screen], object], screen: Screen, rounds: int) -> Row:
    """Return the fastest of some rounds."""
    context = multiprocessing.get_context("fork")
    rows = []
    for _ in range(rounds):
        results = context.Queue()
        process = context.Process(target=work, args=(contestant, screen, results))
        process.start()
        rows.append(results.get())
        process.join()
    return min(rows, key=lambda row: row["cpu_s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="of each contestant; the fastest counts (default 1)")
    parser.add_argument("--only", choices=["cellmae"], help="leave the peers out")
    parser.add_argument("--out", type=Path, help="csv file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    screen = Screen()
    rows: list[Row] = []
    for score, contestants in CONTESTS.items():
        measured = {
            name: measure(contestant, screen, options.rounds)
            for name, contestant in contestants.items()
            if options.only is None or name.startswith(options.only)
        }
        ours = measured["cellmae"]
        rows += [
            {"score": score, "who": name, **row, "times_our_cpu": row["cpu_s"] / ours["cpu_s"]}
            for name, row in measured.items()
        ]
        print("; ".join(f"{score}, {name}: {row['cpu_s']:.2f} CPU s" for name, row in measured.items()), flush=True)
    report(rows, torch.device("cpu"), options.out)


if __name__ == "__main__":
    main()
