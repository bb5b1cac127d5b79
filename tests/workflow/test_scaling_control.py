"""configs/scaling-small-no-nuclei.yaml: the plates and the training of configs/scaling-small.yaml, less a channel."""

from pathlib import Path
from typing import Any

import yaml

from cellmae.config import validate
from cellmae.screen import index_fields, index_wells, plates


def checked(repository: Path, name: str, **screen: Any) -> dict[str, Any]:
    config = yaml.safe_load((repository / f"configs/{name}.yaml").read_text())
    config["screen"] |= screen
    return validate(config | {"maps": {}}, repository / "workflow/schemas/config.schema.yaml")


def test_plates_are_read_without_a_channel(repository: Path, screened_plates: Path) -> None:
    screen = checked(repository, "scaling-small-no-nuclei", root=str(screened_plates))["screen"]
    slugs = plates(screen)
    assert list(slugs) == ["gene-001_1", "gene-002_1"]
    for slug in slugs:
        fields, wells = index_fields(screen, slug), index_wells(screen, slug)
        assert [name for name in fields if name.startswith("path_")] == [f"path_{name}" for name in screen["channels"]]
        assert len(fields) == len(wells) == 30
        assert fields["path_er"].str.endswith("_w2.png").all()
        assert (wells["role"] == "negative_control").sum() == 8


def test_models_are_those_of_the_study(repository: Path, screened_plates: Path) -> None:
    control = checked(repository, "scaling-small-no-nuclei", root=str(screened_plates))
    study = checked(repository, "scaling-small")
    assert control["models"] == {name: study["models"][name] for name in control["models"]}
    assert control["alignments"]["tvn"] == study["alignments"]["tvn"]
    assert control["tiles"] == study["tiles"]
    assert set(study["screen"]["channels"]) - set(control["screen"]["channels"]) == {"nuclei"}
