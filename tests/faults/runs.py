"""What the tests of faults compare: all that a run made, but for what tells of times."""

from pathlib import Path

from cellmae.files import digest_file
from workflow.checkout import Checkout

TIMED = {"history.csv", "training.csv", "plates.json"}  # speeds, and times of folders


def results_of(checkout: Checkout | Path) -> dict[str, str]:
    """Return the digest of every result of a run; checkpoints hold speeds, logs and benchmarks times."""
    folder = checkout.results if isinstance(checkout, Checkout) else checkout / "results"
    return {
        str(path.relative_to(folder)): digest_file(path)
        for path in folder.rglob("*")
        if path.is_file()
        and path.name not in TIMED
        and path.suffix != ".pt"
        and path.relative_to(folder).parts[0] not in ("logs", "benchmarks")
    }
