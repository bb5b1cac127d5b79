import hashlib
import io
import json
import logging
import zipfile
from pathlib import Path

import pytest

from cellmae.errors import ConfigError, DataError
from cellmae.genes import read_aliases
from cellmae.maps import read_relationships
from cellmae.references import reference_files
from cellmae.screen.fetching import fetch as fetching
from cellmae.screen.fetching import fetch_references, fetch_relationships, fetch_screen, is_awaited
from cellmae.screen.fetching.http import Client

HUB = "/datasets/recursionpharma/rxrx3-core/resolve/main/"
LISTING = "/api/datasets/recursionpharma/rxrx3-core/tree/main"
SHARD = b"a shard" * 1000


@pytest.fixture
def rxrx1(site, tmp_path):
    site.files["/rxrx1-metadata.zip"] = packed({"rxrx1/metadata.csv": b"site_id\n"})
    site.files["/rxrx1-images.zip"] = packed({"rxrx1/images/HUVEC-01/Plate1/B02_s1_w1.png": b"pixels"})
    return screen(site, tmp_path, "rxrx1")


@pytest.fixture
def core(site, tmp_path):
    entries = [
        {"type": "file", "path": "README.md", "size": 4},
        {"type": "file", "path": "metadata_rxrx3_core.csv", "size": 5},
        {"type": "directory", "path": "data"},
        {"type": "file", "path": "data/train-0.parquet", "size": len(SHARD), "lfs": {"oid": sha256(SHARD)}},
    ]
    pages = [entries[:2], entries[2:]]
    site.files |= {f"{LISTING}{page}": json.dumps(part).encode() for page, part in zip(["", "2"], pages, strict=True)}
    site.headers[LISTING] = {"Link": f'<{site.url}{LISTING}2>; rel="next"'}
    site.files |= {f"{HUB}metadata_rxrx3_core.csv": b"table", f"{HUB}data/train-0.parquet": SHARD}
    return screen(site, tmp_path, "rxrx3-core")


@pytest.fixture
def gallery(site, tmp_path):
    source = "/mirror/cpg0000/source_4"
    names = [f"images/B1/images/BR1__2020-Measurement1/Images/r01c0{column}.tiff" for column in (1, 2, 3)]
    names += ["images/B1/images/BR10/Images/r01c01.tiff", "images/B2/images/BR2/Images/r01c01.tiff"]
    names += ["images/B1/illum/BR1/BR1_IllumDNA.npy", "workspace/load_data_csv/B1/BR1/load_data.csv"]
    names += [f"workspace/metadata/platemaps/B1/{name}" for name in ("barcode_platemap.csv", "platemap/m 1+.txt")]
    site.files |= {f"{source}/{name}": name.encode() for name in names}
    return screen(site, tmp_path, "cell-painting-gallery", base="/mirror", plates=["cpg0000/source_4/B1/BR1"])


def screen(site, tmp_path, source, base="", **keys):
    asked = {"source": source, "base_url": site.url + base, **keys}
    return {"layout": source, "root": str(tmp_path / "plates"), "channels": ["a"], "fetch": asked}


def packed(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def there(screen):
    root = Path(screen["root"])
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


OURS = {"fetched.json", "DATA-LICENCE.txt"}


def test_archives_are_unpacked_and_deleted(rxrx1, caplog):
    assert is_awaited(rxrx1)
    with caplog.at_level(logging.INFO):
        manifest = fetch_screen(rxrx1)
    assert there(rxrx1) == OURS | {"metadata.csv", "images/HUVEC-01/Plate1/B02_s1_w1.png"}
    assert [(entry["path"], entry["unpacked"]) for entry in manifest["files"]] == [
        ("rxrx1-images.zip", 1),
        ("rxrx1-metadata.zip", 1),
    ]
    assert json.loads((Path(rxrx1["root"]) / "fetched.json").read_text()) == manifest
    assert manifest["complete"]
    assert "CC BY-NC-SA 4.0" in manifest["licence"]
    assert "CC BY-NC-SA 4.0" in caplog.messages[0]
    assert "CC BY-NC-SA 4.0" in (Path(rxrx1["root"]) / "DATA-LICENCE.txt").read_text()
    assert not is_awaited(rxrx1)


def test_archives_are_not_fetched_again(rxrx1, site):
    fetch_screen(rxrx1)
    site.requests.clear()
    fetch_screen(rxrx1)
    assert site.requests == []


def test_every_set_has_a_folder_of_its_own(rxrx1, core):
    fetch_screen(rxrx1)
    with pytest.raises(ConfigError, match=r"^screen.root: .*plates holds RxRx1 .*; fetch RxRx3-core .* another folder"):
        fetch_screen(core)


def test_what_is_there_is_not_fetched_again(core, site):
    fetch_screen(core)
    site.requests.clear()
    fetch_screen(core)
    assert [path for _, path, _ in site.requests] == [LISTING, f"{LISTING}2"]
    (Path(core["root"]) / "data/train-0.parquet").write_bytes(b"cut off")
    fetch_screen(core)
    assert (Path(core["root"]) / "data/train-0.parquet").read_bytes() == SHARD


def test_the_hub_publishes_checksums(core, site):
    manifest = fetch_screen(core)
    assert there(core) == OURS | {"metadata_rxrx3_core.csv", "data/train-0.parquet"}
    assert manifest["files"][0] == {
        "url": f"{site.url}{HUB}data/train-0.parquet",
        "path": "data/train-0.parquet",
        "bytes": len(SHARD),
        "sha256": sha256(SHARD),
    }
    (Path(core["root"]) / "fetched.json").unlink()
    site.files[f"{HUB}data/train-0.parquet"] = SHARD[::-1]
    with pytest.raises(DataError, match=r"train-0.parquet has the sha256 .*, expected"):
        fetch_screen(core)


def test_what_came_before_a_failure_stays(core, site):
    shard = site.files.pop(f"{HUB}data/train-0.parquet")
    with pytest.raises(DataError, match="404 Not Found"):
        fetch_screen(core)
    assert is_awaited(core)
    manifest = json.loads((Path(core["root"]) / "fetched.json").read_text())
    assert manifest["complete"] is False
    site.files[f"{HUB}data/train-0.parquet"] = shard
    fetch_screen(core)
    assert not is_awaited(core)


def test_configured_checksums(core):
    core["fetch"]["checksums"] = {"metadata_rxrx3_core.csv": f"sha256:{'0' * 64}"}
    with pytest.raises(DataError, match=r"metadata_rxrx3_core.csv has the sha256"):
        fetch_screen(core)
    core["fetch"]["checksums"] = {"metadata.csv": f"sha256:{'0' * 64}"}
    with pytest.raises(ConfigError, match=r"^screen.fetch.checksums: no file is called 'metadata.csv'; there are 2"):
        fetch_screen(core)
    core["fetch"]["checksums"] = {"metadata_rxrx3_core.csv": f"md5:{hashlib.md5(b'table').hexdigest()}"}
    fetch_screen(core)


@pytest.mark.parametrize("path", ["data/../../evil.parquet", "data//../x.parquet", "data/a:b.parquet"])
def test_names_that_lead_elsewhere_are_refused(core, site, path):
    site.files[f"{LISTING}2"] = json.dumps([{"path": path, "size": 1}]).encode()
    with pytest.raises(DataError, match=r"outside of .*: nothing was fetched"):
        fetch_screen(core)
    assert there(core) == {"DATA-LICENCE.txt"}


def test_a_listing_that_is_none_is_named(core, site):
    site.files[f"{LISTING}2"] = b"<html>"
    with pytest.raises(DataError, match=r"is no listing of files: check screen.fetch.base_url"):
        fetch_screen(core)


def test_plates_of_the_gallery(gallery):
    manifest = fetch_screen(gallery)
    assert there(gallery) == OURS | {
        *(f"images/B1/images/BR1__2020-Measurement1/Images/r01c0{column}.tiff" for column in (1, 2, 3)),
        "images/B1/illum/BR1/BR1_IllumDNA.npy",
        "workspace/load_data_csv/B1/BR1/load_data.csv",
        "workspace/metadata/platemaps/B1/barcode_platemap.csv",
        "workspace/metadata/platemaps/B1/platemap/m 1+.txt",
    }
    assert len(manifest["files"]) == 7
    assert "CC0" in manifest["licence"]


def test_plates_of_rxrx3(site, tmp_path):
    names = [f"images/gene-001/Plate{plate}/A01_s1_w1.png" for plate in (1, 10)]
    site.files |= {f"/{name}": b"pixels" for name in [*names, "metadata.csv"]}
    wanted = screen(site, tmp_path, "rxrx3", plates=["gene-001/Plate1"])
    fetch_screen(wanted)
    assert there(wanted) == OURS | {names[0], "metadata.csv"}
    with pytest.raises(ConfigError, match=r"^screen.fetch.base_url: RxRx3 .* has no lasting address"):
        fetch_screen(wanted | {"fetch": {"source": "rxrx3", "plates": ["gene-001/Plate1"]}})


@pytest.mark.parametrize(
    ("plates", "error", "message"),
    [
        ([], ConfigError, "^screen.fetch.plates: .* is large; name the plates to fetch, PROJECT/SOURCE/BATCH/PLATE"),
        (["B1/BR1"], ConfigError, "^screen.fetch.plates: 'B1/BR1' name no plate"),
        (["cpg0000/../B1/BR1"], ConfigError, "name no plate; write PROJECT"),
        (["cpg0000/source_4/B1/BR1", "cpg1/s/B/P"], ConfigError, "are several sources"),
        (["cpg0000/source_4/B1/BR9"], DataError, r"holds nothing that begins with 'mirror/cpg0000/source_4/images/B1"),
    ],
)
def test_plates_that_cannot_be_fetched(gallery, plates, error, message):
    gallery["fetch"]["plates"] = plates
    with pytest.raises(error, match=message):
        fetch_screen(gallery)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no XML", "is no listing of a bucket"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "is no listing of a bucket .*Entities"),
        (b"<x><Contents><Key>other/../../evil</Key><Size>1</Size></Contents></x>", "which was not asked for"),
    ],
)
def test_listings_of_hostile_buckets(gallery, site, monkeypatch, content, message):
    monkeypatch.setattr(type(site), "listing", lambda self, query: content)
    with pytest.raises(DataError, match=message):
        fetch_screen(gallery)


def test_a_whole_set_has_no_plates_to_choose(rxrx1):
    rxrx1["fetch"]["plates"] = ["HUVEC-01/Plate1"]
    with pytest.raises(ConfigError, match=r"^screen.fetch.plates: RxRx1 .* comes as a whole"):
        fetch_screen(rxrx1)


def test_a_disk_that_is_too_small_is_found_before_the_first_byte(core, site, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": len(SHARD)}))
    with pytest.raises(DataError, match="GB left: make room"):
        fetch_screen(core)
    assert there(core) == {"DATA-LICENCE.txt"}
    assert all(path.startswith("/api") for _, path, _ in site.requests)


def test_a_failure_ends_the_other_downloads(core, site, monkeypatch):
    site.breaks[f"{HUB}data/train-0.parquet"] = 10**6
    monkeypatch.setattr(fetching, "Client", lambda received: Client(received, pause=30))
    site.files.pop(f"{HUB}metadata_rxrx3_core.csv")
    with pytest.raises(DataError, match="404 Not Found"):
        fetch_screen(core)


def test_object_storage_is_no_place_to_fetch_into(core):
    with pytest.raises(ConfigError, match=r"^screen.root: s3://bucket/x is no folder on disk"):
        fetch_screen(core | {"root": "s3://bucket/x"})


def test_a_screen_that_is_there_without_a_fetch_is_not_awaited(core, tmp_path):
    assert is_awaited(core)
    assert not is_awaited({key: value for key, value in core.items() if key != "fetch"})
    (tmp_path / "plates").mkdir()
    (tmp_path / "plates/metadata_rxrx3_core.csv").write_text("")
    assert not is_awaited(core)


def test_relationships(site, tmp_path):
    site.files |= {"/LICENSE": b"terms", "/CORUM.txt": b"entity1,entity2\n"}
    manifest = fetch_relationships(tmp_path / "known", ["CORUM"], base_url=site.url)
    assert {path.name for path in (tmp_path / "known").iterdir()} == OURS | {"LICENSE", "CORUM.txt"}
    assert "CC BY-NC" in manifest["licence"]
    with pytest.raises(ConfigError, match="NOPE is unknown; there are CORUM"):
        fetch_relationships(tmp_path, ["NOPE"])


def test_references(site, tmp_path):
    symbols = b"symbol\talias_symbol\tprev_symbol\nTP53\tp53|LFS1\t\n"
    site.files |= {"/a/LICENSE": b"terms", "/a/SIGNOR.txt": b"entity1,entity2\nA,B\n"}
    site.files["/b/hgnc_complete_set.txt"] = symbols
    references = {"folder": str(tmp_path / "known"), "databases": ["SIGNOR"], "symbols": True}
    references |= {"databases_url": f"{site.url}/a", "symbols_url": f"{site.url}/b"}
    fetch_references(references)
    database, names = map(Path, reference_files(references))
    assert read_relationships(database).to_numpy().tolist() == [["A", "B"]]
    assert read_aliases(names).resolve(["LFS1"]).tolist() == ["TP53"]
    assert "CC0" in (names.parent / "DATA-LICENCE.txt").read_text()
    assert reference_files(references | {"symbols": False, "databases": []}) == []
