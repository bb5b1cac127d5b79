from pathlib import Path

from cellmae.fitted import remember_plates
from cellmae.logging import job_log
from cellmae.pretraining import granted_nodes, granted_ranks, pretrain

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        folder = Path(snakemake.output.record).parent
        inputs = dict(snakemake.input.items())
        plates = [*inputs["tiles"], *inputs["validation_tiles"]]
        remember_plates(folder / "plates.json", [Path(manifest).stem for manifest in plates])
        pretrain(
            snakemake.params.spec,
            tiles=inputs["tiles"],
            wells=inputs.get("wells", ()),
            validation_tiles=inputs["validation_tiles"],
            validation_wells=inputs.get("validation_wells", ()),
            channels=snakemake.params.channels,
            crop_size=snakemake.params.crop_size,
            folder=folder,
            threads=snakemake.threads,
            ranks=granted_ranks(snakemake.resources.gpu, wanted=snakemake.resources.wanted_gpus),
            nodes=granted_nodes(snakemake.resources.nodes),
        )
