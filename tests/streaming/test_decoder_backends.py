"""The VAE decoder with the shipped weights, in each back end."""

import numpy as np
import pytest
from numpy.typing import NDArray

from avatar.backends import Running, Wish
from avatar.cast.profile import load_appearance
from avatar.cast.profiles import load_profile
from avatar.engines import Spec
from avatar.engines.vae_decoder import VaeDecoderEngine
from avatar.media import LatentChunk, SessionId, Stamp

pytestmark = pytest.mark.streaming


def decoded(wish: Wish) -> NDArray[np.int16]:
    """What a portrait's own latents become."""
    engine = VaeDecoderEngine.load(load_profile("tiny"), Running(wish))
    assert engine.backend.name == wish
    sink = load_appearance(engine.profile, "mira").model_portrait.sink_latents[0].numpy()
    chunk = LatentChunk(Stamp(SessionId("s"), 0, 0, 1, 0), sink)
    made, _ = engine.step(chunk, engine.init_state(Spec("mira", 1)))
    return made.frames.astype(np.int16)


def test_torch_shows_what_openvino_shows() -> None:
    torch_made, openvino_made = decoded("torch"), decoded("openvino")
    assert torch_made.std() > 30  # a face, and not one grey
    assert np.abs(torch_made - openvino_made).mean() < 2
