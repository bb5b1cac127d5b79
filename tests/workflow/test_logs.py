"""The log of every job says what was read, left out or written."""

import pytest

from .checkout import PLATES

SAID = {
    f"screen/{PLATES[0]}.fields.log": "30 fields of 30 wells, 0 of them without some image; 0 image files excluded",
    f"screen/{PLATES[0]}.wells.log": "30 wells (22 treatment, 8 negative control), 0 excluded",
    f"tiles/{PLATES[0]}.log": "30 of 30 fields stored, 120 of 120 tiles kept",
    "models/mae.log": "after 20 steps: skipped_steps 0, loss ",
    "models/intensity.log": "results/models/intensity: 0 parameters",
    f"embeddings/mae/{PLATES[0]}.log": "30 wells with vectors of 128",
    "alignment/mae/tvn.log": "60 kept, 0 unannotated, 0 not finite, 0 not embedded",
    "maps/mae/tvn.map.log": "22 perturbations of 22 treatments",
    "maps/comparison.log": "2 maps, 1 comparisons of scores",
}


@pytest.mark.slow
def test_every_log_says_what_was_done(finished):
    logs = finished.results / "logs"
    assert [str(log) for log in logs.rglob("*.log") if not log.read_text()] == []
    for name, text in SAID.items():
        assert text in (logs / name).read_text(), name
