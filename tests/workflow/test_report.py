"""What `snakemake --report` collects, and what it says of it."""

import re
import zipfile
from pathlib import Path

import pytest


def captions(rules: Path) -> list[str]:
    """Return what the rules name as captions, one for each output that is marked for the report."""
    texts = [path.read_text() for path in sorted(rules.glob("*.smk"))]
    marked = [call for text in texts for call in re.findall(r"=report\((.*?)\n\s*\),", text, re.DOTALL)]
    found = [re.search(r'caption="\.\./report/(\w+\.rst)"', call) for call in marked]
    assert all(found), "an output without a caption"
    return [match[1] for match in found]


def test_every_caption_is_there_and_is_used_once(repository):
    there = [path.name for path in (repository / "workflow" / "report").iterdir()]
    assert sorted(captions(repository / "workflow" / "rules")) == sorted(there)


@pytest.mark.slow
def test_a_finished_run_is_shown_with_captions(finished, browser):
    finished.run("--report", "collected.zip")
    with zipfile.ZipFile(finished.folder / "collected.zip") as collected:
        collected.extractall(finished.folder)
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((finished.folder / "collected" / "report.html").as_uri())

    results = page.evaluate("results")
    scores = {"recall", "replicates", "proximity", "compounds", "sets", "enrichment"}
    expected = {f"results/maps/{model}/tvn/{score}.csv" for model in ("mae", "intensity") for score in scores}
    expected |= {"results/maps/comparison.csv", "results/models/mae/reconstructions.png", "results/report/index.html"}
    assert results.keys() == expected
    for path, result in results.items():
        if model := re.search("mae|intensity", path):
            assert f"model {model[0]}" in result["caption"], path
            assert result["labels"]["Model"] == model[0], path
    assert "(75% masked)" in results["results/models/mae/reconstructions.png"]["caption"]

    page.get_by_text("Report", exact=True).last.click()
    page.locator("[iconname=eye]").click()
    assert page.frame_locator("iframe").locator("h1").inner_text() == "cellmae"
    assert errors == []
