import shutil
import subprocess
import sys

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file

from cellmae.errors import ConfigError, DamagedError, DataError
from cellmae.models import FAMILIES, build_baseline, load_encoder, read_model, takes
from cellmae.models.families import check_spec

UNTRAINED = {"family": "untrained", "size": "tiny", "patch": 8, "seed": 3}
CHANNELS = ["nuclei", "actin"]


def build(folder, **changes):
    build_baseline(UNTRAINED | changes, channels=CHANNELS, crop_size=16, folder=folder)
    return load_encoder(folder)


@pytest.fixture
def crops() -> torch.Tensor:
    return torch.randint(0, 256, (3, 2, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_saved_encoder_embeds_as_before(tmp_path, crops):
    build_baseline(UNTRAINED, channels=CHANNELS, crop_size=16, folder=tmp_path)
    torch.manual_seed(UNTRAINED["seed"])
    original = FAMILIES["untrained"].build(UNTRAINED, 2, 16).eval()
    assert torch.equal(load_encoder(tmp_path).embed(crops), original.embed(crops))


def test_the_record_rebuilds_the_encoder_and_counts_it(tmp_path):
    encoder = build(tmp_path)
    record = read_model(tmp_path)
    assert record["family"] == "untrained"
    assert record["spec"] == UNTRAINED
    assert (record["channels"], record["crop_size"], record["dim"]) == (CHANNELS, 16, 128)
    assert record["parameters"] == sum(p.numel() for p in encoder.parameters())
    assert record["plates"] == []


def test_random_weights_follow_the_seed_and_leave_other_chance_alone(tmp_path):
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    build(tmp_path / "a")
    assert torch.equal(torch.rand(1), expected)
    build(tmp_path / "b")
    build(tmp_path / "c", seed=4)
    digests = [read_model(tmp_path / name)["weights_digest"] for name in "abc"]
    assert digests[0] == digests[1] != digests[2]
    assert (tmp_path / "a" / "model.yaml").read_bytes() == (tmp_path / "b" / "model.yaml").read_bytes()


@pytest.mark.parametrize("family", ["intensity", "constant"])
def test_baselines_without_weights_write_none(tmp_path, crops, family):
    build_baseline({"family": family}, channels=CHANNELS, crop_size=16, folder=tmp_path)
    encoder = load_encoder(tmp_path)
    assert encoder.embed(crops).shape == (3, encoder.dim)
    assert read_model(tmp_path)["weights_digest"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["model.yaml"]


def test_damaged_weights_are_noticed(tmp_path):
    build(tmp_path)
    weights = tmp_path / "encoder.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DataError, match=r"encoder\.safetensors is damaged"):
        load_encoder(tmp_path)
    weights.unlink()
    with pytest.raises(DataError, match="no such file"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("content", ["a: [", "- 1\n", "stage: tiles\n"])
def test_a_garbled_record_is_noticed(tmp_path, content):
    (tmp_path / "model.yaml").write_text(content)
    with pytest.raises(DataError, match=r"model\.yaml"):
        read_model(tmp_path)


def test_an_unfinished_model_says_so(tmp_path):
    with pytest.raises(DataError, match="not finished"):
        load_encoder(tmp_path)


@pytest.mark.parametrize(
    ("spec", "message"), [({"family": "resnet"}, "'resnet' is unknown"), ({"family": "features"}, "has no encoder")]
)
def test_families_without_an_encoder(tmp_path, spec, message):
    with pytest.raises(ConfigError, match=message):
        build_baseline(spec, channels=CHANNELS, crop_size=16, folder=tmp_path)


def test_the_workflow_can_ask_without_torch(tmp_path):
    """Parsing the workflow must not take the seconds that importing torch takes."""
    build(tmp_path)
    code = (
        "import sys, cellmae.models, cellmae.pretraining, cellmae.embeddings\n"
        "assert cellmae.models.FAMILIES['mae'].trained and cellmae.pretraining.VERSION and cellmae.embeddings.VERSION\n"
        f"assert cellmae.models.read_model({str(tmp_path)!r})['dim'] == 128\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_record_is_plain_yaml(tmp_path):
    build(tmp_path)
    assert yaml.safe_load((tmp_path / "model.yaml").read_text())["stage"] == "models"


ARCHITECTURES = [
    {"architecture": "vit", "size": "tiny", "patch": 8},
    {"architecture": "ca-vit", "size": "tiny", "patch": 8, "per_channel": True},
    {"architecture": "unet", "size": "tiny", "patch": 8},
    {"architecture": "densenet-tiny", "neck": 16},
]


@pytest.mark.parametrize("spec", ARCHITECTURES, ids=lambda spec: spec["architecture"])
def test_any_architecture_can_have_random_weights(tmp_path, crops, spec):
    build_baseline({"family": "untrained", "seed": 3, **spec}, channels=CHANNELS, crop_size=16, folder=tmp_path)
    encoder = load_encoder(tmp_path)
    assert encoder.embed(crops).shape == (3, encoder.dim)
    build_baseline({"family": "untrained", "seed": 4, **spec}, channels=CHANNELS, crop_size=16, folder=tmp_path / "b")
    assert not torch.equal(load_encoder(tmp_path / "b").embed(crops), encoder.embed(crops))


def test_a_model_of_another_run_is_taken_with_all_that_it_is(tmp_path, crops):
    original = build(tmp_path / "there")
    spec = {"family": "saved", "weights": str(tmp_path / "there")}
    build_baseline(spec, channels=CHANNELS, crop_size=16, folder=tmp_path / "here")
    assert read_model(tmp_path / "here") == read_model(tmp_path / "there")
    shutil.rmtree(tmp_path / "there")
    assert torch.equal(load_encoder(tmp_path / "here").embed(crops), original.embed(crops))


def test_damage_in_another_run_is_told_and_deletes_nothing_there(tmp_path):
    """What is called damaged is deleted, to be made anew; that is for the other run to do."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "model.yaml").write_text("spec: [")
    spec = {"family": "saved", "weights": str(tmp_path / "there")}
    with pytest.raises(DataError, match=r"model.yaml is not YAML") as caught:
        build_baseline(spec, channels=CHANNELS, crop_size=16, folder=tmp_path / "here")
    assert not isinstance(caught.value, DamagedError)


def test_a_model_of_the_same_run_is_taken_by_another_block(tmp_path, crops):
    original = build(tmp_path / "mae")
    spec = {"family": "saved", "of": "mae", "embed_block": 3}
    build_baseline(spec, channels=CHANNELS, crop_size=16, folder=tmp_path / "mae-b3")
    assert torch.equal(load_encoder(tmp_path / "mae-b3").embed(crops), original.embed_blocks(crops)[2])
    records = [read_model(tmp_path / name) for name in ("mae", "mae-b3")]
    assert [record["of"] for record in records] == [None, "mae"]
    assert records[1] == records[0] | {"spec": UNTRAINED | {"embed_block": 3}, "of": "mae"}


def test_a_point_embeds_as_its_model_does(tmp_path, crops):
    """A model that is embedded by another block than before takes its points along."""
    build(tmp_path / "mae", embed_block=3)
    kept = build(tmp_path / "mae" / "points" / "48", seed=4)
    spec = {"family": "point", "of": "mae", "crops": 48}
    build_baseline(spec, channels=CHANNELS, crop_size=16, folder=tmp_path / "mae-at-48")
    assert read_model(tmp_path / "mae-at-48")["spec"]["embed_block"] == 3
    assert torch.equal(load_encoder(tmp_path / "mae-at-48").embed(crops), kept.embed_blocks(crops)[2])


@pytest.mark.parametrize(
    ("original", "block", "said"),
    [
        ({}, 5, "models.embed_block: found 5, expected one of the blocks 1 to 4"),
        ({"architecture": "unet"}, 3, "models.embed_block: found 3, but models of the family untrained have no blocks"),
    ],
)
def test_a_block_that_there_is_not(tmp_path, original, block, said):
    build(tmp_path / "there", **original)
    spec = {"family": "saved", "weights": str(tmp_path / "there"), "embed_block": block}
    with pytest.raises(ConfigError, match=said):
        build_baseline(spec, channels=CHANNELS, crop_size=16, folder=tmp_path / "here")
    assert not (tmp_path / "here" / "model.yaml").exists()


def test_a_model_of_other_channels_is_refused_unless_it_takes_any(tmp_path):
    spec = {"family": "saved", "weights": str(tmp_path / "there")}
    build(tmp_path / "there")
    with pytest.raises(DataError, match=r"16 pixels and the channels nuclei, actin, the screen has 16 and er"):
        build_baseline(spec, channels=["er"], crop_size=16, folder=tmp_path / "here")
    build_baseline(
        {"family": "ca-mae", "size": "tiny", "patch": 8}, channels=CHANNELS, crop_size=16, folder=tmp_path / "there"
    )
    build_baseline(spec, channels=["er"], crop_size=16, folder=tmp_path / "here")
    record = read_model(tmp_path / "here")
    assert takes(record, ["er", "golgi", "rna"], 16)
    assert not takes(record, CHANNELS, 32)
    assert load_encoder(tmp_path / "here").embed(torch.zeros(2, 1, 16, 16, dtype=torch.uint8)).shape == (2, 128)


def test_pretrained_weights_are_copied_into_the_run(tmp_path, crops):
    model = timm.create_model("resnet10t", num_classes=0)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    spec = {"family": "pretrained", "architecture": "resnet10t", "weights": str(tmp_path / "weights.safetensors")}
    build_baseline(spec, channels=CHANNELS, crop_size=16, folder=tmp_path / "model")
    (tmp_path / "weights.safetensors").unlink()
    encoder = load_encoder(tmp_path / "model")
    assert encoder.embed(crops).shape == (3, model.num_features)


def test_what_does_not_fit_is_said_before_anything_is_built(tmp_path):
    openphenom = {"family": "openphenom", "weights": str(tmp_path)}
    with pytest.raises(ConfigError, match=r"tiles\.size: found 64, expected 256"):
        check_spec(openphenom, channels=6, crop_size=64)
    with pytest.raises(DataError, match=r"config\.json does not exist; the family openphenom needs it"):
        check_spec(openphenom, channels=6, crop_size=256)
    with pytest.raises(ConfigError, match=r"models\.patch: 7"):
        check_spec({"family": "ca-mae", "patch": 7}, channels=6, crop_size=64)
    with pytest.raises(ConfigError, match=r"tiles\.size: found 72, but a U-Net"):
        check_spec({"family": "untrained", "architecture": "unet", "patch": 8}, channels=6, crop_size=72)
    check_spec({"family": "classifier", "architecture": "densenet161"}, channels=6, crop_size=64)
