"""Numbers and names as a reader expects to see them."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

ABSENT = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
LONGEST_LABEL = 28  # characters


def format_cell(value: Any, template: str = "{}") -> str:
    """Return a value as text, with a dash for what is missing and a true minus sign before numbers."""
    if value is None or value is pd.NA or value != value:
        return ABSENT
    text = template.format(value)
    return text.replace("-", MINUS) if template != "{}" else text


def number(value: float, decimals: int = 3) -> str:
    """Return a number as text, with a true minus sign and no minus before zero."""
    return f"{value:z.{decimals}f}".replace("-", MINUS)


def interval(lower: float, upper: float, decimals: int = 3) -> str:
    """Return the two ends of an interval as text."""
    if lower != lower or upper != upper:
        return ABSENT
    return f"{number(lower, decimals)} to {number(upper, decimals)}"


def intervals(scores: pd.DataFrame, value: str) -> list[str]:
    """Return the intervals of a column of scores, from its ``_ci_low`` and ``_ci_high``, as texts."""
    return [
        interval(*ends) for ends in scores[[f"{value}_ci_low", f"{value}_ci_high"]].itertuples(index=False, name=None)
    ]


def signed(difference: float) -> str:
    """Return a difference with its sign."""
    return f"{difference:+z.3f}".replace("-", MINUS)


def value_range(counts: pd.Series) -> str:
    """Return the smallest and the largest count, or the one that all are."""
    low, high = (f"{count:,.0f}" for count in (counts.min(), counts.max()))
    return low if low == high else f"{low} to {high}"


def p_value(p: float, *, equals: str = "") -> str:
    """Return a p-value as text, never as zero; ``equals`` stands before one that is told exactly."""
    if p != p:
        return ABSENT
    text = f"{equals}{p:.3f}" if p >= 0.001 else "< 0.001"
    return text.replace(" ", NO_BREAK_SPACE)


def listed(names: Sequence[str], limit: int = 12) -> str:
    """Return names as a phrase: ``a, b and c``, or the first few and how many more."""
    names = [str(name) for name in names]
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit:,} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1] if names else ""]))


def capitalised(text: str) -> str:
    """Return a text with a capital letter at its beginning, and the others as they are."""
    return text[:1].upper() + text[1:]


def quantity(count: int, noun: str) -> str:
    """Return a count with its noun, as in ``1 well`` and ``2,304 wells``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def shorten(label: str) -> str:
    """Cut a label that is too long for a legend or an axis."""
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1].rstrip(", ") + "…"
