"""The page: sections put together, figures and tables written, one file that needs nothing beside it."""

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

import cellmae
from cellmae.files import atomic_path, digest_json
from cellmae.genes import Genes
from cellmae.logging import logger
from cellmae.models import FAMILIES
from cellmae.report.answer import answer_section, best_of_lines, choose_leader
from cellmae.report.blocks import Explorer, Gallery, Panels, Section, Table
from cellmae.report.comparison import comparison_section
from cellmae.report.compute import compute_sections
from cellmae.report.explorer import explorer_library
from cellmae.report.galleries import Wells
from cellmae.report.plates import plates_section
from cellmae.report.probe import probe_section
from cellmae.report.recall import recall_section
from cellmae.report.relationships import map_section
from cellmae.report.replicates import replicates_section
from cellmae.report.results import Results
from cellmae.report.run import facts, run_section
from cellmae.report.sets import sets_section
from cellmae.report.study import study_sections
from cellmae.report.style import assign_colours, drawing
from cellmae.report.training import training_section
from cellmae.report.wells import wells_section
from cellmae.report.words import listed, quantity
from cellmae.study import group_of


def write_report(
    results: str | Path,
    *,
    output: str | Path,
    title: str,
    config: Mapping[str, Any],
    plates: Sequence[str],
    models: Mapping[str, Mapping[str, Any]],
    alignments: Mapping[str, Mapping[str, Any]],
    images: bool,
    truth: bool,
    unfinished: Sequence[str] = (),
    ranked: Sequence[str] = (),
    aliases: str | Path | None = None,
    seed: int = 0,
) -> None:
    """Write the report of a run: ``index.html``, ``figures/*.png`` (and ``*.svg``) and ``tables/*.csv``.

    Parameters
    ----------
    results
        Results folder of the run, whose other stages are finished.
    output
        Folder of the report; replaced as a whole.
    title
        Title of the page.
    config
        The whole configuration, for the reader.
    plates
        Slugs of the plates.
    models, alignments
        Sections of the configuration, by name.
    images
        The screen has images, and so has tiles.
    truth
        The screen is simulated, so that a probe of the true phenotypes exists.
    unfinished
        Models of the configuration that are left out, because their maps are not there.
    ranked
        Models whose blocks were ranked.
    aliases
        Table of other names of genes, by which maps were named, see :mod:`cellmae.genes`.
    seed
        Of UMAPs and of the wells drawn for them.

    Raises
    ------
    DataError
        A table, manifest or map is missing or cannot be read.
    """
    run = Results(Path(results), tuple(models), tuple(alignments), tuple(plates))
    with atomic_path(output) as folder, drawing():
        sections = _sections(
            run,
            config=config,
            models=models,
            alignments=alignments,
            images=images,
            truth=truth,
            unfinished=unfinished,
            ranked=ranked,
            genes=Genes.read(aliases=aliases),
            seed=seed,
        )
        for name in ("figures", "tables"):
            (folder / name).mkdir(parents=True)
        uris = _write_figures(sections, folder / "figures")
        _write_tables(sections, folder / "tables")
        page = render(
            title=title,
            lead=_lead(run, images=images, unfinished=unfinished),
            facts=facts(run.summary()),
            sections=sections,
            images=uris,
        )
        (folder / "index.html").write_text(page, encoding="utf-8")
    logger.info("report: %d sections, %d figures, %.1f MB", len(sections), len(uris), len(page) / 1e6)


def render(
    *,
    title: str,
    lead: str,
    facts: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    images: Mapping[str, str],
) -> str:
    """Return the page as HTML; every text is escaped but for ``Markup``.

    Parameters
    ----------
    title, lead, facts
        Head of the page.
    sections
        Its parts.
    images
        Data URI of each figure by name.
    """
    package = files("cellmae.report")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["json"] = _script_json
    template = environment.from_string(package.joinpath("page.html").read_text(encoding="utf-8"))
    css = Markup(package.joinpath("page.css").read_text(encoding="utf-8"))
    explores = any(isinstance(block, Explorer) for section in sections for block in section.blocks)
    scripts = [explorer_library()] if explores else []
    scripts.append(package.joinpath("explorer.js").read_text(encoding="utf-8"))
    page = template.render(
        title=title,
        lead=lead,
        facts=facts,
        sections=sections,
        images=images,
        css=css,
        scripts=[Markup(script) for script in scripts],
        version=cellmae.__version__,
    )
    return re.sub(r"(?<=[0-9]) %", "\N{NO-BREAK SPACE}%", page)


def _sections(
    run: Results,
    *,
    config: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
    alignments: Mapping[str, Mapping[str, Any]],
    images: bool,
    truth: bool,
    unfinished: Sequence[str],
    ranked: Sequence[str],
    genes: Genes,
    seed: int,
) -> list[Section]:
    study = config.get("study") or {}
    imaged = [name for name, spec in models.items() if FAMILIES[spec["family"]].needs_images]
    scores, comparison = run.recall(), run.comparison()
    probes = run.probe() if truth else None
    histories = run.histories([name for name, spec in models.items() if FAMILIES[spec["family"]].trained])
    every_pair = scores[scores["pairs_kept"] == "all"]
    leader = choose_leader(every_pair)
    lines = {name: group_of(name, study) for name in run.models}
    of_line = assign_colours(list(dict.fromkeys(lines.values())))
    colours = {name: of_line[line] for name, line in lines.items()}
    shown = best_of_lines(every_pair, lines, alignment=leader.alignment)
    sets = run.sets(leader.model, leader.alignment)
    pairs = run.known_pairs(leader.model, leader.alignment)
    return [
        answer_section(
            leader, shown=shown, scores=every_pair, comparison=comparison, probes=probes, histories=histories
        ),
        recall_section(scores, colours=colours),
        comparison_section(comparison),
        *compute_sections(
            every_pair,
            probes,
            _training_flops(run, imaged),
            lines=lines,
            bands=run.bands() if study else None,
            unfinished=unfinished,
            colours=colours,
        ),
        *(
            study_sections(
                run.points(),
                run.trends(),
                run.gains(),
                comparison,
                study,
                leader=leader.model,
                alignments=run.alignments,
            )
            if study
            else []
        ),
        *([] if probes is None else [probe_section(probes, colours=colours)]),
        replicates_section(run.replicates()),
        map_section(
            run.map(leader.model, leader.alignment),
            pairs,
            **leader._asdict(),
            wells=Wells(run.wells(), run.stores(), genes) if images else None,
            seed=seed,
        ),
        *([sets_section(*sets)] if len(sets[0]) else []),
        wells_section(
            {model: {name: run.aligned(model, name) for name in run.alignments} for model in shown},
            pairs,
            left_out=len(run.models) - len(shown),
            genes=genes,
            seed=seed,
        ),
        *([_training(run, models, histories, ranked)] if histories else []),
        *([_tiles(run)] if images else []),
        run_section(
            summary=run.summary(),
            models=models,
            records=run.records(imaged),
            alignments=alignments,
            fits=run.fits(),
            benchmarks=run.benchmarks(),
            config=config,
            version=cellmae.__version__,
            digest=digest_json(config),
        ),
    ]


def _training_flops(run: Results, imaged: Sequence[str]) -> dict[str, float]:
    """Return the operations of each training, of points on the way those so far."""
    trainings = {model: record.get("training") for model, record in run.records(imaged).items()}
    return {model: training["flops"] for model, training in trainings.items() if training and "flops" in training}


def _training(
    run: Results,
    models: Mapping[str, Mapping[str, Any]],
    histories: Mapping[str, pd.DataFrame],
    ranked: Sequence[str],
) -> Section:
    masked = [model for model in histories if FAMILIES[models[model]["family"]].masked]
    pictures = {model: run.reconstructions(model) for model in masked}
    return training_section(histories, pictures, run.blocks(ranked), colours=assign_colours(list(histories)))


def _tiles(run: Results) -> Section:
    return plates_section(
        {plate: run.tiles(plate) for plate in run.plates},
        {plate: run.tiles_manifest(plate) for plate in run.plates},
        run.wells(),
    )


def _lead(run: Results, *, images: bool, unfinished: Sequence[str]) -> str:
    sides = (
        f"{quantity(len(run.models), 'model')} ({listed(run.models)}), {quantity(len(run.alignments), 'alignment')} "
        f"({listed(run.alignments)})"
    )
    source = "" if images else " The screen is a table of profiles, so there are no tiles and no training to show."
    missing = f" Not finished, and left out: {listed(unfinished)}." if unfinished else ""
    return f"From {quantity(len(run.plates), 'plate')} to a map of perturbations: {sides}.{missing}{source}"


def _script_json(value: Any) -> Markup:
    """Return JSON that a script element may hold: no text in it can end the element or begin another."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _write_figures(sections: Sequence[Section], folder: Path) -> dict[str, str]:
    kinds = (Panels, Gallery, Explorer)
    panels = [block for section in sections for block in section.blocks if isinstance(block, kinds)]
    return {plot.name: plot.write(folder) for block in panels for plot in block.plots}


def _write_tables(sections: Sequence[Section], folder: Path) -> None:
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Table):
                block.frame.to_csv(folder / f"{block.name}.csv", index=False)
