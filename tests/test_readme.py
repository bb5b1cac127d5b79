"""The README's code does what it says."""

import re

import matplotlib as mpl
import numpy as np
import pytest
from anndata import AnnData

from cellmae.maps import cosine_matrix
from cellmae.screen.simulation import screened_genes


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """A folder with a map where the demo leaves one."""
    genes = screened_genes(48).index
    X = np.random.default_rng(0).normal(size=(len(genes), 16)).astype(np.float32)
    adata = AnnData(X)
    adata.obs_names = genes
    adata.obs["consistency"] = 0.5
    adata.obsp["cosine"] = cosine_matrix(X)
    folder = tmp_path / "results/demo/maps/mae-tiny/tvn"
    folder.mkdir(parents=True)
    adata.write_h5ad(folder / "map.h5ad")
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")


@pytest.mark.slow
@pytest.mark.usefixtures("demo")
def test_map_opens_in_scanpy(repository, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (repository / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert len(eval(capsys.readouterr().out)) == 5
