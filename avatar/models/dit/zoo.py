"""The public models that this DiT class can be, and the paper's own, as configurations."""

from dataclasses import replace

from avatar.models.dit.config import AudioConfig, DiTConfig, FrameAudioConfig, S2VConfig


def wan21_t2v_1_3b() -> DiTConfig:
    return replace(wan21_t2v_14b(), dim=1536, ffn_dim=8960, num_layers=30, num_heads=12)


def wan21_t2v_14b() -> DiTConfig:
    return DiTConfig(
        latent_channels=16,
        condition_channels=0,
        dim=5120,
        ffn_dim=13824,
        num_layers=40,
        num_heads=40,
        patch=2,
        audio=None,
        text_dim=4096,
        scales_latents=False,
    )


def wan21_i2v_14b() -> DiTConfig:
    """The portrait is seen three times: 4 mask and 16 latent channels, and CLIP's 257 tokens."""
    return replace(wan21_t2v_14b(), condition_channels=20, image_dim=1280)


def tm_18b() -> DiTConfig:
    """The paper's model: Wan2.1-I2V-14B with an audio projection module of about 1.2 B.

    The audio embedding is wav2vec2-base's 12 hidden states of 4 video frames a latent.
    """
    audio = AudioConfig(
        dim=12 * 768, tokens_per_latent=4, hidden_dim=5120, context_tokens=32, context_dim=1024
    )
    return replace(wan21_i2v_14b(), audio=audio)


def infinitetalk() -> DiTConfig:
    """InfiniteTalk for one speaker; FlashTalk-14B has the same tensors."""
    return replace(wan21_i2v_14b(), frame_audio=FrameAudioConfig())


def wan22_s2v_14b() -> DiTConfig:
    """Wan2.2-S2V-14B, and what was trained from it: RealVideo, LiveAvatar."""
    return replace(wan21_t2v_14b(), s2v=S2VConfig())


CONFIGS = {
    "wan2.1-t2v-1.3b": wan21_t2v_1_3b,
    "wan2.1-t2v-14b": wan21_t2v_14b,
    "wan2.1-i2v-14b": wan21_i2v_14b,
    "tm-18b": tm_18b,
    "infinitetalk": infinitetalk,
    "wan2.2-s2v-14b": wan22_s2v_14b,
}
"""By name; called because a configuration is cheap and a model is not."""
