"""Results that rotted on the disk: found by the job that reads them, named, made anew by the next run, never used.

Damaged checkpoints are in tests/pretraining/test_checkpoints.py, images in tests/images and tests/fuzzing.
"""

import json
from pathlib import Path

import anndata
import pytest

from cellmae.files import remove
from workflow.checkout import PLATES

from .runs import results_of

pytestmark = [pytest.mark.slow, pytest.mark.faults]


def flip(path: Path, where: float = 0.5) -> None:
    """Change one bit in a file."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * where)] ^= 1
    path.write_bytes(content)


def flip_vector(path: Path) -> None:
    """Change one bit of a vector; other bytes of the file may be padding."""
    content = bytearray(path.read_bytes())
    content[content.index(anndata.read_h5ad(path).X[1].tobytes())] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def garble(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


def age(path: Path) -> None:
    """Make a manifest say that the first version wrote the result."""
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 0}))


PLATE, OTHER = PLATES
STORE = f"tiles/{PLATE}.zarr/images/c/3/0/0/0"
DAMAGES = [
    pytest.param(flip, STORE, [f"embeddings/mae/{PLATE}.json"], f"{PLATE}.zarr", id="pixels"),
    pytest.param(
        flip,
        STORE,
        ["models/mae/model.yaml", "models/mae/state", f"embeddings/mae/{PLATE}.json"],
        f"{PLATE}.zarr",
        id="pixels that are trained on",
    ),
    pytest.param(flip, f"tiles/{PLATE}.parquet", [f"embeddings/mae/{PLATE}.json"], f"{PLATE}.parquet", id="tile table"),
    pytest.param(flip_vector, f"embeddings/mae/{PLATE}.h5ad", [], f"{PLATE}.h5ad", id="vectors"),
    pytest.param(garble, f"embeddings/mae/{PLATE}.json", [], f"{PLATE}.json", id="manifest of vectors"),
    pytest.param(age, f"embeddings/mae/{PLATE}.json", [], "is of version 0", id="older version"),
    pytest.param(
        flip, "models/mae/encoder.safetensors", [f"embeddings/mae/{PLATE}.json"], "encoder.safetensors", id="weights"
    ),
    pytest.param(garble, "models/mae/model.yaml", [f"embeddings/mae/{PLATE}.json"], "model.yaml", id="model"),
    pytest.param(cut, f"screen/{PLATE}.wells.parquet", [], f"{PLATE}.wells.parquet", id="wells"),
]


@pytest.mark.parametrize(("damage", "victim", "lost", "named"), DAMAGES)
def test_damage_is_named_and_the_next_run_makes_it_anew(finished, finished_run, damage, victim, lost, named):
    """The losses make jobs read the victim."""
    damage(finished.results / victim)
    for path in [*lost, "alignment/mae"]:
        remove(finished.results / path)
    lines = set(finished.refusal("--", "alignment"))
    assert lines, "the damage was not found"
    assert any(named in line and "has been deleted" in line for line in lines), lines  # others may find it missing
    finished.run("--", "alignment")
    before = {
        path: digest for path, digest in results_of(finished_run).items() if not path.startswith(("maps", "report"))
    }
    after = results_of(finished)
    assert {path: after.get(path) for path in before} == before
