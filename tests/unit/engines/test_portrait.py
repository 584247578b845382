"""A photograph becomes an avatar that the engines of a Wan-class profile load."""

import hashlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.__main__ import main
from avatar.backends import Running
from avatar.cast.avatars import everyone
from avatar.cast.description import CharacterFields
from avatar.cast.photograph import Framed
from avatar.cast.profile import load_appearance
from avatar.cast.profiles import Profile, load_profile
from avatar.engines import Spec
from avatar.engines.portrait import MASK_CHANNELS, Wanted, avatar_tensors, latents_of, signed
from avatar.engines.portrait_bundle import Networks, Wish, make_avatar
from avatar.engines.score import ScoreEngine
from avatar.engines.speech_features import SpeechFeaturesEngine
from avatar.engines.vae_decoder import VaeDecoderEngine
from avatar.errors import InvalidInput, NotFound
from avatar.media import SPEECH_RATE, AudioChunk, SessionId, Stamp
from avatar.sampling.policy import NATIVE_2_STEP
from tests.fakes.tiny_wan import tiny_wan_config
from tests.fakes.wan_folder import converted_toy

pytestmark = pytest.mark.unit

PHOTOGRAPH = Path(__file__).resolve().parents[2] / "data" / "faces" / "astronaut.jpg"
CONSENT = "A public photograph of NASA, shown in a test."
NOW = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
CPU, ON_CPU = torch.device("cpu"), Running(device="cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def wish(name: str = "ada", consent: str = CONSENT, prompt: str = "a person talks") -> Wish:
    fields = CharacterFields(
        id=name, display_name="Ada", description="She flies.", persona='You are "Ada".'
    )
    return Wish(PHOTOGRAPH, fields, consent, prompt)


def make(profile: Profile, wanted: Wish) -> Path:
    return make_avatar(wanted, profile, profile.avatars, NOW, CPU)


@pytest.fixture(scope="module")
def tm(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """With an avatar, `ada`."""
    profile = converted_toy("tm-18b", tmp_path_factory.mktemp("models") / "tm")
    make(profile, wish())
    return profile


def test_the_avatar_is_one_of_the_profile_s_and_keeps_who_agreed(tm: Profile) -> None:
    folder = tm.avatars / "ada"
    (ada,) = (each for each in everyone(tm.avatars) if each.id == "ada")
    assert (ada.display_name, ada.persona) == ("Ada", 'You are "Ada".')
    record = json.loads((folder / "photograph.json").read_text())
    assert record["consent"] == CONSENT
    assert record["consent_recorded"] == "2026-12-01T09:30:00+00:00"
    digest = hashlib.sha256(PHOTOGRAPH.read_bytes()).hexdigest()
    assert record["photograph_sha256"] == digest
    kept = [hashlib.sha256(each.read_bytes()).hexdigest() for each in folder.iterdir()]
    assert digest not in kept  # the cut portrait, not the photograph


def test_it_holds_all_that_the_paper_s_model_takes(tm: Profile) -> None:
    ada = load_appearance(tm, "ada")
    portrait = ada.model_portrait
    assert ada.portrait.shape == (64, 64, 3)
    assert portrait.sink_latents.shape == (1, 3, 16, 8, 8)
    assert portrait.face_mask.shape == (1, 4 * 4)
    assert 0.1 < portrait.face_mask.mean() < 0.5
    assert portrait.image_channels is not None
    assert portrait.image_channels.shape == (1, 21, 20, 8, 8)
    assert ada.text is not None
    assert ada.text.shape == (1, 512, 32)
    assert not ada.text[0, 6:].any()  # zeros after the prompt, as the models were trained
    assert ada.image is not None
    assert ada.image.shape == (1, 5, 32)


def test_the_sink_is_the_portrait_standing_still(tm: Profile) -> None:
    ada = load_appearance(tm, "ada")
    vae = Networks(tm, CPU).vae()
    still = latents_of(vae, signed(ada.portrait), 9)
    assert torch.allclose(ada.model_portrait.sink_latents[0], still, atol=1e-5)


def test_the_image_is_seen_as_wan_s_image_to_video_sees_it(tm: Profile) -> None:
    """The first frame is given and the others are grey; the first latent is the portrait's own."""
    seen = load_appearance(tm, "ada").model_portrait
    assert seen.image_channels is not None
    mask, latents = seen.image_channels[0].split([MASK_CHANNELS, 16], 1)
    assert (mask[0] == 1).all()
    assert not mask[1:].any()
    assert torch.allclose(latents[0], seen.sink_latents[0, 0], atol=1e-5)
    vae = Networks(tm, CPU).vae()
    grey = latents_of(vae, torch.zeros(1, 3, 64, 64), 81)
    far = (latents[-1] - grey[-1]).abs().mean()
    assert far < 0.05 * (latents[0] - grey[0]).abs().mean()


def speech_through(profile: Profile) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """One chunk of sound, by the engines of all three stages, as frames."""
    request = Spec("ada", 1)
    hearing = SpeechFeaturesEngine.load(profile, ON_CPU)
    score, decoder = ScoreEngine.load(profile, ON_CPU), VaeDecoderEngine.load(profile, ON_CPU)
    count = profile.clock.samples_per_chunk(SPEECH_RATE)
    sound = (0.1 * np.sin(np.arange(count) / 20)).astype(np.float32)
    chunk = AudioChunk(Stamp(SessionId("s"), 0, 0, 0, 0), sound)
    embedded, _ = hearing.step(chunk, hearing.init_state(request))
    latents, _ = score.step(embedded, score.init_state(request))
    frames, _ = decoder.step(latents, decoder.init_state(request))
    return frames.frames


def test_the_engines_make_frames_of_it(tm: Profile) -> None:
    frames = speech_through(tm)
    assert frames.shape == (12, 64, 64, 3)
    assert frames.std() > 1


def test_a_model_with_another_sink_gets_another_bundle(tmp_path: Path) -> None:
    profile = converted_toy("realvideo", tmp_path / "realvideo")
    make(profile, wish())
    ada = load_appearance(profile, "ada")
    assert ada.model_portrait.sink_latents.shape == (1, 1, 16, 12, 8)
    assert ada.model_portrait.image_channels is None
    assert ada.image is None
    assert speech_through(profile).shape == (8, 96, 64, 3)


def test_a_sink_that_holds_the_past_gets_the_portrait_as_its_past(tm: Profile) -> None:
    """LiveAvatar's: 73 frames standing still, and the second latent of five as the reference."""
    ada = load_appearance(tm, "ada").portrait
    framed, vae = Framed(ada, (32.0, 30.0, 24.0), 1.0), Networks(tm, CPU).vae()
    wanted = Wanted(1, (4, 4), image_channels=False, motion=True, text_dim=None, image_dim=None)
    tensors = avatar_tensors(framed, wanted, vae)
    assert tensors["motion_latents"].shape == (19, 16, 8, 8)
    assert tensors["sink_latents"].shape == (1, 16, 8, 8)
    assert torch.equal(tensors["sink_latents"][0], tensors["motion_latents"][1])


def test_a_model_that_reads_prompts_needs_an_encoder_of_its_width(tm: Profile) -> None:
    framed = Framed(load_appearance(tm, "ada").portrait, (32.0, 30.0, 24.0), 1.0)
    wanted = Wanted(1, (4, 4), image_channels=False, motion=False, text_dim=32, image_dim=None)
    vae = Networks(tm, CPU).vae()
    with pytest.raises(ValueError, match="takes text, and no encoder of it was given"):
        avatar_tensors(framed, wanted, vae)
    with pytest.raises(ValueError, match="text of width 8 given, 32 expected"):
        avatar_tensors(framed, wanted, vae, text=lambda: torch.zeros(5, 8))


def test_a_picture_of_no_whole_tokens_is_refused() -> None:
    config = tiny_wan_config("tm-18b")
    with pytest.raises(ValueError, match="100 x 64 pixels given, multiples of 16 expected"):
        Wanted.by(config, NATIVE_2_STEP, 64, 100)


def test_the_prompt_is_embedded_once_for_all_avatars(tm: Profile) -> None:
    first = load_appearance(tm, "ada").text
    make(tm, wish("bea"))
    second = load_appearance(tm, "bea").text
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)
    assert len(list((tm.folder / "prompts").iterdir())) == 1


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("consent", ["", "yes", " " * 30, "x" * 501])
def test_without_words_of_consent_nothing_is_made(tm: Profile, consent: str) -> None:
    with pytest.raises(InvalidInput, match="say who agreed to what"):
        make(tm, wish("eve", consent))
    assert not (tm.avatars / "eve").exists()


def test_a_name_of_the_shipped_cast_is_refused(tm: Profile) -> None:
    with pytest.raises(InvalidInput, match="mira is one of the shipped cast"):
        make(tm, wish("mira"))


def test_the_drawn_cast_s_profile_takes_no_photographs() -> None:
    with pytest.raises(InvalidInput, match="designed cast and no photographs"):
        make(load_profile("tiny"), wish())


def test_a_missing_encoder_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    profile = converted_toy("tm-18b", tmp_path / "tm")
    (profile.folder / "clip_vision.safetensors").unlink()
    with pytest.raises(NotFound, match="avatar convert --preset clip-vit-h-14"):
        make(profile, wish())
    assert not profile.avatars.exists()


# -- the command line -----------------------------------------------------------------------------


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["avatar", "portrait", *arguments])
    return main()


def test_the_command_makes_an_avatar_and_says_where(
    tm: Profile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    made = command(
        monkeypatch, "--image", str(PHOTOGRAPH), "--profile", str(tm.folder), "--name", "lea",
        "--out", str(tmp_path), "--consent", CONSENT, "--device", "cpu",
    )  # fmt: skip
    assert made == 0
    assert str(tmp_path / "lea") in capsys.readouterr().err
    (lea,) = (each for each in everyone(tmp_path) if each.id == "lea")
    assert lea.display_name == "Lea"


def test_the_command_without_consent_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command(monkeypatch, "--image", "a.png", "--profile", "tm", "--name", "lea")
    assert "--consent" in capsys.readouterr().err


def test_a_wrong_photograph_is_an_error_of_one_line(
    tm: Profile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = command(
        monkeypatch, "--image", "/nowhere.jpg", "--profile", str(tm.folder), "--name", "lea",
        "--consent", CONSENT,
    )  # fmt: skip
    assert failed == 1
    assert "error: /nowhere.jpg does not exist" in capsys.readouterr().err
