"""Quality by well."""

import pandas as pd

from cellmae.report.plates import MEASURES, measures_figure, plate_figure, well_quality
from cellmae.tiles import read_tiles

from .runs import PLATES


def test_kept_and_lost_are_counted_by_well(run) -> None:
    wells = pd.read_parquet(run / "screen" / f"{PLATES[0]}.wells.parquet")
    quality = well_quality(read_tiles(run / "tiles" / f"{PLATES[0]}.parquet"), wells).set_index("well")
    assert quality.loc["A01", ["fields", "lost_fields", "tiles", "kept", "kept_share"]].tolist() == [1, 0, 4, 4, 1.0]
    assert quality.loc["B02", ["tiles", "kept", "kept_share"]].tolist() == [4, 0, 0.0]
    assert quality.loc["C03", ["fields", "lost_fields", "kept_share"]].tolist() == [0, 1, 0.0]
    assert len(quality) == 96
    assert quality.loc["A01", list(MEASURES)].notna().all()
    assert quality.loc["C03", list(MEASURES)].isna().all()  # its only field was lost


def test_measures_lie_where_they_are_on_the_plate() -> None:
    quality = pd.DataFrame({"row": [1, 3], "column": [4, 2]} | {measure: [0.5, 2.0] for measure in MEASURES})
    figure = measures_figure(quality, dict.fromkeys(MEASURES, (0.0, 2.0)), rows=8, columns=12)
    for axes in figure.axes[: len(MEASURES)]:
        (image,) = axes.images
        assert image.get_array()[0, 3] == 0.5
        assert image.get_array()[2, 1] == 2.0
        assert image.get_array().mask.sum() == 94
        assert image.get_clim() == (0.0, 2.0)


def test_wells_lie_where_they_are_on_the_plate() -> None:
    quality = pd.DataFrame({"row": [1, 32], "column": [48, 1], "kept_share": [1.0, 0.25], "lost_fields": [0, 2]})
    axes = plate_figure(quality, rows=32, columns=48).axes[0]
    wells, losers = axes.collections
    assert wells.get_offsets().tolist() == [[48, 1], [1, 32]]
    assert wells.get_array().tolist() == [0.0, 0.75]
    assert losers.get_offsets().tolist() == [[1, 32]]
    assert axes.yaxis_inverted()
