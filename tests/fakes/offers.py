"""SDP offers of real browsers, and the same gone wrong."""

import random
import re
from pathlib import Path

OFFERS = Path(__file__).parent.parent / "data" / "offers"
REAL = {path.stem: path.read_bytes() for path in sorted(OFFERS.glob("*.sdp"))}
NUMBERS = ("-1", "0", "99999999999", "x", "", "1e9", "٣")
LETTERS = " :=/;,.-019azA\r\n\té\u2028"


def without_channel(offer: bytes) -> bytes:
    """The offer, as one makes it who wants no events."""
    text = offer.decode()
    text = text[: text.index("m=application")]
    return re.sub(r"a=group:BUNDLE.*", "a=group:BUNDLE 0 1", text).encode()


def gone_wrong(seed: int) -> bytes:
    """A real offer with some lines or characters changed; the same for the same seed."""
    chance = random.Random(seed)
    text = chance.choice(list(REAL.values())).decode()
    damage = chance.choice([_damage_lines, _damage_letters])
    return damage(text, chance).encode()


def _damage_lines(text: str, chance: random.Random) -> str:
    lines = text.split("\r\n")
    for _ in range(chance.randint(1, 6)):
        i, j = chance.randrange(len(lines)), chance.randrange(len(lines))
        match chance.randrange(5):
            case 0 if len(lines) > 1:
                del lines[i]
            case 1:
                lines[i] = lines[j]
            case 2:
                lines.insert(i, lines[j])
            case 3:
                lines[i] = lines[i][: chance.randrange(len(lines[i]) + 1)]
            case _:
                lines[i] = re.sub(r"\d+", chance.choice(NUMBERS), lines[i], count=1)
    return "\r\n".join(lines)


def _damage_letters(text: str, chance: random.Random) -> str:
    letters = list(text)
    for _ in range(chance.randint(1, 12)):
        letters[chance.randrange(len(letters))] = chance.choice(LETTERS)
    return "".join(letters)
