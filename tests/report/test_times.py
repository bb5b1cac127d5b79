"""What a run took."""

from pathlib import Path

import numpy as np

from cellmae.report.times import duration, read_benchmarks, times_tables

HEAD = "s\th:m:s\tmax_rss\tcpu_time"


def test_jobs_are_summed_by_stage(tmp_path: Path) -> None:
    for name, row in {"tiles/p1": "90\t0:01:30\t1024\t-", "tiles/p2": "30\t0:00:30\t2048\t-"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.tsv").write_text(f"{HEAD}\n{row}\n")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "page.tsv").write_text(f"{HEAD}\n9\t0:00:09\t1\t1\n")
    benchmarks = read_benchmarks(tmp_path)
    assert benchmarks["job"].tolist() == ["p1", "p2"]
    (table,) = times_tables(benchmarks)
    assert table.rows() == [["tiles", "2", "2.0 min", "\N{EN DASH}", "90.0 s", "2.0"]]


def test_without_benchmarks_there_is_no_table(tmp_path: Path) -> None:
    assert times_tables(read_benchmarks(tmp_path)) == []


def test_times_come_in_readable_units() -> None:
    assert duration(5.04) == "5.0 s"
    assert duration(600) == "10.0 min"
    assert duration(36_000_000) == "10,000.0 h"
    assert duration(np.nan) is None
