"""Recall against training compute."""

import pandas as pd

from cellmae.report.compute import compute_figure, compute_sections

from .test_scores import scores

COLOURS = {"mae": "#000000", "intensity": "#ffffff"}
LINES = {"mae": "mae", "intensity": "intensity"}


def test_models_stand_at_their_compute() -> None:
    (section,) = compute_sections(scores(), {"mae": 1e15, "intensity": 1e17}, lines=LINES, colours=COLOURS)
    table = section.blocks[1].frame
    assert table[["model", "alignment", "flops"]].to_numpy().tolist() == [
        *(["mae", "tvn", 1e15], ["mae", "efaar", 1e15], ["intensity", "tvn", 1e17])
    ]


def test_models_that_belong_together_are_connected() -> None:
    later = scores().iloc[:1]
    rows = later.assign(label="mae-at-5, tvn", flops=1e14, recall=0.3), later.assign(label="mae, tvn", flops=1e15)
    points = [row.assign(line="mae", model=name) for row, name in zip(rows, ("mae-at-5", "mae"), strict=True)]
    table = pd.concat(points[::-1])
    axes = compute_figure(table, colours=dict.fromkeys(table["model"], "#000000"), markers={"tvn": "o"}).axes[0]
    assert axes.get_xscale() == "log"
    assert [list(line.get_xdata()) for line in axes.lines[:2]] == [[1e14, 1e15], [1e14, 1e15]]
    assert list(axes.lines[0].get_ydata()) == [0.3, 0.6]
    assert [text.get_text() for text in axes.texts] == ["mae"]


def test_one_compute_draws_nothing() -> None:
    assert compute_sections(scores(), {"mae": 1e15}, lines=LINES, colours=COLOURS) == []
    flops = {"mae": float("nan"), "intensity": 1e15}
    assert compute_sections(scores(), flops, lines=LINES, colours=COLOURS) == []
