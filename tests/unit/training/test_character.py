"""Making one's own avatar: told in advance, resumed, measured, put where it is found."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("numba", reason="numba is needed to draw")

from avatar.cast.avatars import APPEARANCE, character_of, own_file, write_manifest
from avatar.cast.profile import load_appearance, load_profile
from avatar.engines.vae_decoder import VaeDecoderEngine
from avatar.errors import CorruptFile, InvalidInput
from avatar.models.vae import VAE, VAEConfig
from tests.unit.training.test_clips import Vowels
from training.character import run as running
from training.character.description import Description, read_description
from training.character.install import install
from training.character.measure import Figures
from training.character.progress import Progress, span
from training.character.run import FITTED, PLAIN, Plan, Run
from training.character.template import template
from training.data.speech import SpeechEngine
from training.trainer import Schedule

pytestmark = pytest.mark.unit

TINY = Plan(clips=1, seconds=0.96, steps=3, sentences=("hibari-0",))


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Description:
    path = tmp_path_factory.mktemp("described") / "tin.toml"
    path.write_text(template("tin", "robot", 3))  # drawn fastest
    return read_description(path)


def engines() -> Sequence[SpeechEngine]:
    return [Vowels()]


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
    for drawn, both, more in zip(
        plain.reference.features, added.reference.features, learned.features, strict=True
    ):
        torch.testing.assert_close(both, drawn + more)

    manifest = avatars / "tin" / APPEARANCE
    other = load_profile("tiny", avatars)
    monkeypatch.setattr("avatar.cast.profile.weights_of", lambda profile: "of another version")
    with pytest.raises(CorruptFile, match=r"made for other weights.*NAME=tin"):
        load_appearance(other, "tin")
    assert manifest.exists()


def test_another_look_begins_anew_and_another_persona_does_not(
    described: Description, tmp_path: Path
) -> None:
    from dataclasses import replace

    def begin(what: Description) -> str:
        out = io.StringIO()
        Run(what, tmp_path / "run", Progress(out), engines, TINY, tmp_path)
        return out.getvalue()

    assert begin(described) == ""
    renamed = replace(described, character=replace(described.character, persona="Somebody else."))
    assert begin(renamed) == ""
    reseeded = replace(described, character=replace(described.character, seed=99))
    assert "beginning anew" in begin(reseeded)


def test_a_folder_of_something_else_is_left_alone(described: Description, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidInput, match="no run of this command"):
        Run(described, tmp_path, Progress(io.StringIO()), engines, TINY)
    assert (tmp_path / "thesis.txt").exists()


def test_an_avatar_is_replaced_as_a_whole(tmp_path: Path) -> None:
    made = tmp_path / "made" / "nova"
    made.mkdir(parents=True)
    for content in ("one", "two"):
        (made / "portrait.png").write_text(content)
        (made / content).write_text("")
        write_manifest(made)
        place = install(made, tmp_path / "avatars")
        (made / content).unlink()
        assert (place / "portrait.png").read_text() == content
        assert sorted(each.name for each in place.parent.iterdir()) == ["nova"]
    assert not (place / "one").exists()


def test_what_is_left_is_told_as_work_is_done() -> None:
    now = [0.0]
    out = io.StringIO()
    progress = Progress(out, clock=lambda: now[0])
    progress.costs, progress.left = {"clip": 10.0, "step": 0.5}, {"clip": 2, "step": 100}
    assert progress.left_s == 70
    now[0] = 9.0
    progress.did("clip", "clips drawn", 2)
    assert "clips drawn: 1 of 2; about 1 min 00 s left" in out.getvalue()
    progress.did("clip", "clips drawn", 2)
    assert "clips drawn: 2 of 2; about 50 s left" in out.getvalue()
    assert (span(59.4), span(61)) == ("59 s", "1 min 01 s")


def test_less_lip_sync_or_wrong_sharpness_is_further_away() -> None:
    good = Figures(0.9, 0, 0.8, 0.8, 1.0, 0.0, eyes=1.0, mouth=1.0, mouth_fast=1.0)
    blurred = Figures(0.9, 0, 0.8, 0.8, 1.0, 0.0, eyes=0.9, mouth=1.0, mouth_fast=1.0)
    sharpened = Figures(0.9, 0, 0.8, 0.8, 1.0, 0.0, eyes=1.2, mouth=1.0, mouth_fast=1.0)
    assert good.distance < blurred.distance < sharpened.distance
