"""Results that rotted on the disk: found by the job that reads them, named, made anew by the next run, never used.

Damaged checkpoints are in tests/pretraining/test_checkpoints.py, images in tests/images and tests/fuzzing.
"""

import json
from pathlib import Path

import anndata
import pytest

from cellmae.files import remove
from workflow.checkout import PLATES, results_of

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
    """Make a manifest, or the attributes of a store, say that the first version wrote the result."""
    said = json.loads(path.read_text())
    said.get("attributes", said)["version"] = 0
    path.write_text(json.dumps(said))


PLATE, OTHER = PLATES
STORE = f"tiles/{PLATE}.zarr/images/c/3/0/0/0"
VECTORS, ALIGNED, MAP = f"embeddings/mae/{PLATE}", "alignment/mae/tvn", "maps/mae/tvn"
FIT, EMBEDDED = [f"{ALIGNED}.fit.json", f"{ALIGNED}.json"], [f"{VECTORS}.json"]
SCORED = [f"{MAP}/{scores}.json" for scores in ("recall", "sets", "replicates")]
MAPPED = [f"{MAP}/map.json", *SCORED]
REPORTED = ["report/index.html"]
TIMES = {"report/index.html", "report/tables/times.csv"}
TRAINED = ["models/mae/model.yaml", "models/mae/state", *EMBEDDED]
DAMAGES = [
    pytest.param(flip, STORE, EMBEDDED, f"{PLATE}.zarr", id="pixels"),
    pytest.param(flip, STORE, TRAINED, f"{PLATE}.zarr", id="pixels that are trained on"),
    pytest.param(flip, f"tiles/{PLATE}.parquet", EMBEDDED, f"{PLATE}.parquet", id="tile table"),
    pytest.param(age, f"tiles/{PLATE}.zarr/zarr.json", EMBEDDED, "is of version 0", id="tiles of an older version"),
    pytest.param(flip_vector, f"{VECTORS}.h5ad", FIT, f"{PLATE}.h5ad", id="vectors"),
    pytest.param(garble, f"{VECTORS}.json", FIT, f"{PLATE}.json", id="manifest of vectors"),
    pytest.param(flip, "models/mae/encoder.safetensors", EMBEDDED, "encoder.safetensors", id="weights"),
    pytest.param(garble, "models/mae/model.yaml", EMBEDDED, "model.yaml", id="model"),
    pytest.param(cut, f"screen/{PLATE}.wells.parquet", FIT, f"{PLATE}.wells.parquet", id="wells"),
    *(
        pytest.param(damage, victim, lost, Path(victim).name, id=Path(victim).name)
        for damage, victim, lost in [
            (flip, f"{ALIGNED}.fit.h5", [f"{ALIGNED}.json"]),
            (garble, f"{ALIGNED}.h5ad", MAPPED),
            (cut, f"{MAP}/map.h5ad", SCORED),
            (flip, f"{MAP}/pairs.parquet", [f"{MAP}/sets.json"]),
            (cut, "maps/comparison.csv", REPORTED),
        ]
    ),
    pytest.param(age, f"{ALIGNED}.fit.json", [f"{ALIGNED}.json"], "is of version 0", id="fit of an older version"),
]


@pytest.mark.parametrize(("damage", "victim", "lost", "named"), DAMAGES)
def test_damage_is_named_never_used_and_made_anew_by_the_next_run(finished, finished_run, damage, victim, lost, named):
    """The losses make the jobs run that read the victim."""
    damage(finished.results / victim)
    for path in lost:
        remove(finished.results / path)
    stage, _, _ = lost[-1].partition("/")
    lines = set(finished.refusal("--", stage))
    assert lines, "the damage was not found"
    assert any(named in line and "(deleted: " in line for line in lines), lines  # others may find it missing
    assert not [path for path in lost if (finished.results / path).is_file()], "it was used"
    finished.run("--", stage)
    after, before = results_of(finished), results_of(finished_run)
    assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} <= TIMES
