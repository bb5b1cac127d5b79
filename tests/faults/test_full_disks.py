"""A disk that is full in the middle of a stage: said in one line, nothing half-written, and done in the next run.

What a full disk leaves of a plate is in tests/tiles/test_output.py.
"""

import pytest

from cellmae.files import remove
from disks import enlarge, mounted
from workflow.checkout import results_of

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.mark.parametrize(
    ("stage", "folder", "size"),
    [("tiles", "tiles", "256k"), ("models", "models/mae/state", "512k"), ("embeddings", "embeddings/mae", "12k")],
)
def test_a_full_disk_ends_the_job_with_a_line_and_the_next_run_goes_on(finished, finished_run, stage, folder, size):
    remove(finished.results / folder)
    if stage == "models":
        (finished.results / "models/mae/model.yaml").unlink()
    with mounted(finished.results / folder, f"size={size}") as disk:
        lines = finished.refusal("--keep-going", "--", stage)
        assert lines, "nothing was said"
        assert all("No space left on device" in line and "free some space" in line for line in lines), lines
        assert not list(disk.rglob("*.partial"))
        enlarge(disk, "256m")
        finished.run("--", stage)
        assert results_of(finished) == results_of(finished_run)
