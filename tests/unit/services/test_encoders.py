"""Encoded sound and pictures: exact times, repairable sound, whole pictures, few new rates."""

import av
import numpy as np
import pytest

from avatar.timebase import TICKS_PER_SECOND
from services.gateway.encoders import (
    OPUS_AHEAD,
    Bitrates,
    PictureEncoder,
    RateControl,
    SoundEncoder,
)
from services.gateway.media import BLOCK_SAMPLES, BLOCK_TICKS, PLAYED_RATE, Block, Picture
from services.gateway.sdp import PictureCodec
from tests.fakes.calls import ManualClock

pytestmark = pytest.mark.unit

CODECS: tuple[PictureCodec, ...] = ("VP8", "H264")
BITRATES = Bitrates.of(256, 256)


def voiced(num_blocks: int, at: int = 0) -> list[Block]:
    """Something like a voice: harmonics of a pitch that rises and falls, and swells."""
    time = np.arange(num_blocks * BLOCK_SAMPLES) / PLAYED_RATE
    phase = 2 * np.pi * np.cumsum(120 + 60 * np.sin(2 * np.pi * 0.7 * time)) / PLAYED_RATE
    sound = np.array([np.sin(k * phase) / k for k in range(1, 12)]).sum(0)
    sound *= 4000 * (1 + np.sin(2 * np.pi * 4 * time))
    parts = sound.astype(np.int16).reshape(num_blocks, BLOCK_SAMPLES)
    return [Block(at + i * BLOCK_TICKS, part, ()) for i, part in enumerate(parts)]


def picture(at: int, seed: int = 0, size: int = 64) -> Picture:
    noise = np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)
    return Picture(at, noise)


def test_a_packet_of_sound_has_its_block_s_time_even_where_the_clock_jumps() -> None:
    encoder = SoundEncoder()
    blocks = [*voiced(3, at=4800), *voiced(2, at=960_000)]
    packets = [encoder.encode(block) for block in blocks]
    assert [packet.pts for packet in packets] == [block.at for block in blocks]
    assert {packet.time_base.denominator for packet in packets} == {PLAYED_RATE}


def test_sound_comes_out_of_the_decoder_as_late_as_is_reported() -> None:
    encoder, decoder = SoundEncoder(), av.CodecContext.create("libopus", "r")
    decoder.format, decoder.layout, decoder.sample_rate = "s16", "mono", PLAYED_RATE
    blocks = voiced(50)
    sound = np.concatenate([block.sound for block in blocks]).astype(float)
    frames = [frame for block in blocks for frame in decoder.decode(encoder.encode(block))]
    heard = np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(float)
    likeness = [heard[9600 + lag : 38_400 + lag] @ sound[9600:38_400] for lag in range(800)]
    assert abs(int(np.argmax(likeness)) - OPUS_AHEAD) <= PLAYED_RATE // 1000


def test_sound_is_one_channel_that_can_repair_a_lost_packet() -> None:
    encoder = SoundEncoder()
    packets = [bytes(encoder.encode(block)) for block in voiced(50)]
    assert {packet[0] >> 2 & 1 for packet in packets} == {0}  # RFC 6716 3.1: mono
    assert {packet[0] >> 3 for packet in packets[10:]} <= set(range(16))  # not CELT alone
    # RFC 6716 4.2.3: voice activity of the frame, then whether it carries the one before
    assert sum(packet[1] >> 6 & 1 for packet in packets) > 30


@pytest.mark.parametrize("codec", CODECS)
def test_a_packet_of_a_picture_has_its_time(codec: PictureCodec) -> None:
    encoder = PictureEncoder(codec)
    ats = [1920 * n for n in (0, 1, 2, 500)]
    packets = [encoder.encode(picture(at), 500_000, is_whole=False) for at in ats]
    assert [packet and packet.pts for packet in packets] == [at * 90_000 // 48_000 for at in ats]


@pytest.mark.parametrize("codec", CODECS)
def test_a_whole_picture_is_decoded_by_who_has_seen_none(codec: PictureCodec) -> None:
    encoder = PictureEncoder(codec)
    for n in range(3):
        encoder.encode(picture(1920 * n, n), 2_000_000, is_whole=False)
    asked = picture(1920 * 3, 3)
    part = encoder.encode(picture(1920 * 4, 4), 2_000_000, is_whole=False)
    whole = encoder.encode(asked, 2_000_000, is_whole=True)
    assert part is not None and whole is not None  # noqa: PT018
    decoder = av.CodecContext.create("libvpx" if codec == "VP8" else "h264", "r")
    decoder.flags |= av.codec.context.Flags.low_delay
    frames = decoder.decode(av.Packet(bytes(whole))) + decoder.decode(None)
    (shown,) = [frame.to_ndarray(format="gray").astype(float) for frame in frames]
    assert np.corrcoef(shown.ravel(), asked.pixels.mean(2).ravel())[0, 1] > 0.6
    if codec == "VP8":
        assert bytes(part)[0] & 1  # RFC 6386 9.1: 1 is an interframe
        assert not bytes(whole)[0] & 1


@pytest.mark.parametrize("fps", [16, 25])
@pytest.mark.parametrize("codec", CODECS)
def test_the_rate_is_one_of_seconds_not_of_pictures(codec: PictureCodec, fps: int) -> None:
    encoder, rng = PictureEncoder(codec, fps), np.random.default_rng(0)
    sizes = []
    for n in range(4 * fps):
        pixels = rng.integers(0, 255, (128, 128, 3), np.uint8)  # all that may be sent is needed
        packet = encoder.encode(Picture(n * 48_000 // fps, pixels), 500_000, is_whole=False)
        sizes.append(packet.size if packet is not None else 0)
    assert 8 * sum(sizes[2 * fps :]) / 2 == pytest.approx(500_000, rel=0.15)


def test_a_new_rate_or_size_begins_with_a_whole_picture() -> None:
    encoder = PictureEncoder("VP8")
    given = [(picture(0), 500_000), (picture(1920), 500_000), (picture(3840), 400_000)]
    given.append((picture(5760, size=96), 400_000))
    packets = [encoder.encode(each, rate, is_whole=False) for each, rate in given]
    assert [bytes(packet)[0] & 1 for packet in packets if packet is not None] == [0, 1, 0, 0]


def test_larger_pictures_start_at_more() -> None:
    assert BITRATES == Bitrates(200_000, 1_000_000, 2_000_000)
    assert Bitrates.of(512, 512).start == 2_000_000


class Network:
    """A rate control and what happens to it, a step a second."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.control = RateControl(BITRATES, self.clock)

    def second(self, sent: int, estimate: int) -> int:
        """`sent` bits went out, in 25 packets; then an estimate comes."""
        for _ in range(25):
            self.clock.now += 1 / 24
            self.control.sent(sent // 8 // 25)
        self.control.on_estimate(estimate)
        return self.control.bits_per_s


def test_an_estimate_above_what_calm_pictures_need_changes_nothing() -> None:
    network = Network()
    rates = {network.second(100_000, 160_000) for _ in range(20)}
    assert rates == {BITRATES.start}


def test_a_congested_network_lowers_the_rate_at_once_and_not_without_end() -> None:
    network = Network()
    assert network.second(900_000, 500_000) == 500_000
    assert network.second(500_000, 50_000) == BITRATES.least


def test_small_changes_leave_the_encoder_alone() -> None:
    network = Network()
    network.second(900_000, 500_000)
    rates = {network.second(400_000, estimate) for estimate in (510_000, 560_000, 600_000) * 5}
    assert rates == {500_000}


def test_the_rate_rises_again_when_more_gets_through() -> None:
    network = Network()
    network.second(900_000, 300_000)
    rates = [network.second(300_000, 450_000) for _ in range(6)]
    assert rates[2] == 300_000  # not before five seconds have passed
    assert rates[-1] == 450_000
    assert [network.second(450_000, 90_000_000) for _ in range(6)][-1] == BITRATES.most


def test_ticks_are_the_samples_of_played_sound() -> None:
    assert TICKS_PER_SECOND == PLAYED_RATE  # SoundEncoder takes `at` for a sample's number
