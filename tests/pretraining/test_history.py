import pytest
import torch

from cellmae.errors import DataError
from cellmae.pretraining import read_history
from cellmae.pretraining.history import MEASURED_COLUMNS, History
from cellmae.pretraining.objective import MaskedObjective

METRICS = ("loss", "gradient_norm", *MaskedObjective.METRICS)


def metrics(step: int) -> torch.Tensor:
    return torch.arange(1.0, len(METRICS) + 1) + step


def new_history(steps: int) -> History:
    return History(
        steps=steps, batch_size=4, metrics=METRICS, derive=MaskedObjective.derive, device=torch.device("cpu")
    )


def run(history: History, steps: range) -> History:
    for step in steps:
        history.add(metrics(step))
        history.close_step(step + 1, rate=0.1, waited=0.0)
    return history


def test_rows_are_means_over_their_steps(tmp_path):
    history = run(new_history(205), range(205))
    history.write(tmp_path / "history.csv")
    table = read_history(tmp_path / "history.csv")
    assert table["step"].tolist() == [*range(2, 205, 2), 205]
    assert table["crops"].tolist()[-1] == 820
    assert table["loss"].tolist()[:2] == [1.5, 3.5]
    assert table["mse"].iloc[0] == 3.5
    assert table["masked_r2"].iloc[0] == pytest.approx(1 - 3.5 / 5.5)
    assert table["memory_mb"].is_monotonic_increasing
    assert 100 < table["memory_mb"].iloc[0] < 50_000


def test_long_trainings_have_a_row_every_fifty_steps():
    assert new_history(100_000).interval == 50


def test_an_interrupted_history_goes_on_in_the_middle_of_a_row():
    whole = run(new_history(400), range(40))
    first = run(new_history(400), range(17))
    second = new_history(400)
    second.restore(first.state())
    run(second, range(17, 40))
    untimed = [[{k: v for k, v in row.items() if k not in MEASURED_COLUMNS} for row in h.rows] for h in (whole, second)]
    assert untimed[0] == untimed[1]


def test_skipped_steps_are_counted_and_not_averaged():
    history = new_history(200)
    history.add(metrics(0))
    history.close_step(1, rate=0.1, waited=0.0)
    history.add_skipped()
    row = history.close_step(2, rate=0.1, waited=0.0)
    assert row["skipped"] == 1
    assert row["loss"] == 1


def test_an_unfinished_model_has_no_history(tmp_path):
    with pytest.raises(DataError, match="not finished"):
        read_history(tmp_path / "history.csv")
