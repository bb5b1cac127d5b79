import shutil

from cellmae.logging import job_log

if __name__ == "__main__":
    with job_log(snakemake.log[0]):
        shutil.copyfile(snakemake.input[0], snakemake.output[0])
