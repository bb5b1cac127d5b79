"""Sets of names as regular expressions."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache


def any_of(names: Iterable[str]) -> str:
    """Return a regular expression that matches these names and no others.

    What names share at their beginning or their end is written once: Snakemake copies, compiles and searches the
    expression of a wildcard for every file, and a thousand plates in a row make it slow.
    """
    names = frozenset(names)
    return _folded(names) if names else "(?!)"


@cache
def _folded(names: frozenset[str]) -> str:
    if names == {""}:
        return ""
    rests = defaultdict(set)
    for name in names:
        rests[name[:1]].add(name[1:])
    alike = defaultdict(list)  # first letters that the same rests follow
    for first, rest in sorted(rests.items()):
        alike[frozenset(rest)].append(first)
    parts = [_one_of(firsts) + _folded(rest) for rest, firsts in alike.items()]
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def _one_of(letters: Sequence[str]) -> str:
    """Match one of these letters, or nothing where the empty text is among them."""
    escaped = [re.escape(letter) for letter in letters if letter]
    one = f"[{''.join(escaped)}]" if len(escaped) > 1 else "".join(escaped)
    return f"{one}?" if one and "" in letters else one
