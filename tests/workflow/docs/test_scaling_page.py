"""docs/scaling.md: the control without a channel reads the other channels of simulated plates."""

from pathlib import Path

import yaml

from cellmae.config import validate
from cellmae.screen import index_fields, index_wells, plates

from .blocks import blocks


def test_a_channel_can_be_left_out_of_simulated_plates(repository: Path, screened_plates: Path) -> None:
    (block,) = [block for block in blocks(repository / "docs/scaling.md") if block.title == "one channel less"]
    screen = yaml.safe_load(block.text)["screen"] | {"root": str(screened_plates)}
    config = {"results": "results", "screen": screen, "models": {"intensity": {"family": "intensity"}}}
    screen = validate(config, repository / "workflow/schemas/config.schema.yaml")["screen"]
    slugs = plates(screen)
    assert list(slugs) == ["gene-001_1", "gene-002_1"]
    for slug in slugs:
        fields, wells = index_fields(screen, slug), index_wells(screen, slug)
        assert [name for name in fields if name.startswith("path_")] == [f"path_{name}" for name in screen["channels"]]
        assert len(fields) == len(wells) == 30
        assert fields["path_er"].str.endswith("_w2.png").all()
        assert (wells["role"] == "negative_control").sum() == 8
