"""The designed cast: who the characters are, how they speak and how they move."""

from dataclasses import dataclass

from avatar.errors import NotFound


@dataclass(frozen=True)
class Voice:
    """Speech rate and pitch, both factors of the speech engine's own voice.

    `pitch` is applied by resampling; the engine is asked for `speed / pitch`, so that the
    tempo heard is `speed`.
    """

    speed: float
    pitch: float


@dataclass(frozen=True)
class Temperament:
    """How lively a face is at rest."""

    blinks_per_minute: float
    sway: float
    """Factor on head movement; 1.0 is calm conversation."""
    brow_range: float
    """Largest brow movement, 0 to 1."""
    smile: float
    """Mean smile, 0 to 1."""


@dataclass(frozen=True)
class Character:
    id: str
    display_name: str
    description: str
    persona: str
    """System prompt of the chat model."""
    voice: Voice
    temperament: Temperament
    seed: int
    """Seed of this character's movements, and of the small details of the drawing."""


_BRIEFLY = "Answer in one or two short sentences, in plain spoken English."

CAST: tuple[Character, ...] = (
    Character(
        id="mira",
        display_name="Mira",
        description="A warm museum guide of about thirty with long chestnut waves.",
        persona=f"You are Mira, a warm and curious museum guide. {_BRIEFLY}",
        voice=Voice(speed=1.0, pitch=1.0),
        temperament=Temperament(blinks_per_minute=17.0, sway=0.35, brow_range=0.6, smile=0.38),
        seed=101,
    ),
    Character(
        id="otto",
        display_name="Otto",
        description="A retired clockmaker with silver hair, a trimmed beard and round glasses.",
        persona=f"You are Otto, a patient retired clockmaker with dry humour. {_BRIEFLY}",
        voice=Voice(speed=0.93, pitch=0.76),
        temperament=Temperament(blinks_per_minute=14.0, sway=0.26, brow_range=0.5, smile=0.25),
        seed=202,
    ),
    Character(
        id="zuri",
        display_name="Zuri",
        description="An upbeat astronomer with dark curls, gold earrings and a marigold blouse.",
        persona=f"You are Zuri, an upbeat astronomer who loves clear explanations. {_BRIEFLY}",
        voice=Voice(speed=1.04, pitch=0.93),
        temperament=Temperament(blinks_per_minute=18.0, sway=0.4, brow_range=0.7, smile=0.45),
        seed=303,
    ),
    Character(
        id="finn",
        display_name="Finn",
        description="A freckled student with tousled copper hair and a green hoodie.",
        persona=f"You are Finn, an easy-going student who likes to help. {_BRIEFLY}",
        voice=Voice(speed=1.08, pitch=0.85),
        temperament=Temperament(blinks_per_minute=20.0, sway=0.39, brow_range=0.55, smile=0.32),
        seed=404,
    ),
    Character(
        id="hana",
        display_name="Hana",
        description="A potter of seventy with a silver bun, red glasses and a plum roll-neck.",
        persona=f"You are Hana, a calm potter of seventy who speaks plainly and kindly. {_BRIEFLY}",
        voice=Voice(speed=0.92, pitch=1.04),
        temperament=Temperament(blinks_per_minute=13.0, sway=0.26, brow_range=0.45, smile=0.34),
        seed=505,
    ),
    Character(
        id="arjun",
        display_name="Arjun",
        description="A schoolteacher with a russet turban, a full dark beard and a grey jacket.",
        persona=f"You are Arjun, a schoolteacher who makes hard things simple. {_BRIEFLY}",
        voice=Voice(speed=1.0, pitch=0.80),
        temperament=Temperament(blinks_per_minute=16.0, sway=0.34, brow_range=0.65, smile=0.36),
        seed=606,
    ),
    Character(
        id="layla",
        display_name="Layla",
        description="A bridge engineer of thirty with a sea-green headscarf.",
        persona=f"You are Layla, a bridge engineer who likes exact answers. {_BRIEFLY}",
        voice=Voice(speed=1.03, pitch=0.97),
        temperament=Temperament(blinks_per_minute=18.0, sway=0.34, brow_range=0.6, smile=0.36),
        seed=707,
    ),
    Character(
        id="ember",
        display_name="Ember",
        description="A fox in a green roll-neck, with amber eyes and white cheeks.",
        persona=f"You are Ember, a quick-witted fox who tells short stories. {_BRIEFLY}",
        voice=Voice(speed=1.06, pitch=1.08),
        temperament=Temperament(blinks_per_minute=12.0, sway=0.42, brow_range=0.7, smile=0.4),
        seed=808,
    ),
    Character(
        id="pixel",
        display_name="Pixel",
        description="A round-headed robot whose face shines on a dark screen.",
        persona=f"You are Pixel, a cheerful household robot, precise and polite. {_BRIEFLY}",
        voice=Voice(speed=1.05, pitch=1.15),
        temperament=Temperament(blinks_per_minute=10.0, sway=0.38, brow_range=0.8, smile=0.5),
        seed=909,
    ),
)
"""Who the shipped weights show; the first is the default."""

DEFAULT_CHARACTER = CAST[0]


def character_of(character_id: str) -> Character:
    """The member of `CAST` with this id.

    Raises:
        NotFound: If there is none.
    """
    for character in CAST:
        if character.id == character_id:
            return character
    known = ", ".join(character.id for character in CAST)
    raise NotFound(f"no character {character_id!r}; there are: {known}")
