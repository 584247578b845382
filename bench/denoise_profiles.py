"""What the denoising benchmark can measure: models with their policy, picture and clock."""

from dataclasses import dataclass, replace

from avatar.backends import Capture, Linears
from avatar.models.dit import AudioConfig, DiTConfig, tiny
from avatar.models.dit.config import S2VConfig
from avatar.models.dit.zoo import tm_18b, wan21_t2v_1_3b, wan22_s2v_14b
from avatar.models.taehv.config import TAEW_2_1, TAEHVConfig
from avatar.models.taehv.config import toy as toy_taehv
from avatar.models.vae.model import VAEConfig
from avatar.models.vae_wan.config import WAN_2_1, WanVAEConfig
from avatar.models.vae_wan.config import toy as toy_wan
from avatar.sampling.policy import NATIVE_2_STEP, REALVIDEO_2_STEP, Policy
from avatar.timebase import ChunkClock

Decoder = WanVAEConfig | TAEHVConfig | VAEConfig


@dataclass(frozen=True)
class Measured:
    """`size` is height and width in pixels; `bar_ms` what a chunk may take on an H200.

    `bar_with` is how it is reached, see docs/performance.md: other ways are told beside. `toy`
    profiles are small enough for a CPU; the others are not run there. `decoders` by name, the first
    one is the usual.
    """

    name: str
    model: DiTConfig
    policy: Policy
    clock: ChunkClock
    size: tuple[int, int]
    decoders: dict[str, Decoder]
    toy: bool = False
    bar_ms: float | None = None
    bar_with: tuple[Capture, Linears] = ("compile", "native")
    text_tokens: int = 512
    image_tokens: int = 257

    @property
    def size_text(self) -> str:
        """WIDTHxHEIGHT, as it is asked for."""
        return f"{self.size[1]}x{self.size[0]}"

    @property
    def latent_size(self) -> tuple[int, int]:
        return self.size[0] // 8, self.size[1] // 8

    @property
    def tokens_per_latent(self) -> int:
        height, width = self.latent_size
        return height * width // self.model.patch**2

    @property
    def chunk_ms(self) -> float:
        return self.clock.chunk_s * 1000

    @property
    def forwards(self) -> int:
        return len(self.policy.sigmas) + (self.policy.cache == "clean_pass")


WAN: dict[str, Decoder] = {"wan": WAN_2_1, "tiny": TAEW_2_1}
TOY: dict[str, Decoder] = {"wan": toy_wan(), "tiny": toy_taehv()}
AT_25, AT_16 = ChunkClock(25, 3, 4), ChunkClock(16, 2, 4)

_SPEECH = AudioConfig(
    dim=12 * 768, tokens_per_latent=4, hidden_dim=1536, context_tokens=32, context_dim=768
)
_TM = Measured("tm-18b", tm_18b(), NATIVE_2_STEP, AT_25, (512, 512), WAN, bar_ms=480.0)
_REALVIDEO = Measured(
    "realvideo-2step",
    wan22_s2v_14b(),
    REALVIDEO_2_STEP,
    AT_16,
    (640, 480),
    WAN,
    bar_ms=400.0,
    bar_with=("compile", "fp8"),
)
_TOY_DIT = replace(
    tm_18b(), dim=96, ffn_dim=160, num_layers=4, num_heads=2, text_dim=48, image_dim=56,
    audio=AudioConfig(24, 4, hidden_dim=96, context_tokens=4, context_dim=32),
)  # fmt: skip

_TOY_S2V = replace(
    wan22_s2v_14b(), dim=96, ffn_dim=160, num_layers=4, num_heads=2, text_dim=48,
    s2v=S2VConfig(audio_dim=20, audio_layers=5, inject_layers=(0, 2)),
)  # fmt: skip

PROFILES = {
    each.name: each
    for each in (
        _TM,
        _REALVIDEO,
        # a text-to-video model of this size with audio layers: what it would cost, not a checkpoint
        replace(
            _TM, name="wan2.1-t2v-1.3b", model=replace(wan21_t2v_1_3b(), audio=_SPEECH), bar_ms=None
        ),
        Measured(
            "tiny", tiny(VAEConfig().latent_channels, 96), NATIVE_2_STEP, AT_25, (256, 256),
            {"own": VAEConfig()}, toy=True,
        ),
        replace(
            _TM, name="toy-tm", toy=True, bar_ms=None, size=(128, 128), decoders=TOY,
            model=_TOY_DIT,
            text_tokens=32, image_tokens=17,
        ),
        replace(
            _REALVIDEO, name="toy-realvideo", toy=True, bar_ms=None, size=(128, 96), decoders=TOY,
            model=_TOY_S2V, text_tokens=32,
        ),
    )
}  # fmt: skip
"""By name. Weights are random: the numbers of a forward do not hang on them."""
