from pathlib import Path

from cellmae.files import remove
from cellmae.logging import job_log
from cellmae.tiles import archive_store

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        store = Path(snakemake.params.store)
        if snakemake.params.how == "archive":
            archive_store(store)
        else:
            Path(snakemake.params.restored).unlink(missing_ok=True)
            remove(store)
        Path(snakemake.output.retired).touch()
