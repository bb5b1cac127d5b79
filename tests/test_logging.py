"""What a job says when it fails."""

import errno
import os
from pathlib import Path

import pytest

from cellmae.errors import DamagedError, DataError
from cellmae.logging import causes, job_log


def fail(log: Path, error: Exception) -> None:
    with job_log(log):
        raise error


def test_an_error_for_people_is_shown_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        fail(tmp_path / "log", DataError("no such plate"))
    assert capsys.readouterr().err == "cellmae: no such plate\n"
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_what_vouches_for_a_damaged_result_is_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "plate.json"
    manifest.touch()
    with pytest.raises(SystemExit, match="1"):
        fail(tmp_path / "log", DamagedError("plate.zarr is damaged", manifest=manifest))
    assert not manifest.exists()
    assert capsys.readouterr().err == f"cellmae: plate.zarr is damaged (deleted: {manifest})\n"


def test_no_job_beside_finds_a_damaged_file_without_its_manifest(tmp_path: Path, monkeypatch) -> None:
    file, manifest = tmp_path / "map.h5ad", tmp_path / "map.json"
    for path in (file, manifest):
        path.touch()
    order: list[Path] = []
    monkeypatch.setattr(Path, "unlink", lambda path, **_: order.append(path))
    with pytest.raises(SystemExit, match="1"):
        fail(tmp_path / "log", DamagedError("map.h5ad is damaged", manifest=manifest, file=file))
    assert order == [file, manifest]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_nothing_is_shown_with_a_remedy(tmp_path: Path, capsys, number: int) -> None:
    with pytest.raises(SystemExit, match="1"):
        fail(tmp_path / "log", OSError(number, os.strerror(number), "results/a.zarr"))
    shown = capsys.readouterr().err
    assert shown.startswith("cellmae: ")
    assert "results/a.zarr" in shown
    assert "another folder for results" in shown or "choose a folder for results" in shown
    assert "Traceback" in (tmp_path / "log").read_text()


def test_any_other_error_keeps_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="odd"):
        fail(tmp_path / "log", ValueError("odd"))
    assert "Traceback" in (tmp_path / "log").read_text()


def test_what_other_processes_append_to_the_log_stays(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    log.write_text("of an earlier try\n")
    with job_log(log) as logger:
        with log.open("a") as other:
            other.write("said by another process\n")
        logger.info("said by the job")
    first, second = log.read_text().splitlines()
    assert first == "said by another process"
    assert second.endswith("said by the job")


def test_the_causes_of_a_failed_run_are_the_last_words_of_its_jobs(tmp_path: Path) -> None:
    logs = {name: tmp_path / f"{name}.log" for name in ("said", "raised", "killed", "unstarted")}
    with pytest.raises(SystemExit):
        fail(logs["said"], DataError("no such plate"))
    with pytest.raises(ValueError, match="odd"):
        fail(logs["raised"], ValueError("odd"))
    with job_log(logs["killed"]) as log:
        log.info("half way")
    snakemake_log = tmp_path / "snakemake.log"
    told = [f"    log: {path} (check log file(s) for error details)\n" for path in logs.values()]
    snakemake_log.write_text("Error in rule tile_plate:\n".join(["", *told, told[0]]))
    assert causes(snakemake_log) == [
        f"{logs['said']}: no such plate",
        f"{logs['raised']}: ValueError: odd",
        f"{logs['killed']}: the job was ended from outside, perhaps by a limit on memory or time",
    ]
