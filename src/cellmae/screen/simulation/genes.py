"""The genes of the simulated screen: members of textbook complexes, and genes that do nothing in a cultured cell."""

from itertools import combinations

import pandas as pd

NO_EFFECT_SHARE = 0.15
MEMBERS = 5  # of a complex, as long as there are complexes left

COMPLEXES: dict[str, tuple[str, ...]] = {
    "20S proteasome": (
        "PSMA1",
        "PSMA3",
        "PSMB2",
        "PSMB5",
        "PSMA6",
        "PSMB1",
        "PSMA4",
        "PSMB4",
        "PSMA7",
        "PSMB6",
    ),
    "COPI coat": ("COPA", "COPB1", "COPB2", "COPG1", "ARCN1", "COPE", "COPZ1"),
    "respiratory complex I": (
        *("NDUFS1", "NDUFS2", "NDUFV1", "NDUFA9", "NDUFB8"),
        *("NDUFS3", "NDUFS7", "NDUFS8", "NDUFA10", "NDUFB10"),
    ),
    "SF3b": ("SF3B1", "SF3B2", "SF3B3", "SF3B5", "PHF5A", "SF3B4", "SF3B6"),
    "Arp2/3": ("ACTR2", "ACTR3", "ARPC2", "ARPC3", "ARPC4", "ARPC5", "ARPC1B"),
    "condensin": ("SMC2", "SMC4", "NCAPD2", "NCAPG", "NCAPH", "NCAPD3", "NCAPG2", "NCAPH2"),
    "small ribosomal subunit": (
        *("RPS3", "RPS6", "RPS14", "RPS19", "RPS24"),
        *("RPS7", "RPS8", "RPS11", "RPS13", "RPS18"),
    ),
    "V-type ATPase": (
        "ATP6V1A",
        "ATP6V1B2",
        "ATP6V1C1",
        "ATP6V1D",
        "ATP6V0C",
        "ATP6V1E1",
        "ATP6V1H",
        "ATP6V0D1",
    ),
    "chaperonin TRiC": ("CCT2", "CCT3", "CCT4", "CCT5", "TCP1", "CCT7", "CCT8", "CCT6A"),
    "exocyst": ("EXOC1", "EXOC2", "EXOC3", "EXOC4", "EXOC5", "EXOC6", "EXOC7", "EXOC8"),
    "anaphase-promoting complex": (
        "ANAPC1",
        "ANAPC2",
        "ANAPC4",
        "CDC16",
        "CDC23",
        "CDC27",
        "ANAPC5",
        "ANAPC10",
    ),
    "mitochondrial import TIM23": ("TIMM23", "TIMM17A", "TIMM44", "TIMM50", "TIMM21", "DNAJC19", "PAM16"),
    "nuclear pore Y complex": ("NUP107", "NUP133", "NUP160", "NUP85", "NUP37", "SEC13", "SEH1L", "NUP43"),
    "Mediator": ("MED1", "MED12", "MED14", "MED17", "MED23", "MED4", "MED6", "MED8", "MED20", "MED27"),
    "retromer": ("VPS26A", "VPS29", "VPS35", "SNX1", "SNX2", "SNX5", "SNX6"),
    "RNA exosome": (
        "EXOSC2",
        "EXOSC3",
        "EXOSC4",
        "EXOSC7",
        "EXOSC9",
        "EXOSC1",
        "EXOSC5",
        "EXOSC8",
        "EXOSC10",
    ),
    "dynactin": ("DCTN1", "DCTN2", "DCTN3", "ACTR1A", "ACTR10", "DCTN4", "DCTN5", "DCTN6"),
    "large ribosomal subunit": (
        *("RPL4", "RPL5", "RPL8", "RPL11", "RPL23"),
        *("RPL3", "RPL6", "RPL7", "RPL10", "RPL13"),
    ),
    "COPII coat": ("SEC23A", "SEC23B", "SEC24A", "SEC24C", "SEC31A", "SAR1A", "SAR1B", "SEC24B"),
    "ATP synthase": ("ATP5F1A", "ATP5F1B", "ATP5F1C", "ATP5PB", "ATP5PO", "ATP5F1D", "ATP5PD", "ATP5ME"),
    "cohesin": ("SMC1A", "SMC3", "RAD21", "STAG2", "NIPBL", "MAU2", "PDS5A", "PDS5B"),
    "Integrator": ("INTS1", "INTS2", "INTS4", "INTS5", "INTS9", "INTS11", "INTS6", "INTS8", "INTS7"),
    "AP-2 adaptor": ("AP2A1", "AP2B1", "AP2M1", "AP2S1", "CLTC", "AP2A2", "PICALM"),
    "COP9 signalosome": ("COPS2", "COPS3", "COPS4", "COPS5", "COPS6", "GPS1", "COPS8", "COPS7A"),
    "MCM helicase": ("MCM2", "MCM3", "MCM4", "MCM5", "MCM6", "MCM7"),
    "respiratory complex IV": ("COX4I1", "COX5A", "COX5B", "COX6B1", "COX7C", "COX6C", "COX7A2", "COX8A"),
    "SWI/SNF": ("SMARCA4", "SMARCB1", "SMARCC1", "SMARCE1", "ARID1A", "SMARCD1", "ARID2", "PBRM1", "ACTL6A"),
    "oligosaccharyltransferase": ("STT3A", "RPN1", "RPN2", "DDOST", "DAD1", "OSTC", "STT3B"),
    "U2AF and U2 snRNP": ("SNRPA1", "SNRPB2", "SF3A1", "SF3A2", "SF3A3", "U2AF1", "U2AF2"),
    "HOPS tether": ("VPS11", "VPS16", "VPS18", "VPS33A", "VPS39", "VPS41"),
    "RNA polymerase II": ("POLR2A", "POLR2B", "POLR2C", "POLR2E", "POLR2G", "POLR2H", "POLR2I", "POLR2L"),
    "conserved oligomeric Golgi": ("COG1", "COG2", "COG3", "COG4", "COG5", "COG6", "COG7", "COG8"),
    "eIF3": ("EIF3A", "EIF3B", "EIF3C", "EIF3D", "EIF3E", "EIF3G", "EIF3H", "EIF3I", "EIF3L"),
    "mitochondrial ribosome": ("MRPL3", "MRPL4", "MRPL11", "MRPS2", "MRPS5", "MRPL13", "MRPS7", "MRPS15"),
    "kinetochore NDC80": ("NDC80", "NUF2", "SPC24", "SPC25", "MIS12", "DSN1", "NSL1", "PMF1"),
    "TFIID": ("TAF1", "TAF2", "TAF4", "TAF5", "TAF6", "TAF8", "TAF12", "TBP"),
    "WAVE regulator": ("WASF2", "CYFIP1", "NCKAP1", "ABI1", "BRK1", "ABI2", "CYFIP2"),
    "19S proteasome": ("PSMC1", "PSMC2", "PSMC4", "PSMD1", "PSMD2", "PSMD6", "PSMD7", "PSMD11", "PSMC6"),
    "TFIIH": ("ERCC2", "ERCC3", "GTF2H1", "GTF2H4", "CDK7", "CCNH", "MNAT1", "GTF2H2"),
    "ESCRT": ("TSG101", "VPS28", "VPS37A", "VPS25", "VPS36", "SNF8", "CHMP4B", "CHMP6"),
    "PRC2": ("EZH2", "EED", "SUZ12", "RBBP4", "JARID2", "MTF2"),
    "augmin": ("HAUS1", "HAUS2", "HAUS3", "HAUS4", "HAUS5", "HAUS6", "HAUS7", "HAUS8"),
    "U3 snoRNP": ("FBL", "NOP56", "NOP58", "WDR43", "UTP4", "UTP15", "HEATR1", "WDR75"),
    "GATOR": ("DEPDC5", "NPRL2", "NPRL3", "MIOS", "WDR24", "WDR59", "SZT2"),
}

# Olfactory receptors: not expressed outside the nose, so that knocking them out changes nothing.
NO_EFFECT_GENES: tuple[str, ...] = (
    *("OR1A1", "OR2T1", "OR4C3", "OR5M1", "OR6C1", "OR8D1", "OR10A2", "OR51B2", "OR52E2", "OR1A2"),
    *("OR2T3", "OR4C5", "OR5M3", "OR6C2", "OR8D2", "OR10A3", "OR51B4", "OR52E4", "OR2T4", "OR4C6"),
    *("OR5M8", "OR6C3", "OR8D4", "OR10A4", "OR51B5", "OR52E5", "OR2T5", "OR4C11", "OR5M9", "OR6C4"),
    *("OR10A5", "OR51B6", "OR52E6", "OR2T6", "OR4C12", "OR5M10", "OR6C6", "OR10A6", "OR52E8", "OR2T8"),
    *("OR4C13", "OR5M11", "OR6C65", "OR10A7", "OR2T10", "OR4C15", "OR6C68", "OR2T11", "OR4C16", "OR6C70"),
    *("OR2T12", "OR6C74", "OR2T27", "OR6C75", "OR2T29", "OR6C76", "OR2T33", "OR2T34", "OR2T35", "OR4C46"),
)


def screened_genes(count: int) -> pd.DataFrame:
    """Choose the genes of a screen.

    Parameters
    ----------
    count
        Number of genes; about 15 % of them have no effect.

    Returns
    -------
    pandas.DataFrame
        Index ``gene``; column ``complex``, null for genes without effect.

    Raises
    ------
    ValueError
        If there are fewer genes to choose from.
    """
    no_effect = round(count * NO_EFFECT_SHARE)
    wanted = count - no_effect
    largest = max(map(len, COMPLEXES.values()))
    for members in range(MEMBERS, largest + 1):
        chosen = [(gene, name) for name, genes in COMPLEXES.items() for gene in genes[:members]]
        if len(chosen) >= wanted:
            break
    if len(chosen) < wanted or no_effect > len(NO_EFFECT_GENES):
        available = min(len(chosen) / (1 - NO_EFFECT_SHARE), len(NO_EFFECT_GENES) / NO_EFFECT_SHARE)
        raise ValueError(f"{count} genes were asked for, and about {available:.0f} are available")
    screened = pd.DataFrame(chosen[:wanted], columns=["gene", "complex"]).set_index("gene")
    return screened.reindex([*screened.index, *NO_EFFECT_GENES[:no_effect]])


def complex_pairs(genes: pd.DataFrame) -> pd.DataFrame:
    """List all pairs of genes that share a complex.

    Returns
    -------
    pandas.DataFrame
        Columns ``entity1``, ``entity2``, a row a pair.
    """
    members = genes.dropna(subset="complex").groupby("complex", sort=False)
    pairs = [pair for _, group in members for pair in combinations(group.index, 2)]
    return pd.DataFrame(pairs, columns=["entity1", "entity2"])
