"""The control experiment of swapped perturbations."""

import pandas as pd
import pytest

from cellmae.alignment.shuffling import shuffled


@pytest.fixture
def wells():
    table = pd.DataFrame({"plate": "p1", "well": [f"A{number:02d}" for number in range(1, 61)]})
    table["role"] = ["negative_control"] * 20 + ["positive_control"] * 4 + ["treatment"] * 36
    table["perturbation"] = ["DMSO"] * 20 + ["EG5"] * 4 + [f"gene{number // 6}" for number in range(36)]
    table["treatment"] = [f"{name}_{number % 3}" for number, name in enumerate(table["perturbation"])]
    return table


@pytest.mark.parametrize("dtype", ["object", "category", "string"])
def test_treatment_wells_swap_what_was_done_to_them_and_nothing_else(wells, dtype):
    wells = wells.astype({"perturbation": dtype, "treatment": dtype})
    found = shuffled(wells, seed=0)
    assert found[["plate", "well", "role"]].equals(wells[["plate", "well", "role"]])
    assert found[:24].equals(wells[:24])
    assert found["perturbation"].dtype == wells["perturbation"].dtype
    moved = (found["perturbation"] != wells["perturbation"])[24:].mean()
    assert moved > 0.5
    pairs = ["perturbation", "treatment"]
    assert sorted(found[pairs].astype(str).agg(" ".join, axis=1)) == sorted(
        wells[pairs].astype(str).agg(" ".join, axis=1)
    )


def test_each_plate_and_seed_draws_for_itself(wells):
    other = wells.assign(plate="p2")
    drawn = [shuffled(table, seed=seed)["treatment"] for table, seed in ((wells, 0), (other, 0), (wells, 1))]
    assert shuffled(wells, seed=0)["treatment"].equals(drawn[0])
    assert not any(drawn[0].equals(later) for later in drawn[1:])
    assert shuffled(wells[:0], seed=0).empty
