"""wav2vec2 features, chunk by chunk, and by the two recipes of the public checkpoints."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.models.wav2vec2 import (
    BASE,
    LARGE,
    Recipe,
    SpeechFeatures,
    Wav2Vec2,
    Wav2Vec2Config,
    multitalk,
    native,
    s2v,
    toy_base,
    toy_large,
)
from tests.fakes.weights import stir

pytestmark = pytest.mark.streaming


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(config: Wav2Vec2Config) -> Wav2Vec2:
    model = Wav2Vec2(config).eval().requires_grad_(False)
    stir(model)
    return model


@pytest.fixture(scope="module")
def base() -> Wav2Vec2:
    return network(toy_base())


@pytest.fixture(scope="module")
def large() -> Wav2Vec2:
    return network(toy_large())


def short(recipe: Recipe) -> Recipe:
    """With a window of two seconds: the toys are quick, and the laws are the same."""
    return replace(recipe, window_frames=2 * recipe.fps)


@pytest.fixture(params=["multitalk", "s2v", "native", "s2v at 25 fps"])
def features(request: pytest.FixtureRequest, base: Wav2Vec2, large: Wav2Vec2) -> SpeechFeatures:
    return {
        "multitalk": SpeechFeatures(base, short(multitalk()), 12),
        "s2v": SpeechFeatures(large, short(s2v()), 8),
        "native": SpeechFeatures(base, short(native()), 12),
        "s2v at 25 fps": SpeechFeatures(large, short(s2v(25)), 12),
    }[request.param]


def speech(seed: int, num_samples: int) -> Tensor:
    """Noise whose loudness comes and goes like syllables."""
    noise = torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))
    syllables = torch.sin(torch.arange(num_samples) * (2 * torch.pi * 3 / 16_000)).square()
    return 0.15 * noise * syllables


def step_of(features: SpeechFeatures) -> int:
    return features.chunk_frames * features.recipe.samples_per_frame


def chunked(features: SpeechFeatures, sound: Tensor, sizes: list[int]) -> Tensor:
    """Features of sound whose chunks come in pieces; after each piece, what follows is known."""
    state, pieces, at = features.init_state(), [], 0
    for size in sizes:
        end = at + size * step_of(features)
        frames, _, state = features.embed(sound[at:end], sound[end:], state)
        pieces.append(frames)
        at = end
    return torch.cat(pieces)


@pytest.mark.parametrize("sizes", [[1] * 6, [2, 3, 1], [3, 3]], ids=str)
def test_chunked_equals_whole_exactly(features: SpeechFeatures, sizes: list[int]) -> None:
    sound = speech(0, 6 * step_of(features))
    whole = chunked(features, sound, [6])
    assert whole.shape == (6 * features.chunk_frames, features.dim)
    assert whole.std() > 0.1
    assert torch.equal(chunked(features, sound, sizes), whole)


def test_the_past_is_unchanged_by_what_comes_after_the_hold_back(features: SpeechFeatures) -> None:
    step, right = step_of(features), features.recipe.right_frames
    sound = speech(1, 5 * step)
    changed = sound.clone()
    changed[3 * step + right * features.recipe.samples_per_frame :] *= -0.5
    one, other = chunked(features, sound, [5]), chunked(features, changed, [5])
    frames = 3 * features.chunk_frames
    assert torch.equal(one[:frames], other[:frames])
    assert not torch.allclose(one[frames:], other[frames:], atol=1e-2)


def test_the_sound_held_back_for_is_heard(features: SpeechFeatures) -> None:
    sound = speech(2, 2 * step_of(features))
    now = sound[: step_of(features)]
    known, _, _ = features.embed(now, sound[len(now) :], features.init_state())
    unknown, _, _ = features.embed(now, sound[:0], features.init_state())
    assert not torch.allclose(known[-1], unknown[-1], atol=1e-2)


def test_two_interleaved_sessions_equal_two_alone(features: SpeechFeatures) -> None:
    step = step_of(features)
    sounds = [speech(3, 3 * step), 0.3 * speech(4, 3 * step)]
    alone = [chunked(features, sound, [1, 1, 1]) for sound in sounds]
    states = [features.init_state(), features.init_state()]
    mixed: list[list[Tensor]] = [[], []]
    for n in range(3):
        for i in (0, 1):
            now, ahead = sounds[i][n * step : (n + 1) * step], sounds[i][(n + 1) * step :]
            frames, _, states[i] = features.embed(now, ahead, states[i])
            mixed[i].append(frames)
    assert all(torch.equal(torch.cat(mixed[i]), alone[i]) for i in (0, 1))


def test_a_state_can_be_gone_on_from_twice(features: SpeechFeatures) -> None:
    step = step_of(features)
    sound = speech(5, 2 * step)
    _, _, state = features.embed(sound[:step], sound[step:], features.init_state())
    once, _, _ = features.embed(sound[step:], sound[:0], state)
    features.embed(-sound[:step], sound[:0], state)
    again, _, _ = features.embed(sound[step:], sound[:0], state)
    assert torch.equal(once, again)


def test_frames_beyond_the_chunk_come_with_it(base: Wav2Vec2, large: Wav2Vec2) -> None:
    ours, theirs = (
        SpeechFeatures(base, short(native()), 12),
        SpeechFeatures(large, short(s2v()), 8),
    )
    for features, frames in ((ours, 8), (theirs, 0)):
        sound = speech(6, 2 * step_of(features))
        now, ahead = sound.split(step_of(features))
        _, later, _ = features.embed(now, ahead, features.init_state())
        assert later.shape == (frames, features.dim)


@pytest.mark.parametrize("samples", [0, 100, 7679], ids=str)
def test_what_is_no_whole_chunk_is_refused(base: Wav2Vec2, samples: int) -> None:
    features = SpeechFeatures(base, short(multitalk()), 12)
    with pytest.raises(ValueError, match=r"\(k \* 7680,\) expected"):
        features.embed(torch.zeros(samples), torch.zeros(0), features.init_state())


# -- the network is transformers' -----------------------------------------------------------------


@pytest.mark.parametrize("config", [toy_base(), toy_large()], ids=["base", "large"])
def test_hidden_states_are_those_of_transformers(config: Wav2Vec2Config) -> None:
    model, theirs = network(config), stock(config)
    theirs.load_state_dict(model.state_dict(), strict=True)
    sound = speech(7, 8000)[None]
    expected = theirs(sound, output_hidden_states=True)
    ours = model.hidden_states(model.convolved(sound))
    assert ours.shape[1] == config.num_layers + 1
    for mine, reference in zip(ours[0, :-1], expected.hidden_states, strict=False):
        assert torch.allclose(mine, reference[0], atol=1e-5)
    assert torch.allclose(ours[:, -1], expected.last_hidden_state, atol=1e-5)


def stock(config: Wav2Vec2Config) -> Any:
    import transformers

    theirs = transformers.Wav2Vec2Config(
        hidden_size=config.dim,
        intermediate_size=config.ffn_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        do_stable_layer_norm=config.stable,
        feat_extract_norm="layer" if config.stable else "group",
        conv_bias=config.stable,
        conv_dim=[config.conv_dim] * 7,
        num_conv_pos_embeddings=config.position_kernel,
        num_conv_pos_embedding_groups=config.position_groups,
        mask_time_prob=0.0,
    )
    return transformers.Wav2Vec2Model(theirs).eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("config", "parameters"), [(BASE, 94_370_944), (LARGE, 315_437_696)], ids=["base", "large"]
)
def test_the_public_networks_have_their_sizes(config: Wav2Vec2Config, parameters: int) -> None:
    with torch.device("meta"):
        model = Wav2Vec2(config)
    assert sum(each.numel() for each in model.parameters()) == parameters
    assert (config.stride, config.receptive, config.num_tokens(16_000)) == (320, 400, 49)


# -- the recipes are upstream's -------------------------------------------------------------------


def whole_window(model: Wav2Vec2, recipe: Recipe) -> tuple[SpeechFeatures, Tensor, Tensor]:
    """A recipe whose window is one chunk, that chunk's sound, and that sound as upstream sees it"""
    alone = replace(
        recipe, lookahead_frames=0, hold_back_frames=0, normalise="window", window_frames=32
    )
    sound = speech(8, 32 * alone.samples_per_frame)
    return SpeechFeatures(model, alone, 32), sound, preprocessed(sound)


def preprocessed(sound: Tensor) -> Tensor:
    from transformers import Wav2Vec2FeatureExtractor

    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    given: Tensor = extractor(sound.numpy(), sampling_rate=16_000, return_tensors="pt").input_values
    return given


@pytest.mark.parametrize("fps", [16, 25])
def test_one_family_resamples_before_the_transformer(base: Wav2Vec2, fps: int) -> None:
    features, sound, given = whole_window(base, multitalk(fps))
    tokens = F.interpolate(
        base.convolved(given).transpose(1, 2), size=32, mode="linear", align_corners=True
    )
    expected = base.hidden_states(tokens.transpose(1, 2))[0, 1:].transpose(0, 1).flatten(1)
    ours, _, _ = features.embed(sound, sound[:0], features.init_state())
    assert torch.allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize("fps", [16, 25])
def test_the_other_resamples_after_it(large: Wav2Vec2, fps: int) -> None:
    features, sound, given = whole_window(large, s2v(fps))
    states = large.hidden_states(large.convolved(given))[0]  # (layers, N, dim) at 50 Hz
    count = int(states.shape[1] / 50 * 30)
    at_30_hz = F.interpolate(states.transpose(1, 2), size=count, mode="linear", align_corners=True)
    nearest = np.round(np.linspace(0, 32 / fps, 32, endpoint=False) * 30).astype(int)
    chosen = at_30_hz[:, :, np.clip(nearest, 0, count - 1)]  # (layers, dim, 32)
    ours, _, _ = features.embed(sound, sound[:0], features.init_state())
    assert torch.allclose(ours, chosen.permute(2, 0, 1).flatten(1), atol=1e-4)


def test_the_recipes_do_not_mix(base: Wav2Vec2) -> None:
    """A stock call, interpolated afterwards, is far from what the first family was trained on."""
    features, sound, given = whole_window(base, multitalk())
    stock_call = base.hidden_states(base.convolved(given))[0, 1:]
    wrong = F.interpolate(stock_call.transpose(1, 2), size=32, mode="linear", align_corners=True)
    ours, _, _ = features.embed(sound, sound[:0], features.init_state())
    assert (ours - wrong.permute(2, 0, 1).flatten(1)).abs().mean() > 0.1


def test_at_25_fps_the_steps_of_30_hz_are_counted_from_the_session_s_beginning(
    large: Wav2Vec2,
) -> None:
    """A chunk of 12 frames is 14.4 steps: counted anew in each, the third chunk would be off."""
    features = SpeechFeatures(large, short(s2v(25, hold_back_frames=1)), 12)
    num_tokens = large.config.num_tokens(2 * 16_000)
    third = features._nearest(range(24, 36), 37 - 50, num_tokens)
    stretch = (num_tokens - 1) / (num_tokens * 30 // 50 - 1)
    absolute = [round(i * 30 / 25) for i in range(24, 36)]
    assert third == pytest.approx([(each + 13 * 30 / 25) * stretch for each in absolute])
    anew = [round(i * 30 / 25) + 24 * 30 / 25 for i in range(12)]
    assert third != pytest.approx([(each + 13 * 30 / 25) * stretch for each in anew])


# -- loudness and silence -------------------------------------------------------------------------


def test_by_the_window_a_pause_makes_what_follows_louder_and_by_the_session_not(
    base: Wav2Vec2,
) -> None:
    """The same speech after two seconds of speech, and after a second and a half of pause."""
    step = 7680
    before = speech(9, 4 * step)
    paused = torch.cat([before[:step], torch.zeros(3 * step)])
    last = speech(10, step)
    running = short(multitalk())
    louder = []
    for recipe in (replace(running, normalise="window"), running):
        found = []
        features = SpeechFeatures(base, recipe, 12)
        for sound in (before, paused):
            _, _, state = features.embed(sound, last, features.init_state())
            heard = features._listened(last, state.heard)
            seen = torch.cat([state.samples, last])[-recipe.window_frames * 640 :]
            found.append(features._normalised(seen, heard)[-step:].std())
        louder.append(float(found[1] / found[0]))
    assert louder[0] > 1.5
    assert louder[1] == pytest.approx(1.0, abs=0.15)


def test_the_window_s_normalisation_is_the_checkpoints_own(base: Wav2Vec2) -> None:
    features, sound, given = whole_window(base, multitalk())
    ours = features._normalised(sound, features.init_state().heard)
    assert torch.allclose(ours, given[0], atol=1e-5)


def test_silence_is_exactly_zero_for_own_models_alone(base: Wav2Vec2, large: Wav2Vec2) -> None:
    ours = SpeechFeatures(base, short(native()), 12)
    theirs = SpeechFeatures(large, short(s2v()), 8)
    hiss = 1e-4 * torch.randn(3 * 7680, generator=torch.Generator().manual_seed(0))
    assert not chunked(ours, hiss, [3]).any()
    assert chunked(theirs, torch.zeros(24_000), [3]).std() > 0.01


def test_after_speech_the_gate_holds_a_little(base: Wav2Vec2) -> None:
    recipe = short(native(hold_back_frames=0))
    features = SpeechFeatures(base, recipe, 12)
    sound = torch.cat([speech(11, 5 * 640 + 320), torch.zeros(2 * 7680 - 5 * 640 - 320)])
    loud = chunked(features, sound, [2]).abs().sum(1) > 0
    assert loud.tolist() == [True] * 8 + [False] * 16
