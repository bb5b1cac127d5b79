"""Regular expressions that stand for sets of names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellmae.names import any_of

NAMES = st.text("ab1.-_", max_size=4)


@given(st.sets(NAMES, max_size=12), NAMES)
def test_it_matches_these_names_and_no_others(names, other):
    pattern = re.compile(any_of(names))
    assert all(pattern.fullmatch(name) for name in names)
    assert bool(pattern.fullmatch(other)) == (other in names)


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ([], "(?!)"),
        (["tvn"], "tvn"),
        (["mae", "mae-at-5"], r"mae(?:|\-at\-5)"),
        ([f"gene-{e:03d}_Plate{p}" for e in range(1, 100) for p in range(1, 10)], None),
    ],
)
def test_what_names_share_is_written_once(names, pattern):
    found = any_of(names)
    assert found == pattern if pattern else len(found) < 100
