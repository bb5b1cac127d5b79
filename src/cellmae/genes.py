"""Facts about genes from tables that people have: chromosome arms, expression, approved symbols and their aliases."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from cellmae.errors import ConfigError, DataError
from cellmae.logging import logger
from cellmae.screen.listing import listing
from cellmae.screen.metadata import as_text, column_names, read_metadata

SYMBOL = ("approved_symbol", "hgnc_symbol", "symbol", "gene_symbol", "gene", "gene_name")
ALIASES = (
    "alias_symbol",
    "prev_symbol",
    "alias_symbols",
    "previous_symbols",
    "alias",
    "aliases",
    "synonym",
    "synonyms",
)
ARM = ("chromosome_arm", "arm", "chr_arm", "location", "cytoband", "cytogenetic_band", "map_location", "locus", "band")
CHROMOSOME = ("chromosome", "chrom", "chr")
EXPRESSION = ("zfpkm", "expression")
"""Usual names of columns, the preferred ones first; case, spaces and pycytominer's prefix do not count."""

CHROMOSOME_NAME = re.compile(r"(?:chr)?0*(\d{1,2}|X|Y)(?=[pq])", re.IGNORECASE)
ARM_LETTER = re.compile(r"(?<![A-Z])(?:chr)?(?:\d{1,2}|X|Y)?([pq])(?=\d|ter|cen|\W|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Aliases:
    """Approved symbols of genes, and the other names that stand for them.

    Attributes
    ----------
    symbols
        Approved symbols; none of them is an alias.
    renamed
        The symbol of each alias that stands for one gene only.
    ambiguous
        The symbols of each alias that stands for several genes.
    """

    symbols: frozenset[str]
    renamed: Mapping[str, str]
    ambiguous: Mapping[str, Sequence[str]]

    def resolve(self, names: Iterable[str]) -> pd.Index:
        """Return the approved symbol of each name; the name itself where it is unknown or ambiguous."""
        codes, distinct = pd.factorize(pd.Series(list(names), dtype=object))
        symbols = np.array([*(self.renamed.get(name, name) for name in distinct), np.nan], dtype=object)
        return pd.Index(symbols[codes])

    def unmatched(self, names: Iterable[str]) -> pd.Index:
        """Return the distinct names, in alphabetical order, that are unknown or ambiguous."""
        known = self.symbols | self.renamed.keys()
        return pd.Index(sorted(set(pd.Series(list(names), dtype=object).dropna()) - known), dtype=object)

    def report(self, names: Iterable[str], what: str) -> None:
        """Log how many distinct names of ``what`` are renamed, ambiguous and unknown, and which."""
        distinct = set(pd.Series(list(names), dtype=object).dropna())
        renamed = sorted(f"{name} -> {self.renamed[name]}" for name in distinct if name in self.renamed)
        unmatched = self.unmatched(distinct)
        ambiguous = [f"{name} ({' or '.join(self.ambiguous[name])})" for name in unmatched if name in self.ambiguous]
        unknown = [name for name in unmatched if name not in self.ambiguous]
        for found, text in ((renamed, "renamed"), (ambiguous, "ambiguous and kept"), (unknown, "unknown and kept")):
            if found:
                logger.info("%s: %d of %d names %s: %s", what, len(found), len(distinct), text, listing(found))


@dataclass(frozen=True)
class Genes:
    """What is known about the genes of a screen, as far as it is.

    Attributes
    ----------
    arms
        As :func:`read_arms` returns them.
    expression
        As :func:`read_expression` returns it.
    aliases
        As :func:`read_aliases` returns them.
    """

    arms: pd.Series | None = None
    expression: pd.Series | None = None
    aliases: Aliases | None = None

    @classmethod
    def read(
        cls,
        arms: str | Path | None = None,
        expression: str | Path | None = None,
        aliases: str | Path | None = None,
    ) -> "Genes":
        """Read the tables that the section ``genes`` of the configuration names."""
        names = read_aliases(aliases) if aliases else None
        return cls(
            arms=read_arms(arms, names) if arms else None,
            expression=read_expression(expression, names) if expression else None,
            aliases=names,
        )

    def named(self, perturbations: Iterable[str]) -> pd.Index:
        """Return the gene of each perturbation, by the name that the tables have for it."""
        if self.aliases is None:
            return pd.Index(pd.Series(list(perturbations), dtype=object))
        return self.aliases.resolve(perturbations)


def read_aliases(path: str | Path, *, key: str = "genes.aliases") -> Aliases:
    """Read which names stand for which genes.

    Parameters
    ----------
    path
        HGNC's complete set, or any table with a column of symbols and one or more of aliases (``alias_symbol``,
        ``prev_symbol``, ``alias``, ``synonym``); several aliases of a row are separated by ``|``, or by commas.
        As CSV, TSV or Parquet.
    key
        Key of the configuration that names the file, for messages.

    Returns
    -------
    Aliases
        Among the aliases are symbols in capitals, so that ``C9ORF72`` finds ``C9orf72``.

    Raises
    ------
    ConfigError
        The file is missing, or has no such columns.
    DataError
        It cannot be read, or has no symbol.
    """
    table = _Table(path, key)
    symbols = table.text(SYMBOL, "the approved symbols")
    if symbols.isna().all():
        raise DataError(f"{key}: {path} has no symbol in the column {symbols.name!r}")
    columns = [column for column in table.found(ALIASES) if column != symbols.name]
    if not columns:
        raise ConfigError(f"{key}: {path} has no column of aliases ({', '.join(ALIASES)}); it has {table.listed()}")
    pairs = pd.concat([_pairs(symbols, table.column(column)) for column in columns]).drop_duplicates()
    approved = frozenset(symbols.dropna())
    taken = pairs["alias"].isin(approved)
    pairs = pairs[~taken].sort_values(["alias", "symbol"])
    alone = ~pairs["alias"].duplicated(keep=False)
    renamed = dict(zip(pairs.loc[alone, "alias"], pairs.loc[alone, "symbol"], strict=True))
    ambiguous = {str(alias): tuple(own) for alias, own in pairs[~alone].groupby("alias")["symbol"]}
    capitals = {symbol.upper(): symbol for symbol in sorted(approved)}
    capitals = {name: symbol for name, symbol in capitals.items() if name not in approved and name not in ambiguous}
    logger.info(
        "%s: %d symbols, %d aliases, %d ambiguous ones, %d that are symbols themselves and stay",
        path, len(approved), len(renamed), len(ambiguous), taken.sum(),
    )  # fmt: skip
    return Aliases(approved, capitals | renamed, ambiguous)


def read_arms(path: str | Path, aliases: Aliases | None = None, *, key: str = "genes.arms") -> pd.Series:
    """Read on which arm of a chromosome genes lie.

    Parameters
    ----------
    path
        Table with a column of genes and one of arms (``17p``) or locations (``17p13.1``), or of the chromosome and
        the band (``p13.1``); HGNC's complete set is one. As CSV, TSV or Parquet.
    aliases
        Brings genes to their approved symbols.
    key
        Key of the configuration that names the file, for messages.

    Returns
    -------
    Series
        Arms such as ``17p``, by gene. A gene whose location is unknown, spans the centromere, or differs between
        rows has none; these are counted and listed.

    Raises
    ------
    ConfigError
        The file is missing, or has no such columns.
    DataError
        It cannot be read, or no gene has an arm.
    """
    table = _Table(path, key)
    genes = table.genes(aliases)
    places = table.text(ARM, "chromosome arms or locations")
    chromosomes = table.found(CHROMOSOME)
    if chromosomes:
        bare = places.str.match(r"[pq]", case=False).fillna(False).astype(bool)
        places = places.where(~bare, table.column(chromosomes[0]) + places)
    arms = pd.DataFrame({"gene": genes, "arm": places.map(chromosome_arm, na_action="ignore")}).dropna(subset="gene")
    known = arms.dropna().drop_duplicates()
    twice = known["gene"].duplicated(keep=False)
    if twice.any():
        logger.warning(
            "%s: genes on several arms count as on none: %s", path, listing(sorted(set(known.loc[twice, "gene"])))
        )
    known = known[~twice]
    nowhere = set(arms["gene"]) - set(known["gene"])
    logger.info("%s: %d genes on %d arms, %d on none", path, len(known), known["arm"].nunique(), len(nowhere))
    if known.empty:
        raise DataError(f"{key}: no gene of {path} has an arm; expected are locations such as 17p13.1 or 17p")
    return known.set_index("gene")["arm"].astype(object).sort_index()


def chromosome_arm(location: str) -> str | None:
    """Return the arm of a cytogenetic location: ``17p`` of ``17p13.1``; None where it is on none, or on both.

    Genes of the pseudoautosomal regions (``Xp22.33 and Yp11.32``) count as on the chromosome that is named first.
    """
    chromosome = CHROMOSOME_NAME.match(location.strip())
    letters = {letter.lower() for letter in ARM_LETTER.findall(location)}
    if chromosome is None or len(letters) != 1:
        return None
    return chromosome.group(1).upper() + letters.pop()


def read_expression(path: str | Path, aliases: Aliases | None = None, *, key: str = "genes.expression") -> pd.Series:
    """Read how strongly the cells of the screen express genes, as zFPKM.

    zFPKM is the standard score of log2 FPKM about the peak of expressed genes; above -3 a gene counts as expressed
    (Hart et al. 2013, BMC Genomics 14:778).

    Parameters
    ----------
    path
        Table with a column of genes and one of zFPKM (``zfpkm`` or ``expression``). As CSV, TSV or Parquet.
    aliases
        Brings genes to their approved symbols.
    key
        Key of the configuration that names the file, for messages.

    Returns
    -------
    Series
        zFPKM by gene, minus infinity where nothing was read; the highest of a gene that has several rows.

    Raises
    ------
    ConfigError
        The file is missing, or has no such columns.
    DataError
        It cannot be read, or holds no numbers.
    """
    table = _Table(path, key)
    text = table.text(EXPRESSION, "zFPKM")
    values = pd.to_numeric(text.astype(object), errors="coerce").astype(float)
    garbled = text[values.isna() & text.notna()]
    if len(garbled):
        raise DataError(f"{key}: {path} holds {garbled.iloc[0]!r} in the column {text.name!r}, which is no number")
    expression = values.groupby(table.genes(aliases)).max()
    known = expression.dropna()
    logger.info("%s: zFPKM of %d genes, %d without a value", path, len(known), len(expression) - len(known))
    if known.empty:
        raise DataError(f"{key}: {path} has no gene with a zFPKM")
    return known


def require_shared(names: Iterable[str], known: pd.Index, *, key: str) -> None:
    """Raise :class:`DataError`, with names of both sides, where none of the screen's genes is in a table."""
    distinct = pd.Index(sorted(set(names)))
    if not distinct.isin(known).any():
        raise DataError(
            f"{key}: none of the screen's {len(distinct)} genes ({listing(distinct, 5)}) is among the table's "
            f"{len(known)} ({listing(known, 5)}): name genes alike, or give genes.aliases"
        )


class _Table:
    """A table whose columns are found by their usual names."""

    def __init__(self, path: str | Path, key: str) -> None:
        self.path, self.key = Path(path), key
        plain = {name: "_".join(re.findall(r"[a-z0-9]+", name.lower())) for name in column_names(self.path, key=key)}
        self.names = {name: text.removeprefix("metadata_") for name, text in plain.items()}

    @cached_property
    def data(self) -> pd.DataFrame:
        """The columns that may be asked for, as text."""
        wanted = {*SYMBOL, *ALIASES, *ARM, *CHROMOSOME, *EXPRESSION}
        table = read_metadata(self.path, [name for name, plain in self.names.items() if plain in wanted], key=self.key)
        return table.apply(as_text)

    def listed(self) -> str:
        return listing(self.names, 20)

    def found(self, usual: Sequence[str]) -> list[str]:
        """Return the columns with one of the usual names, in their order of preference."""
        return [name for plain in usual for name, own in self.names.items() if own == plain]

    def column(self, name: str) -> pd.Series:
        return self.data[name]

    def text(self, usual: Sequence[str], what: str) -> pd.Series:
        """Return the preferred one of the columns with one of the usual names."""
        found = self.found(usual)
        if not found:
            raise ConfigError(
                f"{self.key}: {self.path} has no column for {what} ({', '.join(usual)}); it has {self.listed()}"
            )
        return self.column(found[0])

    def genes(self, aliases: Aliases | None) -> pd.Series:
        names = self.text(SYMBOL, "genes")
        symbols = names if aliases is None else aliases.resolve(names.astype(object))
        return pd.Series(np.asarray(symbols, dtype=object), name="gene")


def _pairs(symbols: pd.Series, aliases: pd.Series) -> pd.DataFrame:
    """Return a row an alias, of cells that may hold several."""
    separator = "|" if aliases.str.contains("|", regex=False).any() else ","
    pairs = pd.DataFrame({"alias": aliases.str.split(separator), "symbol": symbols}).explode("alias").dropna()
    pairs = pairs.astype(object).assign(alias=lambda table: table["alias"].str.strip())
    return pairs[pairs["alias"].ne("")]
