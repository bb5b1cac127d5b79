from cellmae.logging import job_log
from cellmae.screen.fetching import fetch_references

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        fetch_references(snakemake.params.references)
