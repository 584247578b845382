"""Offers: those of real browsers are taken, others refused by an error that names the fix."""

import re
from collections.abc import Callable

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avatar.errors import InvalidInput, TooLarge
from services.gateway.sdp import Offer, read_offer
from tests.fakes.offers import REAL, gone_wrong

pytestmark = pytest.mark.unit

CHROMIUM = REAL["chromium-microphone"].decode()
FIREFOX = REAL["firefox-listening"].decode()
MAX_BYTES = 64 << 10


def read(text: str) -> Offer:
    return read_offer(text.encode(), MAX_BYTES)


def section(text: str, kind: str) -> str:
    found = re.search(rf"m={kind} .*?(?=m=|\Z)", text, re.DOTALL)
    assert found is not None
    return found[0]


def without(pattern: str) -> Callable[[str], str]:
    return lambda text: re.sub(rf"(?m)^{pattern}.*\r\n", "", text)


@pytest.mark.parametrize("name", REAL)
def test_the_offers_of_real_browsers_are_taken(name: str) -> None:
    offer = read_offer(REAL[name], MAX_BYTES)
    media = SessionDescription.parse(offer.sdp).media
    assert [each.kind for each in media] == ["audio", "video", "application"]
    assert [codec.name for codec in media[0].rtp.codecs] == ["opus"]
    assert [codec.name for codec in media[1].rtp.codecs] == ["VP8", "rtx"]
    assert offer.picture_codec == "VP8"
    assert offer.is_firefox == ("firefox" in name)


def test_a_microphone_is_taken_and_a_camera_is_not() -> None:
    with_camera = re.sub(r"a=recvonly", "a=sendrecv", CHROMIUM)
    audio, video, _ = SessionDescription.parse(read(with_camera).sdp).media
    assert (audio.direction, video.direction) == ("sendrecv", "recvonly")


def test_candidates_are_kept_apart_and_names_are_not_looked_up() -> None:
    offer = read(CHROMIUM)
    assert "a=candidate" not in offer.sdp
    assert {candidate.ip for candidate in offer.candidates} == {"192.0.2.2", "fd00::2"}
    assert {candidate.protocol for candidate in offer.candidates} == {"udp"}
    assert read(FIREFOX).candidates == ()


def test_h264_is_used_where_vp8_is_not_offered() -> None:
    assert read(CHROMIUM.replace("VP8/90000", "VP5/90000")).picture_codec == "H264"


def test_the_transport_is_that_of_the_first_bundled_section() -> None:
    """Sections may name transports of their own; the answer puts all on one."""
    video = section(CHROMIUM, "video")
    other = re.sub(r"a=ice-ufrag:.*", "a=ice-ufrag:other\r", video)
    sdp = read(CHROMIUM.replace(video, other)).sdp
    assert set(re.findall(r"a=ice-ufrag:(\S+)", sdp)) == set(
        re.findall(r"a=ice-ufrag:(\S+)", section(CHROMIUM, "audio"))
    )


def test_a_header_extension_that_fits_no_packet_is_left_out() -> None:
    uri = "urn:ietf:params:rtp-hdrext:sdes:mid"
    sdp = read(re.sub(rf"a=extmap:\d+ {uri}", f"a=extmap:200 {uri}", CHROMIUM)).sdp
    assert "sdes:mid" not in sdp
    assert "ssrc-audio-level" in sdp


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: "", "SDP"),
        (lambda text: "hello", "SDP"),
        (lambda text: text.replace("v=0", "v=1"), "SDP"),
        (lambda text: text.replace("s=-", "s=\0"), "SDP"),
        (lambda text: text.replace("rtpmap:111 opus/48000/2", "rtpmap:opus"), "does not parse"),
        (lambda text: text.replace(section(text, "audio"), ""), "addTransceiver('audio')"),
        (lambda text: text.replace(section(text, "video"), ""), "addTransceiver('video')"),
        (lambda text: text + section(text, "video"), "one audio, one video"),
        (lambda text: text.replace("m=application", "m=message"), "one audio, one video"),
        (lambda text: text.replace("a=mid:1", "a=mid:0"), "a=mid"),
        (lambda text: text.replace("a=mid:1", "a=mid:" + "1" * 17), "a=mid"),
        (without("a=mid"), "a=mid"),
        (without("a=group:BUNDLE"), "BUNDLE"),
        (lambda text: text.replace("BUNDLE 0 1 2", "BUNDLE 0 1"), "BUNDLE"),
        (without("a=ice-ufrag"), "a=ice-ufrag"),
        (without("a=ice-pwd"), "a=ice-pwd"),
        (lambda text: re.sub("a=ice-pwd:.*", "a=ice-pwd:short\r", text), "a=ice-pwd"),
        (lambda text: text.replace("t=0 0", "t=0 0\r\na=ice-lite"), "ice-lite"),
        (without("a=fingerprint"), "a=fingerprint"),
        (lambda text: text.replace("fingerprint:sha-256", "fingerprint:md5"), "a=fingerprint"),
        (without("a=setup"), "a=setup"),
        (without("a=rtcp-mux"), "a=rtcp-mux"),
        (lambda text: text.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), "UDP/TLS/RTP/SAVPF"),
        (lambda text: text.replace("UDP/DTLS/SCTP", "DTLS/SCTP"), "UDP/DTLS/SCTP"),
        (lambda text: text.replace("a=recvonly", "a=sendonly"), "a=recvonly"),
        (lambda text: text.replace("a=recvonly", "a=inactive"), "a=recvonly"),
        (lambda text: text.replace("opus/48000", "opium/48000"), "Opus"),
        (lambda text: re.sub("VP8/|H264/", "X/", text), "VP8"),
        (lambda text: text.replace("packetization-mode=1", "packetization-mode"), "a=fmtp"),
        (lambda text: text.replace("sctp-port:5000", "sctp-port:0"), "a=sctp-port"),
        (lambda text: text.replace("message-size:262144", "message-size:9"), "max-message-size"),
    ],
)
def test_what_is_wrong_with_an_offer_is_named(change: Callable[[str], str], says: str) -> None:
    changed = change(CHROMIUM)
    assert changed != CHROMIUM
    with pytest.raises(InvalidInput, match=re.escape(says)):
        read(changed)


@pytest.mark.parametrize(
    "body",
    [
        CHROMIUM + "a=x\r\n" * 20_000,
        CHROMIUM + "a=x\r\n" * 1000,
        CHROMIUM + "a=" + "x" * 2000,
        CHROMIUM.replace(
            "a=mid:2\r\n",
            "a=mid:2\r\n" + "a=candidate:1 1 udp 1 192.0.2.2 9 typ host\r\n" * 200,
        ),
    ],
    ids=["bytes", "lines", "line", "candidates"],
)
def test_what_is_too_much_is_said_to_be(body: str) -> None:
    with pytest.raises(TooLarge):
        read(body)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidInput, match="UTF-8"):
        read_offer(b"v=0\r\n\xff\xfe", MAX_BYTES)


def check(body: bytes) -> None:
    """Either an offer that parses again, or one of our errors."""
    try:
        offer = read_offer(body, MAX_BYTES)
    except InvalidInput:
        return
    assert len(SessionDescription.parse(offer.sdp).media) in (2, 3)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    check(body)


@given(st.integers(0, 2**32))
@example(2404)  # a section without a=mid
@settings(max_examples=400, deadline=None)
def test_no_offer_gone_wrong_raises_anything_else(seed: int) -> None:
    check(gone_wrong(seed))
