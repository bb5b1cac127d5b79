import re

import pytest

from cellmae.screen.plate import LONGEST_SLUG, natural_order, slugs

SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def test_plain_names_stay_as_they_are():
    assert slugs([("gene-001", "Plate1"), ("", "Week4_27481")]) == ["gene-001_Plate1", "Week4_27481"]


@pytest.mark.parametrize(
    "name", ["; rm -rf x", "../../etc/passwd", "$(reboot)", "-rf", ".", "..", "", "板", "a\nb", "x" * 500]
)
def test_any_name_becomes_safe(name):
    slug = slugs([("", name)])[0]
    assert SAFE.fullmatch(slug)
    assert ".." not in slug
    assert len(slug) <= LONGEST_SLUG


def test_names_that_would_collide_stay_apart():
    plates = [("", "P 1"), ("", "P/1"), ("", "p-1"), ("a_b", "c"), ("a", "b_c"), ("", "板"), ("", "皿")]
    made = slugs(plates)
    assert len({slug.lower() for slug in made}) == len(plates)
    assert made == slugs(plates[::-1])[::-1]


def test_natural_order_counts():
    assert sorted(["Plate10", "Plate2", "plate", "²"], key=natural_order) == ["Plate2", "Plate10", "plate", "²"]
