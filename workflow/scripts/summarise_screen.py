import sys

import pandas as pd

from cellmae.locations import location
from cellmae.logging import job_log
from cellmae.screen import announce, estimate_cost, read_fields, read_wells, summarise, survey

if __name__ == "__main__":
    with job_log(snakemake.log[0]) as log:
        fields = pd.concat([read_fields(path) for path in snakemake.input.fields], ignore_index=True)
        wells = pd.concat([read_wells(path) for path in snakemake.input.wells], ignore_index=True)
        found = survey(snakemake.config["screen"], cache=snakemake.params.cache)
        root = location(snakemake.params.root, key="screen.root")
        summary = summarise(
            fields,
            wells,
            plates_without_images=found.without_images,
            plates_without_annotation=found.without_annotation,
            plates_not_taken=found.not_taken,
            cost=estimate_cost(fields, root=root, **snakemake.params.run),
        )
        summary.write(json=snakemake.output.json, text=snakemake.output.text)
        log.info("the screen:\n%s", summary.as_text())
        if summary.cost is not None:
            print(announce(summary.cost, snakemake.config["results"]), file=sys.stderr)
