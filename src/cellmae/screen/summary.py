"""A screen at a glance: what is there, what is missing, and what a run will cost."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cellmae.files import atomic_path, write_json
from cellmae.screen.confounding import check_confounding
from cellmae.screen.cost import Cost, written_bytes
from cellmae.screen.listing import listing

ROLES = ["treatment", "negative_control", "positive_control", "empty"]
BATCHES_SHOWN = 12
DEVICE_FLOPS = 1e14  # operations a second that a training gets of a large GPU, in round numbers
SHORTEST_HOURS = 0.1


@dataclass(frozen=True)
class Summary:
    """Counts of a screen.

    Attributes
    ----------
    plates, wells, fields, perturbations, treatments
        Numbers of them; perturbations and treatments without controls.
    fields_a_well
        Fewest and most fields of a well that has any.
    roles
        Wells by role.
    controls
        Negative and positive control wells by batch.
    perturbations_in_one_batch
        Perturbations that occur in a single batch of several.
    missing_files
        Missing image files by channel.
    wells_without_images
        Annotated wells of these plates that have no image.
    wells_without_annotation
        Wells that have images and no perturbation.
    plates_without_images, plates_without_annotation, plates_not_taken
        Plates that are left out; the last because the configuration says so.
    cost
        What a run will cost; None without images.
    """

    plates: int
    wells: int
    fields: int
    perturbations: int
    treatments: int
    fields_a_well: tuple[int, int]
    roles: dict[str, int]
    controls: dict[str, dict[str, int]]
    perturbations_in_one_batch: int
    missing_files: dict[str, int]
    wells_without_images: int
    wells_without_annotation: int
    plates_without_images: list[str]
    plates_without_annotation: list[str]
    plates_not_taken: list[str]
    cost: Cost | None

    def as_json(self) -> dict[str, Any]:
        """Return the summary as a JSON-like value."""
        return asdict(self) | {"fields_a_well": list(self.fields_a_well), "notes": self.notes()}

    def write(self, *, json: str | Path, text: str | Path) -> None:
        """Write the summary to two files, for programs and for people."""
        write_json(json, self.as_json())
        with atomic_path(text) as partial:
            partial.write_text(self.as_text())

    def notes(self) -> list[str]:
        """Say what deserves attention."""
        bare = [batch for batch, counts in self.controls.items() if not counts["negative_control"]]
        notes = []
        if bare:
            notes.append(f"no negative control in the batches {listing(bare)}: they cannot be aligned on controls")
        if self.perturbations_in_one_batch:
            notes.append(
                f"{self.perturbations_in_one_batch:,} of {self.perturbations:,} perturbations occur in one batch only: "
                "only that batch's controls tell their effect from the batch's"
            )
        if self.plates_without_images:
            notes.append(f"left out, annotated but without images: {listing(self.plates_without_images)}")
        if self.plates_without_annotation:
            notes.append(f"left out, images but no annotation: {listing(self.plates_without_annotation)}")
        if self.plates_not_taken:
            notes.append(f"left out by screen.plates or screen.exclude: {listing(self.plates_not_taken)}")
        return notes

    def as_text(self) -> str:
        """Return the summary as lines for a terminal."""
        blocks = [
            ("screen", self._screen_rows()),
            ("negative controls", self._control_rows()),
            ("missing", self._missing_rows()),
            ("the run", _cost_rows(self.cost) if self.cost else []),
        ]
        names, values = zip(*((name, value) for _, rows in blocks for name, value, _ in rows), strict=True)
        left, right = max(map(len, names)), max(map(len, values))
        lines = []
        for title, rows in blocks:
            if rows:
                lines += [title, *(f"  {n:<{left}}  {value:>{right}}  {more}".rstrip() for n, value, more in rows), ""]
        notes = self.notes()
        if notes:
            lines += ["notes", *(f"  - {note}" for note in notes), ""]
        return "\n".join(lines)

    def _screen_rows(self) -> list[tuple[str, str, str]]:
        fewest, most = self.fields_a_well
        return [
            ("plates", f"{self.plates:,}", f"in {_count(len(self.controls), 'batch', 'batches')}"),
            (
                "wells",
                f"{self.wells:,}",
                ", ".join(f"{n:,} {role.replace('_', ' ')}" for role, n in self.roles.items() if n),
            ),
            ("fields", f"{self.fields:,}", f"{_range(fewest, most)} a well" if self.fields else "no images"),
            ("perturbations", f"{self.perturbations:,}", "controls not counted"),
            ("treatments", f"{self.treatments:,}", "guides, or compounds at a dose"),
        ]

    def _control_rows(self) -> list[tuple[str, str, str]]:
        rows = [
            (batch, f"{counts['negative_control']:,}", f"and {positive:,} positive" if positive else "")
            for batch, counts in list(self.controls.items())[:BATCHES_SHOWN]
            for positive in [counts["positive_control"]]
        ]
        if len(self.controls) > BATCHES_SHOWN:
            negative = [counts["negative_control"] for counts in self.controls.values()]
            more = len(self.controls) - BATCHES_SHOWN
            rows.append((f"and {more} more batches", _range(min(negative), max(negative)), "in all batches"))
        return rows

    def _missing_rows(self) -> list[tuple[str, str, str]]:
        if not self.fields:
            return []
        by_channel = ", ".join(f"{n:,} {channel}" for channel, n in self.missing_files.items() if n)
        return [
            ("image files", f"{sum(self.missing_files.values()):,}", by_channel),
            ("wells without images", f"{self.wells_without_images:,}", ""),
            ("wells without annotation", f"{self.wells_without_annotation:,}", ""),
        ]


def summarise(
    fields: pd.DataFrame,
    wells: pd.DataFrame,
    *,
    plates_without_images: Sequence[str] = (),
    plates_without_annotation: Sequence[str] = (),
    plates_not_taken: Sequence[str] = (),
    cost: Cost | None = None,
) -> Summary:
    """Count what a screen holds.

    Parameters
    ----------
    fields, wells
        The tables of all plates, concatenated.
    plates_without_images, plates_without_annotation, plates_not_taken
        As :func:`cellmae.screen.survey` found them.
    cost
        As :func:`cellmae.screen.estimate_cost` found it.
    """
    treated = wells[wells["role"] == "treatment"]
    counts = pd.crosstab(wells["batch"], wells["role"])
    counts = counts.reindex(index=wells["batch"].unique(), columns=ROLES, fill_value=0)
    wells_of_fields = pd.MultiIndex.from_frame(fields[["plate", "well"]])
    fields_a_well = wells_of_fields.value_counts()
    imaged = pd.MultiIndex.from_frame(wells[["plate", "well"]]).isin(wells_of_fields)
    unannotated = wells["perturbation"].isna() & (wells["role"] == "empty")
    return Summary(
        plates=int(wells["plate"].nunique()),
        wells=len(wells),
        fields=len(fields),
        perturbations=int(treated["perturbation"].nunique()),
        treatments=int(treated[["perturbation", "treatment"]].drop_duplicates().shape[0]),
        fields_a_well=(int(fields_a_well.min()), int(fields_a_well.max())) if len(fields) else (0, 0),
        roles={str(role): int(n) for role, n in counts.sum().items()},
        controls={str(b): {r: int(row[r]) for r in ROLES[1:3]} for b, row in counts.to_dict("index").items()},
        perturbations_in_one_batch=check_confounding(wells).in_one_batch,
        missing_files={
            "image" if path == "path" else path.removeprefix("path_"): int(fields[path].isna().sum())
            for path in map(str, fields.columns)
            if path == "path" or path.startswith("path_")
        },
        wells_without_images=int((~imaged & ~unannotated).sum()) if len(fields) else 0,
        wells_without_annotation=int((imaged & unannotated).sum()),
        plates_without_images=list(plates_without_images),
        plates_without_annotation=list(plates_without_annotation),
        plates_not_taken=list(plates_not_taken),
        cost=cost,
    )


def _cost_rows(cost: Cost) -> list[tuple[str, str, str]]:
    size = f"{cost.height} x {cost.width} pixels, {_count(cost.channels, 'channel', 'channels')}"
    rows = [
        ("images to read", written_bytes(cost.image_bytes), ""),
        ("tiles on disk", written_bytes(cost.store_bytes), f"fields of {size}, 8 bit"),
        ("grid crops", f"{cost.grid_crops:,}", f"of {cost.tile_size} x {cost.tile_size} pixels"),
    ]
    for model, crops in cost.training_crops.items():
        each = [f"{crops / cost.grid_crops:.1f} for each of the grid"] if cost.grid_crops else []
        if flops := cost.training_flops.get(model):
            each.append(f"{flops:.1e} operations")
            if (hours := flops / (3600 * DEVICE_FLOPS)) >= SHORTEST_HOURS:
                each.append(f"{hours:,.1f} hours at {DEVICE_FLOPS:.0e} a second")
        rows.append((f"training crops, {model}", f"{crops:,}", ", ".join(each)))
    return rows


def _range(fewest: int, most: int) -> str:
    return f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
