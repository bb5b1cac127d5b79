"""Scores in words and figures."""

import numpy as np
import pandas as pd
import pytest

from cellmae.report.answer import MOST_SHOWN, answer_section, best_of_lines, choose_leader
from cellmae.report.comparison import Contest
from cellmae.report.recall import oracle_of, recall_figure, skipped_in_words
from cellmae.report.words import interval, listed, number, p_value, quantity


def scores() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": ["mae", "mae", "intensity", "intensity"],
            "alignment": ["tvn", "efaar", "tvn", "efaar"],
            "source": "CORUM",
            "pairs_kept": "all",
            "low": 0.05,
            "high": 0.95,
            "recall": [0.6, 0.5, 0.2, np.nan],
            "recall_ci_low": [0.5, 0.4, 0.1, np.nan],
            "recall_ci_high": [0.7, 0.6, 0.3, np.nan],
            "chance": [0.1, 0.1, 0.1, np.nan],
            "chance_ci_low": [0.05, 0.04, 0.06, np.nan],
            "chance_ci_high": [0.15, 0.16, 0.14, np.nan],
            "oracle": 0.9,
            "reason": [np.nan, np.nan, np.nan, "too few"],
        }
    )


def contest(difference: float, low: float, high: float) -> Contest:
    return Contest("recall", "CORUM", 0.05, 0.95, "mae", "tvn", "<b>", "tvn", difference, low, high)


def test_leader_has_the_highest_recall() -> None:
    leader = choose_leader(scores())
    assert (leader.model, leader.alignment) == ("mae", "tvn")


def test_without_scores_the_first_map_leads() -> None:
    leader = choose_leader(scores().assign(recall=np.nan).iloc[::-1])
    assert (leader.model, leader.alignment) == ("intensity", "efaar")


def test_verdict_names_who_is_ahead() -> None:
    assert contest(0.2, 0.1, 0.3).verdict().startswith("<strong>mae</strong> is ahead of &lt;b&gt; in recall of CORUM")
    behind = contest(-0.2, -0.3, -0.1).verdict()
    assert behind.startswith("<strong>&lt;b&gt;</strong> is ahead of mae")
    assert "+0.200 (95 % interval 0.100 to 0.300" in behind


@pytest.mark.parametrize("ends", [(-0.1, 0.5), (0.0, 0.4), (np.nan, np.nan)])
def test_verdict_is_open_where_the_interval_touches_zero(ends: tuple[float, float]) -> None:
    assert "cannot be told apart" in contest(0.2, *ends).verdict()


def test_recall_figure_shows_points_intervals_chance_and_oracle() -> None:
    markers = {"tvn": "o", "efaar": "s"}
    figure = recall_figure(scores(), colours={"mae": "#000000", "intensity": "#ffffff"}, markers=markers)
    axes = figure.axes[0]
    lines = [line.get_xdata() for line in axes.lines]
    assert [pytest.approx(list(line)) for line in lines] == [
        [0.1, 0.1],
        *([0.5, 0.7], [0.6], [0.4, 0.6], [0.5], [0.1, 0.3], [0.2]),
        [0.9, 0.9],
    ]
    assert {"chance", "oracle", "not scored"} <= {text.get_text() for text in axes.texts}
    band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((0.04, 0.16))
    assert [label.get_text() for label in axes.get_yticklabels()][1] == "mae · efaar"


def test_skipped_scores_are_named_with_their_reason() -> None:
    assert skipped_in_words(scores()) == ["Recall of CORUM was not scored for intensity · efaar: too few."]


def test_oracle_is_absent_where_the_truth_is_unknown() -> None:
    assert oracle_of(scores()) == 0.9
    assert oracle_of(scores().drop(columns="oracle")) is None


def test_numbers_in_words() -> None:
    assert number(-0.0001) == "0.000"
    assert number(-0.25, 1) == "\N{MINUS SIGN}0.2"
    assert interval(np.nan, 1.0) == "\N{EN DASH}"
    assert p_value(0.0002).split() == ["<", "0.001"]
    assert p_value(0.25) == "0.250"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcd"), limit=2) == "a, b and 2 more"
    assert quantity(1, "well") == "1 well"
    assert quantity(2304, "well") == "2,304 wells"


def test_answer_tells_the_first_thresholds_and_counts_all_comparisons() -> None:
    both = pd.concat(
        [scores().assign(p_value=0.01, pairs=40), scores().assign(low=0.1, high=0.9, p_value=0.01, pairs=40)]
    )
    rows = [vars(contest(0.2, 0.1, 0.3)), vars(contest(0.1, -0.1, 0.3)) | {"low": 0.1, "high": 0.9}]
    section = answer_section(
        choose_leader(both),
        shown=["mae", "<b>"],
        scores=both,
        comparison=pd.DataFrame(rows),
        probes=None,
        histories={"mae": pd.DataFrame({"masked_r2": [0.1, 0.4]})},
    )
    recall, ahead, count, skipped, trained = section.blocks[0].items
    assert "recalls <strong>0.60</strong> of 40 known pairs of CORUM (95 % interval 0.50 to 0.70, tails 5 %" in recall
    assert "0.10 by chance" in recall
    assert "is clear of chance. The true phenotypes reach 0.90." in recall
    assert ahead.startswith("<strong>mae</strong> is ahead")
    assert (
        count
        == "Of 2 paired comparisons of models and of alignments 1 is clear of zero; the tables below have them all."
    )
    assert "too few" in skipped
    assert trained.endswith("mae 0.40.")


def test_of_many_models_the_best_of_each_line_are_shown() -> None:
    seeds = {f"mae-s{seed}": "mae" for seed in range(MOST_SHOWN)}
    lines = {**seeds, "guess": "guess"}
    recalls = [0.1, 0.3, np.nan, 0.2, *[0.0] * (MOST_SHOWN - 4), np.nan]
    many = pd.DataFrame({"model": list(lines), "alignment": "tvn", "recall": recalls})
    other = many.assign(alignment="none", recall=1.0)
    assert best_of_lines(pd.concat([many, other]), lines, alignment="tvn") == ["mae-s1", "guess"]
    assert best_of_lines(many, seeds, alignment="tvn") == list(seeds)


def test_of_many_comparisons_only_those_of_the_leader_are_told() -> None:
    names = ["mae", *map(str, range(6))]
    rows = [
        vars(contest(0.2, 0.1, 0.3)) | {"model_a": first, "model_b": second}
        for place, first in enumerate(names)
        for second in names[place + 1 :]
    ]
    options = {"scores": scores().assign(p_value=0.01, pairs=40), "comparison": pd.DataFrame(rows), "probes": None}
    told, history = {}, pd.DataFrame({"masked_r2": [0.1]})
    for shown in (names, names[:3]):
        section = answer_section(
            choose_leader(scores()), shown=shown, histories=dict.fromkeys(names, history), **options
        )
        told[len(shown)] = [item for item in section.blocks[0].items if "is ahead of" in item]
    assert len(told[7]) == 6
    assert all(item.startswith("<strong>mae</strong> is ahead of") for item in told[7])
    assert len(told[3]) == 3


def test_skipped_without_relationships_names_no_database() -> None:
    assert skipped_in_words(scores().assign(source="none"))[0].startswith("Recall was not scored for intensity")
