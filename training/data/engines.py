"""Speech engines by name."""

from collections.abc import Sequence

from training.data.speech import SpeechEngine


def load_engines(names: Sequence[str]) -> list[SpeechEngine]:
    """Engines by name: hibari, espeak, piper, flite; one given twice is heard twice as often."""
    made: dict[str, SpeechEngine] = {}
    for name in names:
        if name not in made:
            made[name] = _engine(name)
    return [made[name] for name in names]


def _engine(name: str) -> SpeechEngine:
    # Imported when asked for: each engine needs packages or libraries of its own.
    if name == "hibari":
        from training.data.hibari_engine import HibariEngine

        return HibariEngine()
    if name == "espeak":
        from training.data.espeak_engine import EspeakEngine

        return EspeakEngine()
    if name == "piper":
        from training.data.piper_engine import PiperEngine

        return PiperEngine()
    if name == "flite":
        from training.data.flite_engine import FliteEngine

        return FliteEngine()
    raise ValueError(f"no engine {name!r}; there are hibari, espeak, piper and flite")
