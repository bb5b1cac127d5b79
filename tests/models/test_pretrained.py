import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import adapt_input_conv

from cellmae.errors import ConfigError, DataError
from cellmae.models.pretrained import PretrainedEncoder, load_pretrained, read_weights

pytestmark = pytest.mark.slow

CHANNELS, CROP = 6, 64


def photographs(name: str, **options) -> torch.nn.Module:
    """A network for photographs, with its classifier, and with random weights in the place of pretrained ones."""
    torch.manual_seed(7)
    return timm.create_model(name, **options).eval()


def build(name: str = "resnet18", channels: int = CHANNELS, crop_size: int = CROP, seed: int = 0) -> PretrainedEncoder:
    torch.manual_seed(seed)
    return PretrainedEncoder(name, channels, crop_size)


@pytest.fixture
def crops() -> torch.Tensor:
    shape = (2, CHANNELS, CROP, CROP)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def no_internet(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        ("resnet18", 512),
        ("vit_tiny_patch16_224", 192),
        ("swin_tiny_patch4_window7_224", 768),
        ("mobilenetv3_small_050", 1024),
    ],
)
def test_networks_of_any_kind_embed_crops_of_any_size(crops, name, dim):
    encoder = build(name)
    vectors = encoder.embed(crops)
    assert vectors.shape == (2, encoder.dim) == (2, dim)
    assert vectors.dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_brightness_and_contrast_do_not_matter(crops):
    encoder = build()
    torch.testing.assert_close(encoder.embed(crops), encoder.embed(40 + crops.float() / 2), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_of_a_file_are_those_of_the_network(tmp_path, crops, name, suffix):
    """Without a change of channels or size nothing is adapted; the classifier in the file is left out."""
    theirs = photographs(name, img_size=CROP) if "vit" in name else photographs(name)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(theirs.state_dict(), path)
    else:
        save_file(theirs.state_dict(), path)
    encoder = build(name, channels=3)
    load_pretrained(encoder, str(path))
    pixels = encoder.standardise(crops[:, :3])
    expected = theirs.forward_head(theirs.forward_features(pixels), pre_logits=True)
    torch.testing.assert_close(encoder.embed(crops[:, :3]), expected)
    assert not any(name.startswith(("fc.", "head.")) for name in encoder.backbone.state_dict())


@pytest.mark.parametrize("channels", [1, 3, 5, 6])
@pytest.mark.parametrize(("name", "first"), [("resnet18", "conv1"), ("vit_tiny_patch16_224", "patch_embed.proj")])
def test_the_first_convolution_follows_timms_rule(tmp_path, name, first, channels):
    theirs = photographs(name)
    save_file(theirs.state_dict(), tmp_path / "weights")
    encoder = build(name, channels=channels)
    load_pretrained(encoder, str(tmp_path / "weights"))
    found = encoder.backbone.get_submodule(first).weight
    torch.testing.assert_close(found, adapt_input_conv(channels, theirs.get_submodule(first).weight))
    if channels == 6:
        torch.testing.assert_close(found[:, 3:], theirs.get_submodule(first).weight / 2)


def test_weights_for_the_same_channels_are_taken_as_they_are(tmp_path, crops):
    theirs = photographs("resnet18", in_chans=CHANNELS)
    save_file(theirs.state_dict(), tmp_path / "weights")
    encoder = build()
    load_pretrained(encoder, str(tmp_path / "weights"))
    assert torch.equal(encoder.backbone.conv1.weight, theirs.conv1.weight)


def test_learned_positions_are_interpolated_to_the_crops(tmp_path):
    theirs = photographs("vit_tiny_patch16_224")
    with torch.no_grad():
        ramp = torch.arange(14.0).repeat_interleave(14)  # grows from row to row
        theirs.pos_embed[:, 1:] = ramp[None, :, None]
    save_file(theirs.state_dict(), tmp_path / "weights")
    encoder = build("vit_tiny_patch16_224")
    load_pretrained(encoder, str(tmp_path / "weights"))
    rows = encoder.backbone.pos_embed[0, 1:, 0].view(4, 4)
    torch.testing.assert_close(rows, rows[:, :1].expand(-1, 4))
    assert (rows[:, 0].diff() > 2).all()


def test_suffixes_are_not_trusted_and_wrappings_opened(tmp_path):
    weights = photographs("resnet18").state_dict()
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in weights.items()}, "epoch": 3},
        tmp_path / "a.safetensors",
    )
    save_file(weights, tmp_path / "b.bin")
    for path in tmp_path.iterdir():
        read = read_weights(path)
        assert read.keys() == weights.keys()
        assert torch.equal(read["conv1.weight"], weights["conv1.weight"])


def test_loading_leaves_other_chance_alone_and_depends_on_none(tmp_path, crops):
    save_file(photographs("resnet18").state_dict(), tmp_path / "weights")
    first, second = build(seed=1), build(seed=2)
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    load_pretrained(first, str(tmp_path / "weights"))
    assert torch.equal(torch.rand(1), expected)
    load_pretrained(second, str(tmp_path / "weights"))
    assert torch.equal(first.embed(crops), second.embed(crops))
    second = build(seed=3)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.embed(crops), second.embed(crops))


def test_weights_of_another_network_are_refused(tmp_path):
    save_file(photographs("vit_tiny_patch16_224").state_dict(), tmp_path / "other")
    smaller = photographs("resnet18").state_dict()
    del smaller["layer3.0.conv1.weight"]
    save_file(smaller, tmp_path / "smaller")
    with pytest.raises(DataError, match=r"other does not hold the weights of 'resnet18' .*missing") as refusal:
        load_pretrained(build(), str(tmp_path / "other"))
    assert "\n" not in str(refusal.value)
    with pytest.raises(DataError, match=r"\(missing: layer3\.0\.conv1\.weight\)"):
        load_pretrained(build(), str(tmp_path / "smaller"))
    with pytest.raises(DataError, match="does not hold the weights of 'resnet34'"):
        load_pretrained(build("resnet34"), str(tmp_path / "smaller"))


def test_weights_of_other_shapes_are_refused_in_one_line(tmp_path):
    save_file(photographs("vit_small_patch16_224").state_dict(), tmp_path / "weights")
    with pytest.raises(DataError, match="size mismatch") as refusal:
        load_pretrained(build("vit_tiny_patch16_224"), str(tmp_path / "weights"))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 700


class Unsafe:
    def __reduce__(self):
        return print, ("executed",)


def test_damaged_and_unsafe_files_are_refused(tmp_path, capsys):
    save_file(photographs("resnet18").state_dict(), tmp_path / "cut")
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:10_000])
    (tmp_path / "text").write_text("no weights at all")
    (tmp_path / "empty").write_bytes(b"")
    torch.save({"state_dict": Unsafe()}, tmp_path / "unsafe")
    for name in ("cut", "text", "empty", "unsafe"):
        with pytest.raises(DataError, match=rf"models\.weights: .*{name} is damaged, or neither") as refusal:
            read_weights(tmp_path / name)
        assert "\n" not in str(refusal.value)
    assert "executed" not in capsys.readouterr().out
    torch.save([1, 2], tmp_path / "list")
    with pytest.raises(DataError, match="holds no named weights"):
        read_weights(tmp_path / "list")


def test_a_missing_file_is_a_matter_of_the_configuration(tmp_path):
    with pytest.raises(ConfigError, match=r"models\.weights: there is no file .*absent\.pth"):
        load_pretrained(build(), str(tmp_path / "absent.pth"))


def test_without_internet_a_file_is_proposed(no_internet):
    with pytest.raises(DataError, match="weights: path") as refusal:
        load_pretrained(build())
    assert "resnet18" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet-18", r"no network 'resnet-18'; do you mean .*resnet18"),
        ("zzzzzzzzzz", r"no network 'zzzzzzzzzz'; timm\.list_models\(\)"),
        ("hf-hub:timm/resnet18", "no network 'hf-hub:timm/resnet18'"),
        ("resnet18.a9_in1k", r"no weights 'a9_in1k' of 'resnet18'; one of .*a1_in1k"),
    ],
)
def test_unknown_names_are_refused_with_known_ones(name, message):
    with pytest.raises(ConfigError, match=rf"models\.architecture: timm has {message}"):
        build(name)


def test_names_may_have_the_tag_of_their_weights():
    assert build("resnet18.fb_swsl_ig1b_ft_in1k").dim == 512


def test_networks_that_cannot_take_the_crops_are_refused():
    with pytest.raises(ConfigError, match=r"models\.architecture: timm cannot build 'inception_v3' .* 32 pixels"):
        build("inception_v3", crop_size=32)
