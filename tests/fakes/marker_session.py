"""A session of the gateway with the marker engines and the marker voice where the graph is."""

from avatar.engines.marker import MarkerAudioEncoder, MarkerScore, MarkerVaeDecoder
from avatar.media import AudioChunk, Chunk, FrameChunk, TurnEvent
from avatar.speech.cues import take_cues, timed_cues
from avatar.speech.marker import MarkerSynthesizer
from avatar.speech.text import sentences
from tests.fakes.live import FakeSession
from tests.fakes.marks import Spec
from tests.fakes.speech import PlainVoice


class MarkerSession(FakeSession):
    """Says what it is told to; a chunk takes `latency_s`, and the stall that it was ordered."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._stall_s = 0.0
        self._encoder = MarkerAudioEncoder(self._stall)
        self._score, self._decoder = MarkerScore(self._stall), MarkerVaeDecoder(self._stall)
        self._heard = self._encoder.init_state(Spec())
        self._ready: FrameChunk | None = None

    async def tell(self, chunk: Chunk) -> None:
        await super().tell(chunk)
        if isinstance(chunk, TurnEvent) and chunk.kind == "text":
            self.say_marks(*sentences(chunk.text), epoch=chunk.stamp.epoch)

    async def send(self, chunk: AudioChunk) -> None:
        plain_s, self._stall_s = self.latency_s, 0.0
        self._ready = self._draw(chunk)
        self.latency_s += self._stall_s
        await super().send(chunk)
        self.latency_s = plain_s

    def say_marks(self, *texts: str, epoch: int = 0) -> None:
        """Sentences with their cues, then the end of the reply."""
        for sentence in texts:
            text, placed = take_cues(sentence)
            speech = MarkerSynthesizer().synthesize(text, PlainVoice())
            stamp, cues = self._stamp(epoch), timed_cues(placed, speech.words)
            self.to_say.put_nowait(TurnEvent(stamp, "reply", text, 0.0, speech.words, cues))
            self.to_say.put_nowait(AudioChunk(stamp, speech.samples, speech.sample_rate))
        self.say("end_of_reply", epoch=epoch)

    def _stall(self, seconds: float) -> None:
        self._stall_s += seconds

    def _draw(self, chunk: AudioChunk) -> FrameChunk:
        """How long a chunk takes is known once it was drawn; it is drawn once."""
        ready, self._ready = self._ready, None
        if ready is not None:
            return ready
        embedding, self._heard = self._encoder.step(chunk, self._heard)
        latents, _ = self._score.step(embedding, None)
        return self._decoder.step(latents, None)[0]
