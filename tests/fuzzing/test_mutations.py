"""Mutated images and archives: decoded to what their header says, or refused; no crash, no hang, no flood of memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# Of all kinds together; two minutes in .ci/run, an hour in `make soak`.
SECONDS = float(os.environ.get("CELLMAE_FUZZ_SECONDS", 12))
SEED = os.environ.get("CELLMAE_FUZZ_SEED", "0")
KINDS = ["png", "tiff", "jpeg2000", "parquet", "zip", "tar.gz"]


@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_is_read_right_or_refused(tmp_path: Path, kind: str) -> None:
    script = Path(__file__).with_name("mutations.py")
    command = [sys.executable, script, kind, str(SECONDS / len(KINDS)), SEED, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    left = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-1500:]}; in {tmp_path}: {left}"
