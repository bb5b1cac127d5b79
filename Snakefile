# cellmae: from the images of a screen to a scored map of biology.
#
# Seven stages, each with a rule file, a folder of results, and a target of its own name (`snakemake tiles`).
# Without a target, everything up to the report is made.

import sys

from snakemake.utils import min_version

from cellmae.logging import causes

min_version("9.10")

# A --configfile stands alone: Snakemake would merge config.yaml under it.
if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


include: "workflow/plan.smk"  # the checked configuration; which plates, models and alignments there are


wildcard_constraints:
    # Other plates, removed from the screen, have files that no rule makes and that stay as they are.
    plate=any_of(PLATES),
    model=any_of(MODELS),
    alignment=any_of(ALIGNMENTS),


include: "workflow/rules/screen.smk"  # plates on disk -> what images there are, what was done to each well
include: "workflow/rules/tiles.smk"  # fields -> an 8-bit store, a grid of tiles and their quality
include: "workflow/rules/models.smk"  # tiles -> an encoder
include: "workflow/rules/embeddings.smk"  # tiles + encoder -> one vector a well
include: "workflow/rules/alignment.smk"  # wells comparable across batches
include: "workflow/rules/maps.smk"  # one vector a perturbation, similarities, recall of known relationships
include: "workflow/rules/report.smk"  # one page to read


if config["publish"] is not None:

    include: "workflow/rules/publish.smk"  # results copied into object storage


rule all:
    default_target: True
    input:
        rules.report.input,
    localrule: True
    message:
        f"The report: {RESULTS}/report/index.html"


if AWAITED:
    for waiting in workflow.rules:
        if waiting is not rules.fetch.rule:
            waiting.set_input(refuse)


onerror:
    # The causes once more, where they are looked for: at the end.
    for path in log:
        for cause in causes(path):
            print(cause, file=sys.stderr)
