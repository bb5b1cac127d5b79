"""Errors that are meant for the person at the keyboard: one line that says what to do."""


class CellmaeError(Exception):
    """What was found, what was expected, and what to do about it, in one line; shown without a traceback."""


class ConfigError(CellmaeError):
    """The configuration cannot be carried out; the message begins with the key, as in ``tiles.size: ...``."""


class DataError(CellmaeError):
    """Images, tables or results on disk are missing, broken or contradict each other."""
