import io
import stat
import tarfile
import zipfile

import pytest

from cellmae.errors import DataError
from cellmae.screen.fetching.archives import unpack

FILES = {"set/metadata.csv": b"a,b\n", "set/images/E1/Plate1/a.png": b"pixels", "README": b"text"}


def zipped(path, files, **changes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            for key, value in changes.items():
                setattr(member, key, value)
            packed.writestr(member, content)
    return path


def tarred(path, files, **changes):
    with tarfile.open(path, "w:gz") as packed:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in changes.items():
                setattr(member, key, value)
            packed.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(params=[(zipped, "a.zip"), (tarred, "a.tar.gz")], ids=["zip", "tar"])
def packed(request, tmp_path):
    make, name = request.param
    return lambda files, **changes: make(tmp_path / name, files, **changes)


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_are_unpacked(packed, tmp_path):
    assert unpack(packed(FILES), tmp_path / "out") == 3
    assert content(tmp_path / "out") == FILES


def test_a_folder_is_stripped_and_joined_with_what_is_there(packed, tmp_path):
    unpack(packed({"set/images/E1/Plate2/b.png": b"old", "set/metadata.csv": b"old"}), tmp_path / "out", strip="set")
    unpack(packed(FILES), tmp_path / "out", strip="set")
    stripped = {name.removeprefix("set/"): data for name, data in FILES.items()}
    assert content(tmp_path / "out") == stripped | {"images/E1/Plate2/b.png": b"old"}
    assert not (tmp_path / "out/set").exists()


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a\\..\\..\\evil", "C:/evil", "..", "a//b", "./"])
def test_names_that_lead_elsewhere_are_refused(packed, tmp_path, name):
    with pytest.raises(DataError, match="leads out of the folder: it was not unpacked"):
        unpack(packed({"good": b"", name: b"evil"}), tmp_path / "deep/out")
    assert content(tmp_path / "deep") == {}
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_of_tars_are_refused(tmp_path, kind):
    with pytest.raises(DataError, match="'x' is a link, a device or the like"):
        unpack(tarred(tmp_path / "a.tar.gz", {"x": b""}, type=kind, linkname="/etc/passwd"), tmp_path / "out")
    assert content(tmp_path / "out") == {}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_of_zips_are_refused(tmp_path, kind):
    made = zipped(tmp_path / "a.zip", {"x": b"/etc/passwd"}, external_attr=(kind | 0o777) << 16, create_system=3)
    with pytest.raises(DataError, match="'x' is a link, a device or the like"):
        unpack(made, tmp_path / "out")


def test_bombs_are_refused(packed, tmp_path):
    with pytest.raises(DataError, match="not unpacked"):
        unpack(packed({"zeros": bytes(2**26)}), tmp_path / "out")
    assert content(tmp_path / "out") == {}


def test_many_files_that_are_large_together_are_refused(packed, tmp_path):
    with pytest.raises(DataError, match="would unpack to more than"):
        unpack(packed({str(number): bytes(2**23) for number in range(4)}), tmp_path / "out")


def test_a_name_twice_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as packed:
        for _ in range(2):
            packed.addfile(tarfile.TarInfo("a"), io.BytesIO())
    with pytest.raises(DataError, match="holds 'a' twice"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


def test_damage_is_named(packed, tmp_path):
    path = packed({str(number): bytes([number]) * 1000 for number in range(100)})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"is damaged .*: delete it and fetch again"):
        unpack(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_sizes_that_lie_are_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a": b"0123456789" * 100})
    data = path.read_bytes()
    path.write_bytes(data.replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(DataError, match="is damaged"):
        unpack(path, tmp_path / "out")


def test_a_disk_that_is_too_small_is_found_before(packed, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 3}))
    with pytest.raises(DataError, match="GB left: make room"):
        unpack(packed(FILES), tmp_path / "out")


def test_a_folder_is_not_replaced_by_a_file(packed, tmp_path):
    (tmp_path / "out/README").mkdir(parents=True)
    with pytest.raises(DataError, match="README is a folder where the archive has a file"):
        unpack(packed(FILES), tmp_path / "out")


@pytest.mark.parametrize(
    "files",
    [{"": b"x"}, {"n" * 300: b"x"}, {"a": b"x", "a/b": b"y"}],
    ids=["no name", "a name too long", "a file that is a folder, too"],
)
def test_names_that_no_disk_takes_are_refused(tmp_path, files):
    """Found by the fuzzer."""
    with pytest.raises(DataError, match=r"was not unpacked|is damaged"):
        unpack(zipped(tmp_path / "a.zip", files), tmp_path / "out")
    assert content(tmp_path / "out") == {}


def test_an_offset_before_the_file_is_damage(tmp_path):
    """Found by the fuzzer."""
    path = zipped(tmp_path / "a.zip", FILES)
    packed = bytearray(path.read_bytes())
    end = packed.rindex(b"PK\5\6")
    packed[end + 16 : end + 20] = (int.from_bytes(packed[end + 16 : end + 20], "little") + 5000).to_bytes(4, "little")
    path.write_bytes(packed)
    with pytest.raises(DataError, match="is damaged"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_a_method_that_the_bytes_do_not_follow_is_damage(tmp_path, method):
    """Found by the fuzzer: bzip2 says so by an OSError without a number."""
    path = zipped(tmp_path / "a.zip", {"a": b"0123456789" * 100})
    packed = bytearray(path.read_bytes())
    for header, place in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        at = packed.index(header) + place
        packed[at : at + 2] = method.to_bytes(2, "little")
    path.write_bytes(packed)
    with pytest.raises(DataError, match="is damaged"):
        unpack(path, tmp_path / "out")
