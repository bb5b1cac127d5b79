"""Lists of names in messages, cut short where they are long."""

from collections.abc import Iterable, Mapping


def listing(names: Iterable[object], limit: int = 10) -> str:
    """Return the first names separated by commas, and how many more there are."""
    shown = [str(name) for name in names]
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more


def counted(counts: Mapping[str, int]) -> str:
    """Return counts by what they are of, as a text: ``3 not finite, 1 unannotated``."""
    return ", ".join(f"{count} {what}" for what, count in counts.items())
