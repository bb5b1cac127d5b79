import hashlib
from base64 import b64encode

import pytest

from cellmae.errors import DataError
from cellmae.screen.fetching.http import ATTEMPTS, CHUNK, Client

CONTENT = bytes(range(256)) * 20000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def client():
    return Client(pause=0.001)


def ranges(site):
    return [asked for method, _, asked in site.requests if method == "GET"]


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name != "a.bin"]


def test_a_file_comes_whole_with_its_digest(site, client, tmp_path):
    site.files["/a.bin"] = CONTENT
    facts = client.download(f"{site.url}/a.bin", tmp_path / "a.bin", digest=f"sha256:{SHA256.upper()}")
    assert facts == {"bytes": len(CONTENT), "sha256": SHA256}
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert leftovers(tmp_path) == []
    assert client.size(f"{site.url}/a.bin") == len(CONTENT)


def test_bytes_are_told_as_they_come(site, tmp_path):
    site.files["/a.bin"] = CONTENT
    told = []
    Client(told.append).download(f"{site.url}/a.bin", tmp_path / "a.bin")
    assert sum(told) == len(CONTENT)


def test_a_broken_connection_is_taken_up_again(site, client, tmp_path):
    site.files["/a.bin"] = CONTENT
    site.breaks["/a.bin"] = ATTEMPTS  # as many as in vain would be too many
    client.download(f"{site.url}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    first = len(CONTENT) // 2 // CHUNK * CHUNK
    assert ranges(site)[:2] == [None, f"bytes={first}-"]
    assert len(set(ranges(site))) == ATTEMPTS + 1


def test_a_server_without_ranges_starts_again(site, client, tmp_path):
    site.files["/a.bin"], site.ranges = CONTENT, False
    site.breaks["/a.bin"] = 2
    client.download(f"{site.url}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_file_that_changed_in_between_is_fetched_from_its_beginning(site, client, tmp_path):
    site.files["/a.bin"], site.breaks["/a.bin"] = CONTENT, 99
    with pytest.raises(DataError, match=r"a.bin broke off .*: given up after 6 attempts; fetch again to go on"):
        client.download(f"{site.url}/a.bin", tmp_path / "a.bin", digest="sha256:00")
    part = tmp_path / ".a.bin.part"
    assert CONTENT.startswith(part.read_bytes())
    site.files["/a.bin"], site.breaks = CONTENT[::-1], {}
    site.requests.clear()
    client.download(f"{site.url}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT[::-1]
    assert len(site.requests) == 1


def test_a_part_that_is_whole_is_not_fetched_again(site, client, tmp_path):
    site.files["/a.bin"] = CONTENT
    with pytest.raises(DataError, match="is no checksum"):
        client.download(f"{site.url}/a.bin", tmp_path / "a.bin", digest="crc:1")
    site.requests.clear()
    client.download(f"{site.url}/a.bin", tmp_path / "a.bin")
    assert site.requests == []
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_part_of_another_address_is_not_kept(site, client, tmp_path):
    site.files |= {"/a.bin": CONTENT, "/b.bin": CONTENT[::-1]}
    with pytest.raises(DataError):
        client.download(f"{site.url}/a.bin", tmp_path / "a.bin", digest="crc:1")
    client.download(f"{site.url}/b.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("length", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_another_length_than_expected_is_refused(site, client, tmp_path, length):
    site.files["/a.bin"] = CONTENT
    with pytest.raises(DataError, match=f"has {len(CONTENT)} bytes, expected {length}: it has changed"):
        client.download(f"{site.url}/a.bin", tmp_path / "a.bin", size=length)
    assert not (tmp_path / "a.bin").exists()


def test_a_length_that_is_not_kept_is_refused(site, client, tmp_path):
    site.files["/a.bin"], site.headers["/a.bin"] = (
        CONTENT,
        {"Content-Length": str(len(CONTENT) + 5), "Connection": "close"},
    )
    site.ranges = False
    with pytest.raises(DataError, match="given up after 6 attempts"):
        client.download(f"{site.url}/a.bin", tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()


def test_a_wrong_checksum_leaves_nothing(site, client, tmp_path):
    site.files["/a.bin"] = CONTENT
    with pytest.raises(DataError, match=f"has the md5 .*, expected {'0' * 32}: it was damaged on the way"):
        client.download(f"{site.url}/a.bin", tmp_path / "a.bin", digest=f"md5:{'0' * 32}")
    assert leftovers(tmp_path) == [".a.bin.part.json"]
    client.download(f"{site.url}/a.bin", tmp_path / "a.bin")


def test_a_published_checksum_is_compared(site, client, tmp_path):
    site.files["/a.bin"] = CONTENT
    for digest in (hashlib.md5(b"else").digest(), hashlib.md5(CONTENT).digest()):
        site.headers["/a.bin"] = {"x-goog-hash": f"crc32c=AAAAAA==, md5={b64encode(digest).decode()}"}
        if digest != hashlib.md5(CONTENT).digest():
            with pytest.raises(DataError, match="has the md5"):
                client.download(f"{site.url}/a.bin", tmp_path / "a.bin")
    client.download(f"{site.url}/a.bin", tmp_path / "a.bin")


def test_what_is_not_there_is_named_at_once(site, client, tmp_path):
    with pytest.raises(DataError, match=r"/a.bin: 404 Not Found; check the address \(screen.fetch.base_url\)"):
        client.download(f"{site.url}/a.bin", tmp_path / "a.bin")
    assert len(site.requests) == 1


def test_a_busy_server_is_asked_again(site, client, tmp_path):
    site.files["/a.bin"], site.busy["/a.bin"] = CONTENT, 3
    client.download(f"{site.url}/a.bin", tmp_path / "a.bin")
    site.busy["/a.bin"] = 99
    with pytest.raises(DataError, match="503 Service Unavailable: given up after 6"):
        client.download(f"{site.url}/a.bin", tmp_path / "b.bin")


def test_no_server_is_an_error_of_one_line(site, client, tmp_path):
    with pytest.raises(DataError, match="given up after 6 attempts"):
        client.download("http://127.0.0.1:1/a.bin", tmp_path / "a.bin")


def test_a_disk_that_is_too_small_is_found_before(site, client, tmp_path, monkeypatch):
    site.files["/a.bin"] = CONTENT
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(DataError, match="GB left: make room"):
        client.download(f"{site.url}/a.bin", tmp_path / "a.bin")
    assert leftovers(tmp_path) == []
