"""Scores against training compute."""

import pandas as pd
import pytest

from cellmae.report.compute import compute_figure, compute_sections, power_of_ten

from .test_scores import scores

COLOURS = {"mae": "#000000", "intensity": "#ffffff"}
LINES = {"mae": "mae", "intensity": "intensity"}
FLOPS = {"mae": 1e15, "intensity": 1e17}


def probes():
    table = pd.DataFrame({"model": ["mae", "intensity"], "alignment": "tvn", "r2": [0.2, -0.1]})
    return table.assign(r2_ci_low=table["r2"] - 0.1, r2_ci_high=table["r2"] + 0.1)


def line(**changes):
    """Two models of one line, and what a figure of them needs."""
    points = {"model": ["mae", "mae-at-5"], "label": ["mae", "mae-at-5"], "flops": [1e15, 1e14], "value": [0.6, 0.3]}
    table = pd.DataFrame(points | changes).assign(line="mae", alignment="tvn", score="recall", chance=0.1)
    return table.assign(value_ci_low=table["value"] - 0.1, value_ci_high=table["value"] + 0.1)


def draw(table, *rest, **options):
    colours = dict.fromkeys(["intensity", *table["model"]], "#000000")
    figure = compute_figure(table, *rest, colours=colours, markers={"tvn": "o"}, **options)
    figure.canvas.draw()
    return figure.axes[0]


def legend(axes):
    return [text.get_text() for text in axes.figure.legends[0].texts]


def ticks(axes):
    return [tick.get_text() for tick in axes.get_xticklabels()]


def fills(axes):
    return [one for one in axes.collections if len(one.get_paths()[0].vertices) > 2]


def test_models_stand_at_their_compute() -> None:
    (section,) = compute_sections(scores(), None, FLOPS, lines=LINES, colours=COLOURS)
    table = section.blocks[1].frame
    assert table[["model", "alignment", "flops"]].to_numpy().tolist() == [
        *(["mae", "tvn", 1e15], ["mae", "efaar", 1e15], ["intensity", "tvn", 1e17])
    ]


def test_the_probe_has_a_figure_of_its_own() -> None:
    (section,) = compute_sections(scores(), probes(), FLOPS, lines=LINES, colours=COLOURS)
    panels, table = section.blocks
    assert panels.plots[-1].title == "R² of the probe"
    assert "intensity · tvn \N{MINUS SIGN}0.10 at 1.0e+17 operations" in panels.plots[-1].alt
    assert panels.plots[-1].figure.axes[0].get_ylim()[0] == pytest.approx(-0.2)
    assert table.frame["score"].tolist() == ["recall"] * 3 + ["probe_r2"] * 2


def test_models_that_belong_together_are_connected() -> None:
    axes = draw(line())
    assert axes.get_xscale() == "log"
    assert [list(line.get_xdata()) for line in axes.lines[:2]] == [[1e14, 1e15], [1e14, 1e15]]
    assert list(axes.lines[0].get_ydata()) == [0.3, 0.6]
    assert legend(axes) == ["mae"]
    assert "10\N{SUPERSCRIPT ONE}\N{SUPERSCRIPT FOUR}" in ticks(axes)
    assert not [tick for tick in ticks(axes) if "$" in tick]


def test_models_without_training_are_level_lines() -> None:
    level = line(model="intensity", label="intensity", value=0.45)[:1]
    axes = draw(line(), level=level, top=0.8)
    assert legend(axes) == ["mae", "intensity"]
    assert [list(drawn.get_ydata()) for drawn in axes.lines if drawn.get_label() == "intensity"] == [[0.45, 0.45]]
    assert axes.get_ylim()[1] == pytest.approx(0.816)


def test_powers_of_ten_need_no_markup() -> None:
    assert power_of_ten(1e12) == "10\N{SUPERSCRIPT ONE}\N{SUPERSCRIPT TWO}"
    assert power_of_ten(1e-3) == "10\N{SUPERSCRIPT MINUS}\N{SUPERSCRIPT THREE}"


def test_a_study_has_a_band_behind_its_line_and_says_what_is_missing() -> None:
    band = pd.DataFrame({"line": "mae", "alignment": "tvn", "flops": [1e14, 1e15], "value": [0.31, 0.59]})
    band = band.assign(value_ci_low=band["value"] - 0.05, value_ci_high=band["value"] + 0.05)
    axes = draw(line(), band, unfinished=2)
    assert list(axes.lines[0].get_ydata()) == [0.31, 0.59]
    (filled,) = fills(axes)
    assert filled.get_paths()[0].vertices[:, 1].min() == pytest.approx(0.26)
    assert "\N{MULTIPLICATION SIGN} 2 models not finished" in [text.get_text() for text in axes.texts]


def test_a_study_draws_alignments_apart_and_only_their_own_trends() -> None:
    both = pd.concat([line(), line().assign(alignment="efaar")]).drop(columns=["label", "line", "flops", "score"])
    both = both.rename(columns=lambda name: name.replace("value", "recall")).assign(source="known", low=0.05, high=0.95)
    band = pd.DataFrame({"flops": [1e14, 1e15], "value": [0.3, 0.6], "value_ci_low": 0.2, "value_ci_high": 0.7})
    band = band.assign(score="recall", source="known", low=0.05, high=0.95, line="mae", alignment="efaar")
    (section,) = compute_sections(
        both,
        None,
        {"mae": 1e15, "mae-at-5": 1e14},
        lines=dict.fromkeys(("mae", "mae-at-5"), "mae"),
        bands=band,
        unfinished=["mae-large"],
        colours=dict.fromkeys(("mae", "mae-at-5"), "#000000"),
    )
    panels, _ = section.blocks
    assert [plot.title.rpartition(", ")[2] for plot in panels.plots] == ["tvn", "efaar"]
    assert [len(fills(plot.figure.axes[0])) for plot in panels.plots] == [0, 1]
    assert "not here: mae-large." in panels.caption


def test_one_compute_draws_nothing() -> None:
    assert compute_sections(scores(), None, {"mae": 1e15}, lines=LINES, colours=COLOURS) == []
    flops = {"mae": float("nan"), "intensity": 1e15}
    assert compute_sections(scores(), None, flops, lines=LINES, colours=COLOURS) == []
