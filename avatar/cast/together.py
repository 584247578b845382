"""What all stages of a profile need where they share a device: each alone might fit."""

import math
from collections.abc import Mapping
from typing import Literal, get_args

import torch

from avatar.backends import Running
from avatar.backends.device import choose_device
from avatar.backends.memory import Plan, together
from avatar.backends.needs import Picture, WanDecoder, decoder_plan, score_plan, speech_plan
from avatar.cast.profile import recipe_of, weight_file
from avatar.cast.profiles import Profile
from avatar.models.dit import DiT, DiTConfig
from avatar.models.taehv import TAEHV, TAEHVConfig
from avatar.models.vae_wan import WanVAE, WanVAEConfig
from avatar.models.wav2vec2.config import Wav2Vec2Config
from avatar.models.weights import config_of, describes, read_header

Sharing = Literal["audio_encoder", "score_worker", "vae_decoder"]
SHARING: tuple[Sharing, ...] = get_args(Sharing)
"""Stages that may share a device."""


def check_together(profile: Profile, running: Mapping[Sharing, Running]) -> None:
    """Compare the sum of all stages on a device with what it has; the small profiles always fit.

    To be called where the devices' names mean the same to all stages: on one machine.

    Raises:
        Unavailable: With the sum, stage by stage, and the ways out.
    """
    for plan in together(plans_of(profile, running)):
        plan.check_whole()


def plans_of(profile: Profile, running: Mapping[Sharing, Running]) -> list[Plan]:
    """Of a GPU-class profile's stages, by the headers of their files alone; [] of others."""
    header = read_header(weight_file(profile, profile.decoder))
    is_wan = describes(WanVAEConfig, header)
    if not is_wan and not describes(TAEHVConfig, header):
        return []
    picture = Picture(profile.height, profile.width)
    devices = {stage: choose_device(each.device) for stage, each in running.items()}
    speech = read_header(weight_file(profile, profile.audio_encoder))
    with torch.device("meta"):
        model = DiT(config_of(DiTConfig, read_header(weight_file(profile, profile.dit))))
        decoder: WanDecoder
        if is_wan:
            decoder = WanVAE(config_of(WanVAEConfig, header))
        else:
            decoder = TAEHV(config_of(TAEHVConfig, header))
    return [
        score_plan(
            model, profile.policy, picture, running["score_worker"], devices["score_worker"]
        ),
        decoder_plan(
            decoder,
            decoder.config.latent_channels,
            picture,
            running["vae_decoder"],
            devices["vae_decoder"],
        ),
        speech_plan(
            config_of(Wav2Vec2Config, speech),
            4 * sum(math.prod(shape) for shape in speech.shapes.values()),
            recipe_of(profile),
            devices["audio_encoder"],
        ),
    ]
