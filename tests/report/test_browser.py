"""The page in a real browser: it works from a file, offline, on screens of all kinds."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from .runs import SCRIPT

if TYPE_CHECKING:
    from playwright import sync_api as playwright

SIZES = {"desktop": (1440, 900), "phone": (390, 844)}

pytestmark = pytest.mark.slow


@pytest.fixture(params=[(size, scheme) for size in SIZES for scheme in ("light", "dark")], ids="-".join)
def view(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Width of the screen and colours of the page."""
    return request.param


@pytest.fixture
def page(browser: "playwright.Browser", report: Path, view: tuple[str, str]) -> Iterator["playwright.Page"]:
    """The page, once its map is drawn; errors, and requests for anything but itself, fail the test."""
    size, scheme = view
    width, height = SIZES[size]
    opened = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    complaints: list[str] = []
    requests: list[str] = []
    opened.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    opened.on("request", lambda request: requests.append(request.url))
    address = (report / "index.html").as_uri()
    opened.goto(address)
    opened.wait_for_selector(".explorer[data-ready]")
    yield opened
    opened.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [address]


def search(page: "playwright.Page", text: str) -> None:
    page.fill(".search", text)
    page.press(".search", "Enter")


def place_of(page: "playwright.Page", name: str) -> tuple[float, float]:
    """Return where in the window a perturbation is drawn."""
    return page.evaluate(
        """(name) => {
            const root = document.querySelector(".explorer");
            const { explorer } = root;
            const [x, y] = explorer.places[explorer.data.names.indexOf(name)];
            const box = root.querySelector("canvas").getBoundingClientRect();
            return [box.left + explorer.view.scale("x")(x), box.top + explorer.view.scale("y")(y)];
        }""",
        name,
    )


def test_page_does_not_overflow(page: "playwright.Page") -> None:
    page.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_colours_follow_the_reader(page: "playwright.Page", view: tuple[str, str]) -> None:
    red = page.evaluate("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
    assert red < 60 if view[1] == "dark" else red > 200


def test_search_finds_a_perturbation_and_shows_its_neighbours(page: "playwright.Page", report: Path) -> None:
    table = pd.read_csv(report / "tables" / "map-embedding.csv", index_col="perturbation")
    search(page, "g05")
    assert page.inner_text(".detail h3") == "G05"
    listed = page.locator(".detail ol").first.locator("button").all_inner_texts()
    assert listed == table.loc["G05", "neighbours"].split("; ")
    partners = page.locator(".detail ol").last.locator("button").all_inner_texts()
    assert sorted(partners) == ["G03", "G04"]
    page.locator(".detail ol button").first.click()
    assert page.inner_text(".detail h3") == listed[0]


def test_pointing_at_a_perturbation_shows_its_neighbours(page: "playwright.Page", view: tuple[str, str]) -> None:
    page.locator(".canvas").scroll_into_view_if_needed()
    assert page.locator(".detail h3").count() == 0
    page.mouse.move(*place_of(page, "G10"))
    page.wait_for_selector(".detail h3")
    assert page.inner_text(".detail h3") == "G10"
    assert page.locator(".detail ol").first.locator("li").count() == 8


def test_what_is_pointed_at_lies_over_the_points(page: "playwright.Page") -> None:
    points, highlight = (page.locator(f".{name}-layer canvas").bounding_box() for name in ("points", "highlight"))
    assert points == highlight


def test_names_are_only_text(page: "playwright.Page") -> None:
    search(page, SCRIPT)
    assert page.inner_text(".detail h3") == SCRIPT
    assert page.locator(".detail script").count() == 0


def test_map_changes_its_colours(page: "playwright.Page") -> None:
    before = page.inner_text(".legend")
    page.select_option(".colour", label="consistency")
    assert page.inner_text(".legend") != before


def test_all_of_the_map_works_by_keyboard(page: "playwright.Page") -> None:
    page.focus(".search")
    page.keyboard.type("g1")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.inner_text(".detail h3") == "G11"
    page.locator(".detail ol button").first.focus()
    page.keyboard.press("Enter")
    assert page.inner_text(".detail h3") != "G11"


def test_what_is_found_is_moved_into_view(page: "playwright.Page") -> None:
    for _ in range(12):
        page.click(".closer")
    for name in ("G05", "G10"):
        search(page, name)
        page.evaluate("async () => { await document.querySelector('.explorer').explorer.view.runAsync(); }")
        box = page.locator(".points-layer canvas").bounding_box()
        left, top = place_of(page, name)
        assert box is not None
        assert box["x"] <= left <= box["x"] + box["width"]
        assert box["y"] <= top <= box["y"] + box["height"]


def test_unknown_names_are_not_found(page: "playwright.Page") -> None:
    search(page, "nobody")
    assert page.inner_text(".found") == "No such perturbation"
    assert page.locator(".detail h3").count() == 0
