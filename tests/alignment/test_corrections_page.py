"""docs/corrections.md: what it shows is valid."""

import re

import yaml

from cellmae.config import validate


def test_the_example_is_valid(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```yaml\n(.*?)```", (repository / "docs/corrections.md").read_text(), re.DOTALL)
    shown = yaml.safe_load(block)
    for name in set(shown["genes"].values()):
        (tmp_path / name).touch()
    screen = {"layout": "simulated", "root": "plates"}
    config = shown | {"results": "results", "screen": screen, "models": {"model": {"family": "constant"}}}
    (alignment,) = validate(config, repository / "workflow/schemas/config.schema.yaml")["alignments"].values()
    assert alignment["arm_correction"] == {"genes": "unexpressed", "min_genes": 20, "max_expression": -3}
    assert alignment["filter"]["crops"] == {"min": 4}
