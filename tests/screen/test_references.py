import pytest
import upath

from cellmae.screen.references import References


@pytest.fixture
def bucket():
    root = upath.UPath("memory://bucket/source")
    (root / "images").mkdir(parents=True)
    (root / "images/a.tif").write_bytes(b"pixels")
    yield root
    root.fs.rm("/bucket", recursive=True)


def test_object_storage(bucket):
    references = References(bucket, "s3://gallery/source")
    for name in ("images/a.tif", "memory://bucket/source/images/a.tif", "s3://gallery/source/images//a.tif"):
        assert references.relative(name) == "images/a.tif"
    for name in ("memory://bucket/other/a.tif", "memory://bucket/source/../a.tif", "/bucket/source/images/a.tif"):
        assert references.relative(name) is None
    assert references.size_and_time("images/a.tif")[0] == 6
    assert references.size_and_time("images/b.tif") is None
    assert references.size_and_time("nowhere/b.tif") is None
    assert references.has_folder("images")
    assert not references.has_folder("nowhere")


def test_a_prefix_may_be_relative_and_ends_at_a_slash(tmp_path):
    references = References(tmp_path, "demo/raw_core")
    assert references.relative("demo/raw_core/P/a.tif") == "P/a.tif"
    assert references.relative("demo/raw_core2/P/a.tif") == "demo/raw_core2/P/a.tif"


@pytest.mark.parametrize("name", ["", "/", "..", "a/../../b", "a\0b", "C:/a", "file:///etc/%2e%2e/a"])
def test_what_is_no_name_of_a_file_below(tmp_path, name):
    assert References(tmp_path).relative(name) is None


def test_files_and_folders(tmp_path):
    (tmp_path / "a").write_text("pixels")
    references = References(tmp_path)
    assert references.size_and_time("a") == (6, (tmp_path / "a").stat().st_mtime_ns)
    assert references.size_and_time(".") is None
    (tmp_path / "dangling").symlink_to("nowhere")
    assert references.relative("dangling") == "dangling"
    assert references.size_and_time("dangling") is None
