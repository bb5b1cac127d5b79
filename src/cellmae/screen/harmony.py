"""The index that Harmony, the software of the Operetta and the Opera Phenix, writes beside the images.

Versions 4 to 7 differ in the namespace, and in where they keep the names of channels: with each image, or in a map.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, XMLParser

from cellmae.errors import DataError

ROOT = "EvaluationInputData"
NUMBERS = {
    "Row": "row",
    "Col": "column",
    "FieldID": "site",
    "PlaneID": "z",
    "TimepointID": "timepoint",
    "ChannelID": "channel",
}
NAME, FILE = "ChannelName", "URL"
CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class HarmonyIndex:
    """What an index says.

    Attributes
    ----------
    images
        A row an image: ``row``, ``column``, ``site``, ``z``, ``timepoint``, ``channel`` (numbers), and ``file``, its
        name (None where the image was not recorded).
    channels
        The names of channels by their numbers; empty where they have none.
    """

    images: pd.DataFrame
    channels: dict[str, str]


class _Target:
    """Takes what matters from the events of the parser, so that no tree is built: an index may have 500 MB."""

    def __init__(self) -> None:
        self.images: list[tuple[str | None, ...]] = []
        self.channels: dict[str, str] = {}
        self._root = ""
        self._values: dict[str, str] = {}
        self._text: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Begin an element."""
        name = _plain(tag)
        if not self._root and name != ROOT:
            raise DataError(f"its root element is {name}, expected {ROOT}")
        self._root = ROOT
        if name in ("Image", "Entry"):
            self._values = {key: value for key, value in attributes.items() if key == "ChannelID"}
        self._text.clear()

    def data(self, text: str) -> None:
        """Take a part of an element's text."""
        self._text.append(text)

    def end(self, tag: str) -> None:
        """Take a value, an image, or a channel of the map."""
        name = _plain(tag)
        if name in NUMBERS or name in (NAME, FILE):
            self._values[name] = "".join(self._text).strip()
        elif name == "Image" and self._values:  # a well lists its images by their id alone
            self.images.append(tuple(self._values.get(key) for key in (*NUMBERS, FILE)))
        if name in ("Image", "Entry") and "ChannelID" in self._values:
            known = self.channels.get(self._values["ChannelID"], "")
            self.channels[self._values["ChannelID"]] = self._values.get(NAME) or known
        self._text.clear()


def read_index(path: Path) -> HarmonyIndex:
    """Read an index, a part at a time.

    Raises
    ------
    DataError
        It is no index, is damaged, declares entities, or an image lacks a number.
    """
    target = _Target()
    parser = XMLParser(target=target, forbid_dtd=True)
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                parser.feed(chunk)
        parser.close()
    except (ParseError, DefusedXmlException, DataError, OSError) as error:
        raise DataError(f"{path} is no index of Harmony ({error}): copy it anew, or remove it") from None
    images = pd.DataFrame(target.images, columns=[*NUMBERS.values(), "file"])
    if images.empty:
        raise DataError(f"{path} names no image: copy it anew, or remove it")
    images["file"] = images["file"].replace("", None)
    for element, column in NUMBERS.items():
        numbers = pd.to_numeric(images[column], errors="coerce")
        wrong = images[~((numbers >= 0) & (numbers % 1 == 0))]
        if len(wrong):
            raise DataError(
                f"{path}: {element} of the image {wrong['file'].iloc[0]} is {wrong[column].iloc[0]}, expected is a "
                "number: copy the index anew, or remove it"
            )
        images[column] = numbers.astype("int64")
    return HarmonyIndex(images, target.channels)


def _plain(tag: str) -> str:
    return tag.rpartition("}")[2]
