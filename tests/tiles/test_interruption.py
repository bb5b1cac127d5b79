"""Kill -9 or Ctrl-C in the middle of tiling, then again: nothing half-written is seen, the result is the same."""

import pickle
import signal
import subprocess
import sys
import time

import pytest

from cellmae.errors import DataError
from cellmae.tiles import open_store

from .conftest import PlateMaker

pytestmark = pytest.mark.slow

# Slow enough to be caught in the middle, whatever the machine.
CHILD = """
import pickle, sys, time
from cellmae.tiles import tile_plate
from cellmae.tiles.store import StoreWriter
write = StoreWriter.write
def slow(self, place, field):
    time.sleep(0.2)
    return write(self, place, field)
StoreWriter.write = slow
arguments = pickle.loads(sys.stdin.buffer.read())
tile_plate(arguments.pop("fields"), **arguments)
"""


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_job_leaves_nothing_and_can_be_rerun(make_plate: PlateMaker, blow: signal.Signals) -> None:
    undisturbed, killed = (make_plate(name=name, fields=24) for name in ("undisturbed", "killed"))
    for plate in (undisturbed, killed):
        plate.fields["plate"] = "p"
    undisturbed.tile()

    child = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdin is not None
    child.stdin.write(pickle.dumps(killed.arguments()))
    child.stdin.close()
    deadline = time.monotonic() + 60
    while len(list(killed.root.glob("tiles/.p.zarr.partial/images/c/*/0/0/0"))) < 6:
        assert child.poll() is None, "tiling ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(blow)
    assert child.wait(60) != 0
    assert {path.name for path in (killed.root / "tiles").iterdir()} <= {".p.zarr.partial"}

    killed.tile()
    assert killed.manifest.read_bytes() == undisturbed.manifest.read_bytes()
    assert killed.table.read_bytes() == undisturbed.table.read_bytes()
    assert open_store(killed.store, verify=True).digests == open_store(undisturbed.store).digests
    assert not (killed.root / "tiles" / ".p.zarr.partial").exists()


def test_no_old_manifest_vouches_for_a_job_that_failed(make_plate: PlateMaker) -> None:
    plate = make_plate()
    plate.tile()
    assert plate.manifest.exists()
    for place in range(6):
        plate.image(place).write_bytes(b"")
    with pytest.raises(DataError):
        plate.tile()
    assert not plate.manifest.exists()
