"""What must not happen whoever wrote the data: code that runs, markup that acts, secrets that are written down.

Archives and paths that lead elsewhere are in tests/screen/fetching.
"""

import ast
import csv
import os
import stat
from pathlib import Path

import pandas as pd
import pytest

from cellmae.config import validate
from cellmae.errors import ConfigError
from workflow.checkout import Checkout, plates_of

SOURCES = sorted(
    path
    for folder in ("src", "workflow", "benchmarks")
    for path in (Path(__file__).resolve().parents[2] / folder).rglob("*.py")
)
RUNS_CODE = {
    "pickle.load", "pickle.loads", "pd.read_pickle", "joblib.load", "dill.load", "yaml.load", "yaml.unsafe_load",
    "yaml.full_load", "os.system", "os.popen", "eval", "exec", "subprocess.getoutput", "marshal.loads", "shelve.open",
}  # fmt: skip
HOSTILE = ["<script>alert(1)</script>", "a\"b'c", "two\nlines", "; rm -rf x", "$(touch y)", "=1+1", "a,b"]


def unsafe_calls(tree: ast.AST) -> list[str]:
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        given = {argument.arg: ast.unparse(argument.value) for argument in call.keywords}
        if name in RUNS_CODE or given.get("shell", "False") != "False" or given.get("allow_pickle", "False") != "False":
            found.append(f"line {call.lineno}: {name}")
        if name.endswith("torch.load") and given.get("weights_only") != "True":
            found.append(f"line {call.lineno}: {name} without weights_only")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_source_runs_what_it_reads(path):
    assert unsafe_calls(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "code",
    [
        "pickle.load(f)", "torch.load(f)", "torch.load(f, weights_only=False)", "yaml.load(f)", "run('x', shell=True)",
        "np.load(f, allow_pickle=True)", "eval(x)",
    ],
)  # fmt: skip
def test_the_check_of_sources_finds_what_it_looks_for(code):
    assert len(unsafe_calls(ast.parse(code))) == 1


def test_no_rule_puts_a_name_of_data_into_a_shell(repository):
    """The one shell command quotes its files."""
    commands = [
        line.strip()
        for path in [repository / "Snakefile", *(repository / "workflow").rglob("*.smk")]
        for before, line in zip(["", *path.read_text().splitlines()], path.read_text().splitlines(), strict=False)
        if before.strip() == "shell:"
    ]
    assert commands == ['"cat {input.summary:q} 2> {log:q}"']


@pytest.mark.slow
@pytest.mark.faults
def test_hostile_names_are_only_names(fresh: Checkout):
    """Plates, genes and guides named for a shell, a browser and a spreadsheet go the whole way to the report."""
    wells = plates_of(["gene-001_Plate1", "gene-002_Plate1"])
    genes = [gene for gene in wells["gene"].unique() if gene != "EMPTY_control"]
    renamed = dict(zip(genes, HOSTILE, strict=False))
    wells["gene"] = wells["gene"].replace(renamed)
    wells["treatment"] = wells["gene"]
    experiments = {"gene-001": "; rm -rf x", "gene-002": "$(touch y)"}
    for old, new in experiments.items():
        (fresh.folder / "plates/images" / old).rename(fresh.folder / "plates/images" / new)
    fresh.annotate(wells.assign(experiment_name=wells["experiment_name"].replace(experiments)))
    pairs = fresh.folder / "plates/relationships.csv"
    pd.read_csv(pairs).replace(renamed).to_csv(pairs, index=False)
    fresh.configure(models__mae=None, report__title="<script>alert(2)</script>")
    fresh.run()

    slugs = {path.name.split(".")[0] for path in (fresh.results / "screen").glob("*.wells.parquet")}
    assert slugs == {"rm--rf-x_Plate1", "touch-y-_Plate1"}
    assert not [path for path in fresh.folder.rglob("*") if path.name in ("x", "y")]
    page = (fresh.results / "report/index.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(2)" in page
    for path in fresh.results.rglob("*.csv"):
        with path.open(newline="") as file:
            assert len({len(row) for row in csv.reader(file)}) == 1, path


@pytest.mark.slow
@pytest.mark.faults
def test_nobody_else_may_write_to_results(fresh: Checkout):
    """Whatever the caller grants."""
    before = os.umask(0)
    try:
        done = fresh.snakemake("--", "models", CALLER="generous")  # a variable makes it a process from the start
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    made = [path for path in fresh.results.rglob("*") if not path.is_symlink()]
    assert made
    assert [path for path in made if path.stat().st_mode & stat.S_IWOTH] == []


SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    "url",
    [
        f"s3://AKIAEXAMPLE:{SECRET}@bucket/plates",
        f"https://x.org/plates?X-Amz-Signature={SECRET}",
        f"az://c/p?sig={SECRET}",
    ],
)
def test_a_url_with_a_secret_is_refused_without_repeating_it(repository, url):
    schema = repository / "workflow/schemas/config.schema.yaml"
    screen = {"layout": "rxrx3", "root": url, "channels": ["a"], "controls": ["x"]}
    with pytest.raises(ConfigError, match=r"screen\.root: found a URL that holds") as caught:
        validate({"results": "r", "screen": screen, "models": {"m": {"family": "intensity"}}}, schema)
    assert SECRET not in str(caught.value)


@pytest.mark.slow
@pytest.mark.faults
def test_secrets_of_the_environment_are_written_nowhere(fresh: Checkout):
    """Neither on the way to the report, nor when storage refuses."""
    secrets = {
        "AWS_ACCESS_KEY_ID": "AKIA0123456789EXAMPL",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": f"t{SECRET}",
    }
    fresh.configure(models__mae=None)
    done = fresh.snakemake(**secrets)
    assert done.returncode == 0, done.stderr
    assert (fresh.results / "report/index.html").exists()
    fresh.configure(screen__root="s3://no-bucket/plates")
    refused = fresh.snakemake("--", "tiles", AWS_ENDPOINT_URL="http://127.0.0.1:9", **secrets)
    assert refused.returncode != 0
    said = "".join([done.stdout, done.stderr, refused.stdout, refused.stderr]).encode()
    written = [
        path for folder in (".snakemake", "results") for path in (fresh.folder / folder).rglob("*") if path.is_file()
    ]
    for secret in map(str.encode, secrets.values()):
        assert secret not in said
        assert [path for path in written if secret in path.read_bytes()] == []
