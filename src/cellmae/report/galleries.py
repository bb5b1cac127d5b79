"""What the strongest relationships look like: wells of both perturbations and of controls, in the same contrast."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellmae.errors import DataError
from cellmae.genes import Genes
from cellmae.logging import logger
from cellmae.report.blocks import Block, Comparison, Gallery, Photograph, Text
from cellmae.report.words import listed, number, quantity
from cellmae.tiles import TileStore, open_store

PAIRS_SHOWN = 6
WELLS_SHOWN = 3
LARGEST_CROP = 512  # pixels of a field
LARGEST_SHOWN = 160  # pixels of the page
GAP = 4  # pixels between wells
CONTRAST = (1.0, 99.7)  # percentiles
# Hues of up to six channels, far apart: blue, green, red, yellow, magenta, cyan; further channels are left out.
HUES = ((0.25, 0.4, 1.0), (0.1, 0.9, 0.2), (1.0, 0.2, 0.15), (0.9, 0.8, 0.1), (0.9, 0.2, 0.9), (0.1, 0.85, 0.9))
HUE_NAMES = ("blue", "green", "red", "yellow", "magenta", "cyan")


class Wells:
    """The images of a screen's wells, from the tile stores that are there.

    Parameters
    ----------
    wells
        Annotated wells by plate.
    stores
        Tile store by plate.
    genes
        What perturbations are called on maps.
    """

    def __init__(self, wells: Mapping[str, pd.DataFrame], stores: Mapping[str, Path], genes: Genes) -> None:
        self._stores = stores
        columns = ["plate", "well", "perturbation", "role"]
        table = pd.concat([each[columns] for each in wells.values()], ignore_index=True)
        table["perturbation"] = genes.named(table["perturbation"])
        self._wells = table[table["plate"].isin([plate for plate, store in stores.items() if store.exists()])]
        self._open = lru_cache(maxsize=None)(self._open_or_none)
        self._unreadable: list[str] = []

    def losses(self) -> list[str]:
        """Say which plates have no store any more, and which could not be read."""
        gone = [plate for plate, store in self._stores.items() if not store.exists()]
        return [
            f"The stores of {quantity(len(plates), 'plate')} {what}, so these are not shown: {listed(plates)}."
            for what, plates in (("were retired", gone), ("cannot be read", self._unreadable))
            if plates
        ]

    def of(self, perturbation: str) -> pd.DataFrame:
        """Return the wells of a perturbation, one a plate before a second of any."""
        return self._by_turns(self._wells[self._wells["perturbation"] == perturbation])

    def controls(self, plates: Sequence[str]) -> pd.DataFrame:
        """Return negative controls, those of these plates first."""
        controls = self._wells[self._wells["role"] == "negative_control"]
        place = controls["plate"].map({plate: number for number, plate in reversed(list(enumerate(plates)))})
        return self._by_turns(controls.assign(place=place.fillna(len(plates))).sort_values("place", kind="stable"))

    def crops(self, wells: pd.DataFrame) -> tuple[list[NDArray[np.uint8]], tuple[str, ...]]:
        """Cut the first field of the first wells that have one, each (channels, y, x); name the channels."""
        found: list[NDArray[np.uint8]] = []
        channels: tuple[str, ...] = ()
        for plate, well in wells[["plate", "well"]].itertuples(index=False, name=None):
            if len(found) == WELLS_SHOWN:
                break
            store = self._open(plate)
            fields = [] if store is None else store.fields.loc[store.fields["well"] == well, "field"].tolist()
            if store is not None and fields and channels in ((), store.channels):
                channels = store.channels
                found.append(_middle(store.field(fields[0])))
        return found, channels

    def _open_or_none(self, plate: str) -> TileStore | None:
        try:
            return open_store(self._stores[plate])
        except DataError as error:
            logger.warning("report: %s", error)
            self._unreadable.append(plate)
            return None

    @staticmethod
    def _by_turns(wells: pd.DataFrame) -> pd.DataFrame:
        return wells.iloc[np.argsort(wells.groupby("plate").cumcount(), kind="stable")]


def composite(crop: NDArray[np.uint8], low: NDArray, high: NDArray) -> NDArray[np.uint8]:
    """Mix channels into colours: each between its ``low`` and ``high``, in its hue of :data:`HUES`, added up.

    Parameters
    ----------
    crop
        Shape (channels, y, x).
    low, high
        What becomes dark and bright, shape (channels,).

    Returns
    -------
    numpy.ndarray
        Shape (y, x, 3) uint8.
    """
    channels = min(len(crop), len(HUES))
    span = np.maximum(high - low, 1)[:channels, None, None]
    light = np.clip((crop[:channels] - low[:channels, None, None]) / span, 0, 1)
    hues = np.ones((1, 3)) if channels == 1 else np.array(HUES[:channels])
    colours = np.einsum("cyx,cr->yxr", light, hues / max(1.0, hues.sum(axis=0).max() / 1.6))
    return np.rint(255 * np.clip(colours, 0, 1)).astype(np.uint8)


def gallery_blocks(strongest: pd.DataFrame, wells: Wells | None, *, kind: str) -> list[Block]:
    """Show the first pairs of a table side by side with controls; say so where there are no images (any more).

    Parameters
    ----------
    strongest
        ``entity1``, ``entity2``, ``cosine``, ``known_in``; the strongest first.
    wells
        Images of the screen; None where it has none.
    kind
        Of these pairs, for file names and captions: ``known`` or ``unknown``.
    """
    if wells is None or strongest.empty:
        return []
    entries: list[Comparison] = []
    without: list[str] = []
    channels: tuple[str, ...] = ()
    for place, pair in enumerate(strongest.head(PAIRS_SHOWN).to_dict("records"), start=1):
        title = f"{pair['entity1']} and {pair['entity2']}"
        strips, seen = _strips(f"gallery-{kind}-{place}", (str(pair["entity1"]), str(pair["entity2"])), wells)
        if not strips:
            without.append(title)
            continue
        channels = seen
        known = f"known in {pair['known_in']}" if pair["known_in"] else "in no database of this run"
        entries.append(Comparison(title, f"Cosine {number(pair['cosine'], 2)}, {known}", strips))
    losses = wells.losses()
    if without:
        losses.append(f"Without images of both in one format: {listed(without)}.")
    if not entries:
        return [Text([" ".join([f"No images of the strongest {kind} relationships can be shown.", *losses])])]
    hues = HUE_NAMES if len(channels) > 1 else ("white",)
    coloured = listed([f"{channel} {hue}" for channel, hue in zip(channels, hues, strict=False)])
    caption = (
        f"The strongest {kind} relationships as images: up to {WELLS_SHOWN} wells of both perturbations, each from a "
        "plate of its own where there are several, and controls of the same plates; the middle of each well's first "
        f"field. Channels: {coloured}; their contrast is the same for all images of a pair."
    )
    return [Gallery(entries, " ".join([caption, *losses]))]


def _strips(name: str, pair: tuple[str, str], wells: Wells) -> tuple[list[Photograph], tuple[str, ...]]:
    of_pair = [wells.of(perturbation) for perturbation in pair]
    plates = list(dict.fromkeys(pd.concat([each.head(WELLS_SHOWN) for each in of_pair])["plate"]))
    rows = [*zip(pair, of_pair, strict=True), ("negative control", wells.controls(plates))]
    crops = {label: wells.crops(table) for label, table in rows}
    shown = {label: pictures for label, (pictures, _) in crops.items() if pictures}
    if not all(perturbation in shown for perturbation in pair):
        return [], ()
    layouts = {(channels, pictures[0].shape) for pictures, channels in crops.values() if pictures}
    if len(layouts) > 1:
        return [], ()
    channels = next(iter(layouts))[0]
    values = np.concatenate([crop.reshape(len(crop), -1) for pictures in shown.values() for crop in pictures], axis=1)
    low, high = np.percentile(values, CONTRAST, axis=1)
    strips = [
        Photograph(
            f"{name}-{place}",
            _side_by_side([composite(crop, low, high) for crop in pictures]),
            alt=f"{quantity(len(pictures), 'well')} of {label}, in the contrast of the images beside.",
            title=label,
        )
        for place, (label, pictures) in enumerate(shown.items(), start=1)
    ]
    return strips, channels


def _middle(field: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut the middle of a field (channels, y, x) and take every n-th pixel's mean, so that it fits the page."""
    _, height, width = field.shape
    side = min(height, width, LARGEST_CROP)
    top, left = (height - side) // 2, (width - side) // 2
    crop = field[:, top : top + side, left : left + side]
    factor = max(1, side // LARGEST_SHOWN)
    kept = side // factor * factor
    blocks = crop[:, :kept, :kept].reshape(len(crop), kept // factor, factor, kept // factor, factor)
    return np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)


def _side_by_side(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Join pictures of the same size to a row of :data:`WELLS_SHOWN`, dark where there are fewer."""
    height, width, _ = pictures[0].shape
    row = np.zeros((height, WELLS_SHOWN * width + (WELLS_SHOWN - 1) * GAP, 3), dtype=np.uint8)
    for place, picture in enumerate(pictures):
        row[:, place * (width + GAP) :][:, :width] = picture
    return row
