from pathlib import Path

from cellmae.logging import job_log
from cellmae.report import write_report

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        config = snakemake.params.config
        folder = Path(snakemake.output.page).parent
        write_report(
            folder.parent,
            output=folder,
            title=config["report"]["title"],
            config=config,
            plates=snakemake.params.plates,
            models=snakemake.params.models,
            unfinished=snakemake.params.unfinished,
            alignments=config["alignments"],
            images=snakemake.params.images,
            truth=snakemake.params.truth,
            ranked=snakemake.params.ranked,
            aliases=config["genes"]["aliases"],
        )
