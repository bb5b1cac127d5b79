"""Recall against training compute."""

import pytest
import torch

from cellmae.models import build_encoder
from cellmae.pretraining import Plan
from cellmae.pretraining.objective import build_objective
from cellmae.pretraining.throughput import flops_per_crop
from cellmae.report.compute import compute_figure, compute_sections, training_flops

from .test_scores import scores

COLOURS = {"mae": "#000000", "intensity": "#ffffff"}


def test_models_stand_at_their_compute() -> None:
    (section,) = compute_sections(scores(), {"mae": 1e15, "intensity": 1e17}, colours=COLOURS)
    table = section.blocks[1].frame
    assert table[["model", "alignment", "flops"]].to_numpy().tolist() == [
        *(["mae", "tvn", 1e15], ["mae", "efaar", 1e15], ["intensity", "tvn", 1e17])
    ]
    rows = scores().iloc[:1].assign(label="mae", flops=1e15)
    axes = compute_figure(rows, colours=COLOURS, markers={"tvn": "o"}).axes[0]
    assert axes.get_xscale() == "log"
    assert [list(line.get_xdata()) for line in axes.lines[:2]] == [[1e15, 1e15], [1e15]]
    assert [list(line.get_ydata()) for line in axes.lines[:2]] == [[0.5, 0.7], [0.6]]


def test_one_compute_draws_nothing() -> None:
    assert compute_sections(scores(), {"mae": 1e15}, colours=COLOURS) == []
    assert compute_sections(scores(), {"mae": float("nan"), "intensity": 1e15}, colours=COLOURS) == []


@pytest.mark.slow
def test_operations_are_those_of_a_training_with_memory() -> None:
    spec = {"family": "mae", "size": "tiny", "patch": 8, "seed": 0}
    record = {"spec": spec, "channels": ["a", "b"], "crop_size": 32, "training": {"crops": 1000}}
    objective = build_objective("mae", build_encoder(spec, channels=2, crop_size=32), Plan.from_spec(spec))
    assert training_flops(record) == 1000 * flops_per_crop(objective, torch.device("cpu"))
