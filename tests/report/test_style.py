"""Colours that can be told from the page, light or dark."""

import re
from pathlib import Path

import pytest

import cellmae.report
from cellmae.report.style import BACKGROUND_POINT, COLOURS

FOLDER = Path(cellmae.report.__file__).parent
LEAST_CONTRAST = 3.0  # of graphics, WCAG 2.1, success criterion 1.4.11


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.1."""
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("colour", [*COLOURS, BACKGROUND_POINT])
def test_colours_stand_out_from_the_page(colour: str) -> None:
    papers = re.findall(r"--paper: (#[0-9a-f]{6})", (FOLDER / "page.css").read_text())
    assert len(papers) == 2
    for paper in papers:
        darker, lighter = sorted((luminance(paper), luminance(colour)))
        assert (lighter + 0.05) / (darker + 0.05) >= LEAST_CONTRAST


def test_the_map_to_explore_has_the_same_colours() -> None:
    script = (FOLDER / "explorer.js").read_text()
    assert re.findall(r"#[0-9a-f]{6}", re.search(r"CATEGORIES = \[.*?\]", script)[0]) == list(COLOURS)
    assert re.search(r'UNKNOWN = "(.*?)"', script)[1] == BACKGROUND_POINT
