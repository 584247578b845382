"""The diffusion transformer: one class at every size, speech confined to the face."""

import dataclasses

import pytest
import torch

from avatar.models.dit import Condition, DiT, SelfContext, tm_18b
from avatar.models.dit.rope import rope_angles, rotate, turns_of
from tests.fakes.networks import small_dit

pytestmark = pytest.mark.unit


def condition(model: DiT, frames: int = 3, seed: int = 0) -> Condition:
    g = torch.Generator().manual_seed(seed)
    audio = model.config.audio
    mask = torch.zeros(1, 16)
    mask[:, 4:10] = 1
    return Condition(
        channels=torch.randn(1, frames, 8, 8, 8, generator=g),
        audio=model.project_audio(torch.randn(1, frames + 4, 2, 6, generator=g)) if audio else None,
        face_mask=mask,
        controls=torch.randn(1, frames, 5, generator=g),
        fixed=model.project_fixed(
            torch.randn(1, 7, 10, generator=g) if model.config.text_dim else None,
            torch.randn(1, 5, 14, generator=g) if model.config.image_dim else None,
        ),
    )


def predict(model: DiT, given: Condition) -> torch.Tensor:
    latents = torch.randn(1, 3, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    out, _ = model(latents, torch.tensor([500.0]), given, SelfContext(), (18, 19, 20))
    return out


def test_tm_18b_has_the_papers_size() -> None:
    with torch.device("meta"):
        model = DiT(tm_18b())
    total = sum(p.numel() for p in model.parameters())
    module = sum(p.numel() for p in model.audio_projection.parameters())
    audio = sum(p.numel() for n, p in model.named_parameters() if "audio" in n)
    assert 17.5e9 < total < 19.0e9
    assert 1.0e9 < module < 1.4e9
    assert abs((total - audio) / 16.39e9 - 1) < 0.001  # Wan2.1-I2V-14B


def test_audio_layers_that_have_just_been_added_change_nothing() -> None:
    torch.manual_seed(1)
    base = small_dit(text=True, image=True, audio=False)
    config = dataclasses.replace(base.config, audio=small_dit().config.audio)
    grown = DiT(config).eval().requires_grad_(False)
    missing = grown.load_state_dict(base.state_dict(), strict=False)
    assert missing.missing_keys
    assert all("audio" in key for key in missing.missing_keys)
    given = condition(grown)
    without = dataclasses.replace(given, audio=None)
    assert torch.equal(predict(grown, given), predict(base, without))


def test_speech_has_exactly_no_effect_outside_the_face() -> None:
    model = small_dit(text=True)
    attention = model.layers[0].attn2
    x = torch.randn(1, 3, 16, 48)
    given = condition(model)
    other = condition(model, seed=1)
    heard = attention(x, given.fixed[0], given.audio, given.face_mask)
    changed = attention(x, given.fixed[0], other.audio, given.face_mask)
    assert given.face_mask is not None
    outside = given.face_mask[0] == 0
    assert torch.equal(heard[:, :, outside], changed[:, :, outside])
    assert not torch.isclose(heard[:, :, ~outside], changed[:, :, ~outside]).all(-1).any()


@pytest.mark.parametrize("latent", [0, 1, 2])
def test_speech_outside_a_latents_window_does_not_reach_it(latent: int) -> None:
    model = small_dit()
    attention = model.layers[0].attn2
    x, mask = torch.randn(1, 3, 16, 48), torch.ones(1, 16)
    speech = torch.randn(1, 3 + 4, 2, 6)
    changed = speech.clone()
    window = range(latent, latent + 5)  # the speech given begins 2 latents before the chunk
    for place in set(range(7)) - set(window):
        changed[:, place] += 1.0
    one, other = (attention(x, (), model.project_audio(s), mask) for s in (speech, changed))
    assert torch.equal(one[:, latent], other[:, latent])
    assert not torch.equal(one, other)


@pytest.mark.parametrize("edge", [0, 4])
def test_speech_at_the_windows_edge_does_reach_it(edge: int) -> None:
    model = small_dit()
    speech = torch.randn(1, 7, 2, 6)
    changed = speech.clone()
    changed[:, 1 + edge] += 1.0
    one, other = model.project_audio(speech), model.project_audio(changed)
    assert not torch.allclose(one[:, 1], other[:, 1])


@pytest.mark.parametrize("part", ["text", "image", "controls", "channels", "audio"])
def test_every_condition_shows_in_the_output(part: str) -> None:
    model = small_dit(text=True, image=True)
    given, other = condition(model), condition(model, seed=1)
    if part in ("text", "image"):
        index = 0 if part == "text" else 1
        mixed = tuple(
            tuple(o if i == index else g for i, (g, o) in enumerate(zip(*layer, strict=True)))
            for layer in zip(given.fixed, other.fixed, strict=True)
        )
        changed = dataclasses.replace(given, fixed=mixed)
    else:
        changed = dataclasses.replace(given, **{part: getattr(other, part)})
    difference = (predict(model, given) - predict(model, changed)).abs().max()
    assert difference > 1e-2


def test_rope_depends_on_distance_only() -> None:
    g = torch.Generator().manual_seed(0)
    q, k = torch.randn(1, 4, 2, 24, generator=g), torch.randn(1, 4, 2, 24, generator=g)

    def scores(shift: int) -> torch.Tensor:
        angles = rope_angles(torch.tensor([shift]), (2, 2), 24)
        later = rope_angles(torch.tensor([shift + 3]), (2, 2), 24)
        return torch.einsum(
            "blhd,bmhd->bhlm", rotate(q, turns_of(later)), rotate(k, turns_of(angles))
        )

    assert torch.allclose(scores(0), scores(1_000_000), atol=1e-4)
    assert torch.allclose(
        rotate(q, turns_of(rope_angles(torch.tensor([5]), (2, 2), 24))).norm(dim=-1), q.norm(dim=-1)
    )
