"""A public screen is fetched before its plates are known."""

import pytest

from .checkout import PLATES

WANTED = [plate.replace("_", "/") for plate in PLATES]


@pytest.fixture
def published(fresh, site, screened_plates):
    """A checkout without plates, and a server that has them."""
    for path in screened_plates.rglob("*"):
        if path.is_file():
            site.files[f"/{path.relative_to(screened_plates).as_posix()}"] = path.read_bytes()
    asked = {"source": "rxrx3", "base_url": site.url, "plates": WANTED}
    fresh.configure(screen__root="fetched", screen__fetch=asked)
    return fresh


@pytest.mark.slow
def test_nothing_else_can_be_done_before(published):
    for target in ([], ["screen"], ["fetch", "tiles"]):
        assert published.refusal(*target) == [
            "cellmae: screen.fetch: rxrx3 has not been fetched into fetched, or not all of it; "
            "run `snakemake fetch` first"
        ]
    assert not (published.folder / "fetched").exists()


@pytest.mark.slow
def test_fetching_makes_everything_else_possible(published, site):
    metadata = site.files.pop("/metadata.csv")
    (said,) = published.refusal("fetch")
    assert said.startswith(f"cellmae: {site.url}/metadata.csv: 404 Not Found")
    site.files["/metadata.csv"] = metadata
    assert "Fetching rxrx3 into fetched" in published.run("fetch")
    assert (published.folder / "fetched/DATA-LICENCE.txt").is_file()
    site.requests.clear()
    published.run("fetch")
    assert not any(path.startswith("/images") for _, path, _ in site.requests)
    assert {f"Tiling {plate}" for plate in PLATES} <= published.plan("tiles")
    published.run("screen")
    assert all((published.results / f"screen/{plate}.fields.parquet").is_file() for plate in PLATES)


@pytest.mark.slow
def test_public_tables_are_fetched_when_a_map_needs_them(finished, site):
    known = (finished.folder / "plates/relationships.csv").read_bytes()
    site.files |= {"/LICENSE": b"terms", "/CORUM.txt": known}
    finished.configure(
        references={"folder": "known", "databases": ["CORUM"], "symbols": False, "databases_url": site.url},
        maps__relationships={"CORUM": "known/relationships/CORUM.txt"},
    )
    assert "Fetching public tables into known" in finished.plan("maps")
    said = finished.run("maps")
    assert "Fetching public tables into known" in said
    assert (finished.folder / "known/relationships/DATA-LICENCE.txt").is_file()
    assert "Fetching public tables into known" not in finished.plan("--forcerun", "score_recall", "--", "maps")
