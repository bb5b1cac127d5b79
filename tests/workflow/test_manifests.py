"""The manifests for Kubernetes call commands that exist, with options that these know."""

import yaml
from snakemake.cli import parse_args

from cellmae.config import load


def documents(repository, name):
    return list(yaml.safe_load_all((repository / "profiles/kubernetes" / name).read_text()))


def containers(document):
    return document["spec"]["template"]["spec"]["containers"]


def test_the_workflow_runs_with_these_arguments(repository):
    (job,) = documents(repository, "workflow.yaml")
    (container,) = containers(job)
    _, options = parse_args(container["args"])
    assert set(options.targets) == {"all", "publish"}
    assert options.rerun_incomplete
    volumes = {volume["name"] for volume in job["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert container["workingDir"] in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_workers_find_the_scheduler(repository, tmp_path):
    service, scheduler, worker = documents(repository, "dask.yaml")
    assert service["spec"]["selector"] == scheduler["spec"]["template"]["metadata"]["labels"]
    address = f"tcp://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert containers(worker)[0]["command"][:3] == ["dask", "worker", address]
    assert containers(worker)[0]["workingDir"] == containers(documents(repository, "workflow.yaml")[0])[0]["workingDir"]
    comment = (repository / "profiles/kubernetes/dask.yaml").read_text().splitlines()[1].removeprefix("#")
    config = yaml.safe_load((repository / "config.yaml").read_text()) | yaml.safe_load(comment)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    schema = repository / "workflow/schemas/config.schema.yaml"
    assert load(tmp_path / "config.yaml", schema)["dask"]["scheduler"] == address
