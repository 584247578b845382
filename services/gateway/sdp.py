"""Checks a caller's SDP offer and writes it anew: only what was understood here reaches aiortc."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Literal

from aiortc import RTCIceCandidate
from aiortc.codecs import CODECS, HEADER_EXTENSIONS, is_rtx
from aiortc.rtcdtlstransport import X509_DIGEST_ALGORITHMS, RTCDtlsParameters
from aiortc.rtcicetransport import RTCIceParameters
from aiortc.rtcpeerconnection import find_common_codecs
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpParameters
from aiortc.rtcsctptransport import RTCSctpCapabilities
from aiortc.rtp import DYNAMIC_PAYLOAD_TYPES
from aiortc.sdp import GroupDescription, MediaDescription, SessionDescription

from avatar.errors import InvalidInput, TooLarge

PictureCodec = Literal["VP8", "H264"]

MAX_LINES: Final = 1000
MAX_LINE_CHARACTERS: Final = 1024
MAX_CANDIDATES: Final = 128
MAX_USED_CANDIDATES: Final = 16
MAX_FINGERPRINTS: Final = 8
MIN_MESSAGE_BYTES: Final = 16 << 10
RTP_PROFILE: Final = "UDP/TLS/RTP/SAVPF"
EVENTS_PROFILE: Final = "UDP/DTLS/SCTP"
RECEIVING: Final = ("sendrecv", "recvonly")

_MID = re.compile(r"[A-Za-z0-9_-]{1,16}")
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class Offer:
    """What a caller offers.

    `sdp` holds no candidates: a caller's checks find us, ours are not needed unless a relay stands
    between. `candidates` are the ones that could be used then.
    """

    sdp: str
    picture_codec: PictureCodec
    candidates: tuple[RTCIceCandidate, ...]
    is_firefox: bool


def read_offer(body: bytes, max_bytes: int) -> Offer:
    """The offer in the body of a caller's request.

    Raises:
        TooLarge: It has more than `max_bytes`.
        InvalidInput: It is no offer of a two-way call; the message names what to offer instead.
    """
    offered = _parsed(_text(body, max_bytes))
    return _checked(offered, _sections(offered), "VP8")


def read_viewer_offer(body: bytes, max_bytes: int, codec: PictureCodec) -> Offer:
    """The same, of somebody who only watches; `codec` is taken where it is offered.

    Raises:
        TooLarge: As `read_offer`.
        InvalidInput: As `read_offer`, or there is a data channel in it.
    """
    offered = _parsed(_text(body, max_bytes))
    sections = _sections(offered)
    if "application" in sections:
        raise InvalidInput("who watches has no data channel; offer one audio and one video")
    return _checked(offered, sections, codec)


def _checked(
    offered: SessionDescription, sections: dict[str, MediaDescription], preferred: PictureCodec
) -> Offer:
    primary = _bundled(offered, sections)
    ice, dtls = _ice(primary), _dtls(primary)
    codec, codecs = _picture_codecs(sections["video"], preferred)

    checked = SessionDescription()
    checked.origin = "- 1 1 IN IP4 0.0.0.0"
    checked.group = [GroupDescription("BUNDLE", [media.rtp.muxId for media in sections.values()])]
    for kind, media in sections.items():
        match kind:
            case "audio":
                section = _rtp_section(media, _opus(media))
            case "video":
                section = _rtp_section(media, codecs)
            case _:
                section = _events_section(media)
        section.ice, section.dtls = ice, dtls
        checked.media.append(section)
    return Offer(
        sdp=str(checked),
        picture_codec=codec,
        candidates=_candidates(sections, primary),
        is_firefox=(offered.origin or "").startswith("mozilla"),
    )


def _text(body: bytes, max_bytes: int) -> str:
    if len(body) > max_bytes:
        raise TooLarge(f"an offer of {len(body)} bytes, at most {max_bytes} are read")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("the offer is no UTF-8 text; send RTCSessionDescription.sdp") from error
    lines = text.splitlines()
    if not lines or lines[0] != "v=0" or _CONTROL.search(text):
        raise InvalidInput("the body is no SDP; send RTCSessionDescription.sdp as it stands")
    if len(lines) > MAX_LINES or max(map(len, lines)) > MAX_LINE_CHARACTERS:
        raise TooLarge(
            f"the offer has {len(lines)} lines, the longest of {max(map(len, lines))} characters; "
            f"at most {MAX_LINES} lines of {MAX_LINE_CHARACTERS} characters are read"
        )
    return text


def _parsed(text: str) -> SessionDescription:
    try:
        return SessionDescription.parse(text)
    except Exception as error:  # aiortc's parser raises whatever it trips over
        raise InvalidInput(
            f"the SDP does not parse ({type(error).__name__}); "
            "send RTCSessionDescription.sdp as it stands"
        ) from error


def _sections(offered: SessionDescription) -> dict[str, MediaDescription]:
    """The offer's sections by kind, in the offer's order."""
    sections = {media.kind: media for media in offered.media}
    if len(sections) < len(offered.media) or sections.keys() - {"audio", "video", "application"}:
        kinds = ", ".join(media.kind[:16] for media in offered.media[:8])
        raise InvalidInput(
            f"the offer has the sections {kinds}; offer one audio, one video and at most one "
            "data channel"
        )
    for kind in ("audio", "video"):
        if kind not in sections:
            raise InvalidInput(
                f"the offer has no {kind}; call addTransceiver('{kind}') before createOffer()"
            )
    return sections


def _bundled(
    offered: SessionDescription, sections: dict[str, MediaDescription]
) -> MediaDescription:
    """The section whose transport carries all of them."""
    mids = [media.rtp.muxId or "" for media in sections.values()]
    if len(set(mids)) < len(mids) or not all(_MID.fullmatch(mid) for mid in mids):
        raise InvalidInput("every section needs an a=mid of its own, of at most 16 characters")
    bundle = [group.items for group in offered.group if group.semantic == "BUNDLE"]
    if len(bundle) != 1 or set(bundle[0]) != set(mids):
        raise InvalidInput("all sections must be in one a=group:BUNDLE; one transport carries all")
    return next(media for media in sections.values() if media.rtp.muxId == bundle[0][0])


def _ice(media: MediaDescription) -> RTCIceParameters:
    ice = media.ice
    if ice is None or ice.iceLite:
        raise InvalidInput("the offer says a=ice-lite; a caller has to be a full ICE agent")
    if not _UFRAG.fullmatch(ice.usernameFragment or ""):
        raise InvalidInput("the offer has no usable a=ice-ufrag; 4 to 256 letters and digits")
    if not _PASSWORD.fullmatch(ice.password or ""):
        raise InvalidInput("the offer has no usable a=ice-pwd; 22 to 256 letters and digits")
    return RTCIceParameters(ice.usernameFragment, ice.password)


def _dtls(media: MediaDescription) -> RTCDtlsParameters:
    dtls = media.dtls
    if dtls is None:
        raise InvalidInput("the offer has no a=setup; offer a=setup:actpass")
    usable = [
        fingerprint
        for fingerprint in dtls.fingerprints[:MAX_FINGERPRINTS]
        if _is_digest(fingerprint.algorithm.lower(), fingerprint.value)
    ]
    if not usable:
        raise InvalidInput("the offer has no usable a=fingerprint; sha-256 of the certificate")
    return RTCDtlsParameters(usable, dtls.role)


def _is_digest(algorithm: str, value: str) -> bool:
    digest = X509_DIGEST_ALGORITHMS.get(algorithm)
    return digest is not None and bool(
        re.fullmatch(rf"[0-9A-Fa-f]{{2}}(:[0-9A-Fa-f]{{2}}){{{digest.digest_size - 1}}}", value)
    )


def _common(media: MediaDescription) -> list[RTCRtpCodecParameters]:
    """What both sides can do, with the caller's payload types."""
    offered = [each for each in media.rtp.codecs if each.payloadType in DYNAMIC_PAYLOAD_TYPES]
    try:
        return find_common_codecs(CODECS[media.kind], offered)
    except (TypeError, ValueError) as error:  # a parameter that has no value, or none that it may
        raise InvalidInput(f"an a=fmtp of m={media.kind} is malformed: {error}") from error


def _opus(media: MediaDescription) -> list[RTCRtpCodecParameters]:
    opus = [codec for codec in _common(media) if codec.name.lower() == "opus"]
    if not opus:
        raise InvalidInput("the offer's audio has no Opus; offer opus/48000/2")
    return opus[:1]


def _picture_codecs(
    media: MediaDescription, preferred: PictureCodec
) -> tuple[PictureCodec, list[RTCRtpCodecParameters]]:
    """The preferred codec where it is offered; VP8 costs a third of what H.264 costs to encode."""
    common = _common(media)
    names: tuple[PictureCodec, ...] = ("VP8", "H264") if preferred == "VP8" else ("H264", "VP8")
    for name in names:
        for codec in common:
            if codec.name.upper() == name:
                retransmission = [
                    each
                    for each in common
                    if is_rtx(each) and each.parameters["apt"] == codec.payloadType
                ]
                return name, [codec, *retransmission[:1]]
    raise InvalidInput(
        "the offer's video has neither VP8 nor H.264 with packetization-mode=1; offer one of them"
    )


def _rtp_section(media: MediaDescription, codecs: list[RTCRtpCodecParameters]) -> MediaDescription:
    if media.profile != RTP_PROFILE:
        raise InvalidInput(f"m={media.kind} is {media.profile[:32]}; offer {RTP_PROFILE}")
    if not media.rtcp_mux:
        raise InvalidInput(f"m={media.kind} lacks a=rtcp-mux")
    direction = media.direction or "sendrecv"
    if direction not in RECEIVING:
        raise InvalidInput(
            f"m={media.kind} is a={direction}; offer a=recvonly or a=sendrecv, to see and hear"
        )
    if media.kind == "video":
        direction = "recvonly"  # nobody looks at the caller
    section = MediaDescription(media.kind, 9, RTP_PROFILE, [codec.payloadType for codec in codecs])
    section.host = "0.0.0.0"
    section.direction = direction
    section.rtcp_mux = True
    section.rtcp_port, section.rtcp_host = 9, "0.0.0.0"
    known = {extension.uri for extension in HEADER_EXTENSIONS[media.kind]}
    section.rtp = RTCRtpParameters(
        codecs=codecs,
        headerExtensions=[
            extension
            for extension in media.rtp.headerExtensions
            if extension.uri in known and 1 <= extension.id <= 14
        ],
        muxId=media.rtp.muxId,
    )
    return section


def _events_section(media: MediaDescription) -> MediaDescription:
    if media.profile != EVENTS_PROFILE or media.fmt != ["webrtc-datachannel"]:
        raise InvalidInput(f"m=application is {media.profile[:32]}; offer {EVENTS_PROFILE}")
    port = 5000 if media.sctp_port is None else media.sctp_port
    capabilities = media.sctpCapabilities or RTCSctpCapabilities(64 << 10)
    if not 1 <= port <= 65535:
        raise InvalidInput(f"a=sctp-port:{port} is no port")
    if 0 < capabilities.maxMessageSize < MIN_MESSAGE_BYTES or capabilities.maxMessageSize < 0:
        raise InvalidInput(f"a=max-message-size must be at least {MIN_MESSAGE_BYTES}")
    section = MediaDescription("application", 9, EVENTS_PROFILE, media.fmt)
    section.host = "0.0.0.0"
    section.sctp_port = port
    section.sctpCapabilities = capabilities
    section.rtp.muxId = media.rtp.muxId
    return section


def _candidates(
    sections: dict[str, MediaDescription], primary: MediaDescription
) -> tuple[RTCIceCandidate, ...]:
    count = sum(len(media.ice_candidates) for media in sections.values())
    if count > MAX_CANDIDATES:
        raise TooLarge(f"the offer has {count} candidates, at most {MAX_CANDIDATES} are read")
    usable = [candidate for candidate in primary.ice_candidates if _is_usable(candidate)]
    return tuple(usable[:MAX_USED_CANDIDATES])


def _is_usable(candidate: RTCIceCandidate) -> bool:
    try:
        address = ipaddress.ip_address(candidate.ip)
    except ValueError:
        return False  # a *.local name: finding it out would need multicast
    return (
        candidate.component == 1
        and candidate.protocol.lower() == "udp"
        and candidate.type in ("host", "srflx", "relay")
        and 1 <= candidate.port <= 65535
        and 0 <= candidate.priority < 2**32
        and not (address.is_multicast or address.is_unspecified or address.is_reserved)
    )
