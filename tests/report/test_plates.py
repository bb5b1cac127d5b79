"""Quality by well."""

import pandas as pd

from cellmae.report.plates import plate_figure, well_quality
from cellmae.tiles import read_tiles

from .runs import PLATES


def test_kept_and_lost_are_counted_by_well(run) -> None:
    wells = pd.read_parquet(run / "screen" / f"{PLATES[0]}.wells.parquet")
    quality = well_quality(read_tiles(run / "tiles" / f"{PLATES[0]}.parquet"), wells).set_index("well")
    assert quality.loc["A01", ["fields", "lost_fields", "tiles", "kept", "kept_share"]].tolist() == [1, 0, 4, 4, 1.0]
    assert quality.loc["B02", ["tiles", "kept", "kept_share"]].tolist() == [4, 0, 0.0]
    assert quality.loc["C03", ["fields", "lost_fields", "kept_share"]].tolist() == [0, 1, 0.0]
    assert len(quality) == 96


def test_wells_lie_where_they_are_on_the_plate() -> None:
    quality = pd.DataFrame({"row": [1, 32], "column": [48, 1], "kept_share": [1.0, 0.25], "lost_fields": [0, 2]})
    axes = plate_figure(quality, rows=32, columns=48).axes[0]
    wells, losers = axes.collections
    assert wells.get_offsets().tolist() == [[48, 1], [1, 32]]
    assert wells.get_array().tolist() == [0.0, 0.75]
    assert losers.get_offsets().tolist() == [[1, 32]]
    assert axes.yaxis_inverted()
