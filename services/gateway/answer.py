"""One answer of a call: its sentences, what was heard of it, and how long each stage took."""

from dataclasses import dataclass, field, replace

from avatar.media import CueName, TimedCue, Word
from services.gateway.live_timeline import LaidChunk
from services.gateway.media import PLAYED_RATE

STAGES = (
    "end of turn",
    "recognition",
    "chat and voice",
    "next chunk",
    "generation",
    "playout",
)
"""From the end of the caller's speech to the first sound; docs/latency.md says what each is."""


@dataclass(frozen=True)
class Heard:
    """What was heard of an answer: its words, and so many seconds of its sound."""

    response_id: str
    text: str
    position_s: float


@dataclass(frozen=True)
class Sentence:
    """`start` is where its audio begins in the answer, in samples at 48 kHz."""

    start: int
    text: str
    words: tuple[Word, ...]
    cues: tuple[TimedCue, ...] = ()

    def heard(self, position: int) -> str:
        """Its words of which at least half was played when the answer stood at `position`."""
        played_s = (position - self.start) / PLAYED_RATE
        return " ".join(w.text for w in self.words if (w.start_s + w.end_s) / 2 <= played_s)


@dataclass
class Marks:
    """Instants of one turn on the gateway's clock, in seconds, in the order in which they come."""

    speech_end: float
    instants: list[float] = field(default_factory=list)

    def reach(self, stage: str, now: float) -> None:
        """Stage `stage` is done, unless it was before; whatever is missing before it took none."""
        index = STAGES.index(stage)
        while len(self.instants) < index:
            self.instants.append(self.instants[-1] if self.instants else self.speech_end)
        if len(self.instants) == index:
            before = self.instants[-1] if self.instants else self.speech_end
            self.instants.append(max(now, before))

    def stages_ms(self) -> list[tuple[str, float]]:
        """How long each stage took, as far as they are done."""
        begun = [self.speech_end, *self.instants]
        return [
            (name, 1000 * (end - start))
            for name, start, end in zip(STAGES, begun, self.instants, strict=False)
        ]


@dataclass
class Answer:
    """An answer that is being made or heard."""

    id: str
    epoch: int
    marks: Marks | None
    sentences: list[Sentence] = field(default_factory=list)
    num_announced: int = 0  # sentences that have begun to sound
    waiting_cues: list[tuple[int, CueName]] = field(default_factory=list)  # and where they are due
    models: tuple[str, ...] = ()
    is_complete: bool = False
    is_heard: bool = False  # its first sample was played
    failure: str = ""
    is_callers: bool = False  # its sound comes from the caller's program

    def add(self, sentence: Sentence) -> None:
        """One more; its sound comes after it."""
        self.sentences.append(sentence)
        self.waiting_cues += (
            (sentence.start + round(cue.start_s * PLAYED_RATE), cue.name) for cue in sentence.cues
        )

    def take_cues(self, chunk: LaidChunk) -> list[CueName]:
        """What is due in the chunk, and not before it."""
        end = chunk.position + chunk.num_spoken
        if chunk.ends_reply:
            end += 1  # one after the last word
        due = [name for at, name in self.waiting_cues if at < end]
        self.waiting_cues = [each for each in self.waiting_cues if each[0] >= end]
        return due

    def spread(self, end: int) -> None:
        """Give the last sentence times of its words, where it has none: evenly, up to `end`."""
        if self.sentences and not self.sentences[-1].words:
            last = self.sentences[-1]
            seconds = max(0, end - last.start) / PLAYED_RATE
            self.sentences[-1] = replace(last, words=evenly(last.text, seconds))

    @property
    def text(self) -> str:
        return " ".join(sentence.text for sentence in self.sentences)

    def heard(self, position: int) -> str:
        """The words that were played when the answer stood at `position` samples."""
        return " ".join(filter(None, (each.heard(position) for each in self.sentences)))

    def begun(self, position: int) -> list[Sentence]:
        """Sentences that have begun to sound since this was last asked."""
        new = [each for each in self.sentences[self.num_announced :] if each.start < position]
        self.num_announced += len(new)
        return new


def evenly(text: str, seconds: float) -> tuple[Word, ...]:
    """The words of a text over so much sound, each as long as it has letters: a guess."""
    words = text.split()
    num_letters = sum(map(len, words))
    found: list[Word] = []
    at = 0
    for word in words:
        begin, at = at, at + len(word)
        found.append(Word(word, seconds * begin / num_letters, seconds * at / num_letters))
    return tuple(found)
