"""The page as a whole: complete, escaped, and in need of nothing beside it."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from cellmae.errors import DataError
from cellmae.files import digest_json
from cellmae.report.page import _script_json
from cellmae.report.words import MINUS

from .runs import ALIGNMENTS, MODELS, SCRIPT, report_on

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """Reads a page: its text, and the attributes of its tags."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.html = (folder / "index.html").read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(self.html)
        self.text = " ".join(" ".join(self.texts).replace("\N{NO-BREAK SPACE}", " ").split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem != "script":
            self.texts.append(data)

    def images(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]

    def sections(self) -> list[str]:
        return [str(attributes["id"]) for tag, attributes in self.tags if tag == "section"]

    def drawings(self) -> list[str]:
        """Return the source of the figures drawn as SVG."""
        start = "data:image/svg+xml;base64,"
        sources = [str(image["src"]) for image in self.images()]
        return [base64.b64decode(source.removeprefix(start)).decode() for source in sources if source.startswith(start)]


def test_page_has_all_sections_and_links_to_them(report: Path) -> None:
    page = Page(report)
    expected = ["answer", "recall", "comparison", "probe", "replicates", "map", "wells", "training", "tiles", "run"]
    assert page.sections() == expected
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert [link for link in links if str(link).startswith("#")][1:] == [f"#{key}" for key in expected]


def test_page_gives_the_scores_of_every_map(run: Path, report: Path) -> None:
    text = Page(report).text
    for model in MODELS:
        for alignment in ALIGNMENTS:
            row = pd.read_csv(run / "maps" / model / alignment / "recall.csv").iloc[0]
            interval = f"{row['recall_ci_low']:.3f} to {row['recall_ci_high']:.3f}"
            assert f"{model} {alignment} {row['recall']:.3f} {interval} {row['oracle']:.3f}" in text
            probe = pd.read_csv(run / "maps" / model / alignment / "probe.csv").iloc[0]
            assert f"{model} {alignment} {probe['r2']:.3f} {probe['r2_ci_low']:.3f}" in text.replace(MINUS, "-")


def test_page_says_what_was_run(run: Path, report: Path) -> None:
    text = Page(report).text
    config = {"results": str(run), "models": MODELS, "alignments": ALIGNMENTS}
    assert digest_json(config) in text
    assert "Two plates & a map" in text
    assert "1,234,567" in text
    assert "Plates 2 Batches 2 Wells 192" in text


def test_page_fetches_nothing(report: Path) -> None:
    page = Page(report)
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        for name in ("src", "srcset", "data", "poster", "style", "background"):
            assert str(attributes.get(name) or "data:").startswith("data:"), f"{tag} {name}"
    style = re.search(r"<style>(.*?)</style>", page.html, re.DOTALL)
    assert style
    assert not re.search(r"@import|url\(", style[1])
    for drawing in page.drawings():
        assert "@import" not in drawing
        fetched = re.findall(r"(?:href|src)\s*=\s*[\"']([^\"']*)|url\(([^)]*)\)", drawing)
        assert all((attribute or function).startswith(("data:", "#")) for attribute, function in fetched)


def test_names_are_only_names(report: Path) -> None:
    page = Page(report)
    assert SCRIPT in page.text
    assert SCRIPT not in page.html
    assert page.drawings()
    assert all("<script" not in drawing for drawing in page.drawings())
    assert any("$A_1$" in drawing for drawing in page.drawings()), "dollars in a name are no formula"


def test_every_image_has_a_text_and_a_file(report: Path) -> None:
    images = Page(report).images()
    files = list((report / "figures").glob("*.png"))
    assert len(images) == len(files) > 10
    assert all(len(str(image["alt"])) > 20 for image in images)
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_every_table_is_a_file(report: Path) -> None:
    page = Page(report)
    links = {str(attributes["href"]) for tag, attributes in page.tags if tag == "a"}
    files = {f"tables/{file.name}" for file in (report / "tables").glob("*.csv")}
    assert files <= links
    assert {"tables/recall.csv", "tables/comparison.csv", "tables/probe.csv", "tables/lost-fields.csv"} <= files


def test_drawings_follow_light_and_dark(report: Path) -> None:
    drawings = Page(report).drawings()
    assert all("prefers-color-scheme: dark" in drawing for drawing in drawings)
    assert all("var(--ink)" in drawing for drawing in drawings if "<text" in drawing)
    files = {path.read_text(encoding="utf-8") for path in (report / "figures").glob("*.svg")}
    assert files == set(drawings)


def test_long_tables_are_folded_away(report: Path) -> None:
    html = (report / "index.html").read_text(encoding="utf-8")
    folded = re.findall(r"<details class=\"table\">\s*<summary><span id=\"([a-z-]+)-caption\"", html)
    assert "map-embedding" in folded
    assert "recall" not in folded


def test_json_of_the_page_ends_no_script() -> None:
    names = [SCRIPT, "</script>", "<!--", "a & b", "\u2028"]
    text = _script_json({"names": names})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text)["names"] == names


def test_skipped_scores_say_why(small_run: Path) -> None:
    text = Page(report_on(small_run)).text
    reason = "6 perturbations, of at least 20 that recall needs"
    assert "Recall of complexes was not scored for mae-tiny · tvn, mae-tiny · none" in text
    assert text.count(reason) == 2, "once in the answer, once in the section"
    assert not list((small_run / "report" / "figures").glob("recall-*.png"))
    assert "as recall was not scored" in text


def test_profiles_have_no_tiles_and_no_training(run: Path, tmp_path: Path) -> None:
    models = {"intensity": {"family": "features"}}
    folder = report_on(run, output=tmp_path / "report", models=models, images=False, truth=False)
    page = Page(folder)
    assert page.sections() == ["answer", "recall", "comparison", "replicates", "map", "wells", "run"]
    assert "no tiles" in page.text


@pytest.mark.parametrize("name", ["maps/comparison.csv", "maps/mae-tiny/tvn/recall.csv", "tiles/exp-1_Plate1.json"])
def test_missing_input_is_an_error(run: Path, tmp_path: Path, name: str) -> None:
    missing = run / name
    away = missing.rename(missing.with_suffix(".away"))
    try:
        with pytest.raises(DataError, match=missing.name):
            report_on(run, output=tmp_path / "report")
        assert not (tmp_path / "report").exists()
    finally:
        away.rename(missing)


def test_same_run_gives_the_same_report(run: Path, report: Path, tmp_path: Path) -> None:
    again = report_on(run, output=tmp_path / "again")
    names = sorted(str(path.relative_to(report)) for path in report.rglob("*.*"))
    assert names == sorted(str(path.relative_to(again)) for path in again.rglob("*.*"))
    different = [name for name in names if (report / name).read_bytes() != (again / name).read_bytes()]
    assert not different
