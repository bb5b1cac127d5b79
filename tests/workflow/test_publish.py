"""Results that are single files go to object storage, stores stay."""

import os

import pytest

moto = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")
pytest.importorskip("snakemake_storage_plugin_s3")

SECRET = "a secret that nobody may read"


@pytest.fixture
def bucket(monkeypatch):
    """A file system with an empty bucket ``maps``, which Snakemake's environment leads to as well."""
    server = moto.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    for name in ("AWS_ENDPOINT_URL", "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL"):
        monkeypatch.setenv(name, endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "SNAKEMAKE_STORAGE_S3_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody")
    for name in ("AWS_SECRET_ACCESS_KEY", "SNAKEMAKE_STORAGE_S3_SECRET_KEY"):
        monkeypatch.setenv(name, SECRET)
    storage = s3fs.S3FileSystem(skip_instance_cache=True)
    storage.mkdir("maps")
    yield storage
    server.stop()


@pytest.mark.slow
def test_files_are_published_once_and_equal_those_on_disk(finished, bucket):
    finished.configure(publish="s3://maps/my-screen")
    variables = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "SNAKEMAKE_"))}
    done = finished.snakemake("publish", **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    published = {path.removeprefix("maps/my-screen/") for path in bucket.find("maps")}
    assert {"report/index.html", "maps/comparison.csv", "maps/mae/tvn/map.h5ad"} <= published
    assert not any("zarr" in path or "state" in path for path in published)
    for path in published:
        assert bucket.cat(f"maps/my-screen/{path}") == (finished.results / path).read_bytes()
    again = finished.snakemake("publish", **variables)
    assert "Nothing to be done" in again.stdout + again.stderr
    for text in (done.stdout, done.stderr, *(log.read_text() for log in finished.results.rglob("*.log"))):
        assert SECRET not in text
