"""One's own avatar, from its description to where serving finds it, with an interruption."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("numba", reason="numba is needed to draw")

from avatar.cast.avatars import character_of, own_file
from avatar.cast.profile import load_appearance
from avatar.cast.profiles import load_profile
from avatar.engines.vae_decoder import VaeDecoderEngine
from avatar.errors import CorruptFile
from avatar.models.vae import VAE, DecoderState, VAEConfig
from tests.unit.training.test_clips import Vowels
from training.character import run as running
from training.character.description import Description, read_description
from training.character.measure import Figures, sentences
from training.character.progress import Progress
from training.character.run import FITTED, PLAIN, Plan, Run
from training.character.template import template
from training.data.speech import SpeechEngine
from training.meters.lip_sync import SpokenClip
from training.trainer import Schedule

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

TINY = Plan(clips=1, seconds=0.96, steps=3, sentences=("hibari-0",))
FRAMES = 48
"""Of the sentence, so that the test takes seconds."""


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Description:
    path = tmp_path_factory.mktemp("described") / "tin.toml"
    path.write_text(template("tin", "robot", 3))  # drawn fastest
    return read_description(path)


def engines() -> Sequence[SpeechEngine]:
    return [Vowels()]


def shortened(names: Sequence[str]) -> list[SpokenClip]:
    return [
        replace(
            clip,
            samples=clip.samples[: 640 * FRAMES],
            curves=clip.curves[:FRAMES],
            speaking=clip.speaking[:FRAMES],
        )
        for clip in sentences(names)
    ]


class Interrupted(Exception):
    pass


def test_an_interrupted_run_goes_on_to_an_avatar_that_is_found(
    described: Description, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, folder, avatars = io.StringIO(), tmp_path / "run", tmp_path / "avatars"

    def begin() -> Run:
        return Run(described, folder, Progress(out), engines, TINY, avatars)

    def often(steps: int) -> Schedule:
        return Schedule(steps=steps, learning_rate=1e-2, warmup_steps=1, save_every_s=-1)

    class Stopping(running._Counted):
        def loss(
            self, step: int, rng: np.random.Generator
        ) -> tuple[torch.Tensor, dict[str, float]]:
            if step == 2:
                raise Interrupted
            return super().loss(step, rng)

    monkeypatch.setattr(running, "schedule", often)
    monkeypatch.setattr(running, "sentences", shortened)
    first = begin()
    first.draw_portrait()
    assert first.estimate() > 0
    assert not avatars.exists()
    with monkeypatch.context() as patched:
        patched.setattr(running, "_Counted", Stopping)
        with pytest.raises(Interrupted):
            first.train()
    clip = folder / "clips" / "tin" / "00000.npz"
    made_at = clip.stat().st_mtime_ns

    second = begin()
    second.estimate()
    assert second.progress.left == {
        "clip": 0, "drawing": 0, "step": 1, "sentence": 2, "preview": 1,
    }  # fmt: skip
    place = second.train()
    assert clip.stat().st_mtime_ns == made_at
    assert place == avatars / "tin"
    assert character_of("tin", avatars).display_name == "Tin"
    about = json.loads(own_file(avatars, "tin", "training.json").read_text())
    assert about["kept"] in (PLAIN, FITTED)
    assert set(about[PLAIN]) == set(Figures.__dataclass_fields__)
    with Image.open(own_file(avatars, "tin", "sheet.png")) as sheet:
        assert sheet.width > 1000
    assert own_file(avatars, "tin", "preview.mp4").stat().st_size > 1000
    told = out.getvalue()
    assert "this will take about" in told
    assert "training steps: 3 of 3" in told

    learned = load_appearance(load_profile("tiny", folder / FITTED), "tin")
    assert [tuple(each.shape[1:]) for each in learned.features] == [
        (128, 32, 32), (48, 64, 64), (16, 128, 128),
    ]  # fmt: skip
    assert any(each.abs().max() > 0 for each in learned.features)

    @dataclass
    class Request:
        avatar: str = "tin"
        seed: int = 0

    vae = VAE(VAEConfig())
    plain, added = (
        VaeDecoderEngine(load_profile("tiny", folder / which), vae).init_state(Request())
        for which in (PLAIN, FITTED)
    )
    assert isinstance(plain, DecoderState)
    assert isinstance(added, DecoderState)
    for drawn, both, more in zip(
        plain.reference.features, added.reference.features, learned.features, strict=True
    ):
        torch.testing.assert_close(both, drawn + more)

    other = load_profile("tiny", avatars)
    monkeypatch.setattr("avatar.cast.profile.weights_of", lambda profile: "of another version")
    with pytest.raises(CorruptFile, match=r"made for other weights.*NAME=tin"):
        load_appearance(other, "tin")
