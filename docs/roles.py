"""Lets the site show the cross-references of docstrings (``:func:`~cellmae.maps.recall```) as code."""

import re

import griffe

ROLE = re.compile(r":(?:[a-z]+:)?[a-z]+:`~?([^`]+)`")


class PlainRoles(griffe.Extension):
    """Turns Sphinx's roles into Markdown's code."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrite the docstring of whatever has one."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(r"`\1`", obj.docstring.value)
