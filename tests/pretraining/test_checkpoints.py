import logging

import numpy as np
import pytest
import torch

from cellmae.pretraining.checkpoints import Checkpoints
from disks import mounted

CPU = torch.device("cpu")


def save(folder, fingerprint, *steps):
    checkpoints = Checkpoints(folder, fingerprint)
    for step in steps:
        checkpoints.save(step, {"weights": torch.full((3,), float(step))})
    return checkpoints


def test_the_newest_is_loaded_and_the_last_two_are_kept(tmp_path):
    checkpoints = save(tmp_path, "a" * 32, 8, 9, 10)
    state = checkpoints.load(CPU)
    assert state["step"] == 10
    assert torch.equal(state["weights"], torch.full((3,), 10.0))
    assert len(list(tmp_path.iterdir())) == 2


def one_bit(content: bytes) -> bytes:
    """Change a bit of the weights, at which torch does not look."""
    place = content.index(np.float32(2).tobytes() * 3)
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda _: b"", lambda _: b"x" * 999, one_bit]
)
def test_a_damaged_one_falls_back_to_the_one_before(tmp_path, caplog, damage):
    checkpoints = save(tmp_path, "a" * 32, 1, 2)
    newest = max(tmp_path.iterdir())
    newest.write_bytes(damage(newest.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert checkpoints.load(CPU)["step"] == 1
    assert newest.name in caplog.text


def test_nothing_to_load(tmp_path):
    assert Checkpoints(tmp_path / "state", "a").load(CPU) is None


def test_those_of_another_training_are_left_alone_until_the_first_own_one(tmp_path, caplog):
    save(tmp_path, "a" * 32, 1, 2)
    other = Checkpoints(tmp_path, "b" * 32)
    with caplog.at_level(logging.INFO):
        assert other.load(CPU) is None
    assert "afresh" in caplog.text
    assert Checkpoints(tmp_path, "a" * 32).load(CPU)["step"] == 2
    other.save(1, {})
    assert [path.name for path in tmp_path.iterdir()] == ["b" * 12 + "-000000001.pt"]


def test_what_a_killed_job_left_is_cleaned_up(tmp_path):
    checkpoints = save(tmp_path, "a" * 32, 1)
    (tmp_path / ".aaaaaaaaaaaa-000000002.pt.partial").write_bytes(b"half")
    assert checkpoints.load(CPU)["step"] == 1
    checkpoints.save(3, {})
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_is_called_that_and_leaves_the_one_before(tmp_path):
    with mounted(tmp_path / "small", "size=64k") as disk:
        checkpoints = save(disk, "a" * 32, 1)
        with pytest.raises(OSError, match="No space left on device"):
            checkpoints.save(2, {"weights": torch.zeros(100_000)})
        assert checkpoints.load(CPU)["step"] == 1
        assert len(list(disk.iterdir())) == 1
