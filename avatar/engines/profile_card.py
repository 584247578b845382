"""A folder of converted weights becomes a profile: what the files say, and what was chosen."""

from dataclasses import dataclass
from pathlib import Path

from avatar.cast.profiles import CARD, OWN, Profile, Recipe, check_profile, write_profile
from avatar.engines.hearing import hearing_of
from avatar.errors import CorruptFile, InvalidInput, NotFound
from avatar.models.checkpoints import preset_of
from avatar.models.dit import DiTConfig
from avatar.models.wav2vec2 import Wav2Vec2Config
from avatar.models.weights import Header, config_of, read_header
from avatar.sampling.policy import POLICIES
from avatar.timebase import ChunkClock

FRAMES_PER_LATENT = 4
LARGE_BYTES = 8 << 30
"""A DiT of such a size keeps one GPU busy with one session (docs/performance.md)."""
DIT, SPEECH, DECODER, TINY_DECODER = "dit", "wav2vec2", "vae", "tiny_vae"
"""What `python -m avatar convert` calls the files, less `.safetensors`."""


@dataclass(frozen=True)
class Stream:
    """How a policy's models were taught to hear and to move, and a picture that suits them."""

    fps: int
    hearing: Recipe
    height: int
    width: int


STREAMS = {
    "native": Stream(25, "native", 512, 512),
    "realvideo-2step": Stream(16, "s2v", 640, 480),
    "realvideo-4step": Stream(16, "s2v", 640, 480),
    "liveavatar-4step": Stream(25, "s2v", 704, 384),
}
"""By the policy's name."""


@dataclass(frozen=True)
class Chosen:
    """What the files leave open; None and empty are what suits the weights."""

    policy: str = ""
    height: int | None = None
    width: int | None = None
    decoder: str = DECODER
    hold_back_frames: int = 1
    slots: int | None = None
    ready_s: int | None = None


def make_card(folder: Path, chosen: Chosen) -> Profile:
    """Write the profile of a folder into it, once the files in it fit together.

    Raises:
        NotFound: A file is missing; the message names the preset to convert.
        CorruptFile: Two files are not for one another.
        InvalidInput: What was chosen cannot be.
    """
    dit = _header(folder, DIT, "realvideo, tm-18b or another DiT that hears speech")
    policy = _policy(dit, chosen.policy)
    stream = STREAMS[policy]
    _check_speech(dit, _header(folder, SPEECH, "wav2vec2-base or wav2vec2-large-xlsr"), stream)
    _header(folder, DECODER, "wan2.1-vae")
    _header(folder, chosen.decoder, "taew2.1")
    latents = POLICIES[policy].chunk_latents
    profile = Profile(
        folder.name,
        ChunkClock(stream.fps, latents, FRAMES_PER_LATENT),
        POLICIES[policy],
        chosen.height or stream.height,
        chosen.width or stream.width,
        folder.absolute(),
        folder.absolute() / OWN,
        hearing=stream.hearing,
        hold_back_frames=chosen.hold_back_frames,
        dit=DIT,
        decoder=chosen.decoder,
        audio_encoder=SPEECH,
        slots=_slots(dit) if chosen.slots is None else chosen.slots,
        ready_s=chosen.ready_s,
    )
    try:
        check_profile(profile)
    except ValueError as error:
        raise InvalidInput(f"{folder / CARD} is not written: {error}") from error
    write_profile(profile)
    return profile


def _slots(dit: Header) -> int | None:
    """None is what any machine is asked to take."""
    return 1 if dit.path.stat().st_size >= LARGE_BYTES else None


def _header(folder: Path, name: str, presets: str) -> Header:
    try:
        return read_header(folder / f"{name}.safetensors")
    except NotFound as error:
        raise NotFound(
            f"{folder} has no {name}.safetensors: `python -m avatar convert --dst {folder} "
            f"--src … --preset …` with {presets}, see docs/checkpoints.md"
        ) from error


def _policy(dit: Header, wish: str) -> str:
    fitting = [name for name in preset_of(dit.preset).policies if name in STREAMS]
    if not fitting:
        raise InvalidInput(f"{dit.path} is {dit.preset}, which no policy makes a call of yet")
    if wish and wish not in fitting:
        raise InvalidInput(f"policy {wish!r}: {dit.preset} has {', '.join(fitting)}")
    return wish or fitting[0]


def _check_speech(dit: Header, speech: Header, stream: Stream) -> None:
    """Raises CorruptFile where the DiT was not taught with features of this width."""
    network = config_of(Wav2Vec2Config, speech)
    states = network.num_layers + (stream.hearing == "s2v")  # that recipe takes all of them
    wanted = hearing_of(config_of(DiTConfig, dit)).dim
    if states * network.dim != wanted:
        raise CorruptFile(
            f"{speech.path} is {speech.preset}, of {states} states of {network.dim} features; "
            f"{dit.path} hears {wanted}: convert the other wav2vec2 into this folder"
        )
