"""A causal video VAE of 2D convolutions that moves a still reference picture and adds to it.

A latent's first four channels are a dense motion field: where each cell is looked for in the
reference, in the middle of the group and how that changes within it. The others are what the moved
reference lacks. Edges, eyes and hair therefore come from the reference, however the head is turned.

Groups of 4 frames become one latent frame; the first latent of a stream is one frame alone, so
81 frames are 21 latents. On CPU conv3d is several times slower than conv2d: time is folded into
channels at 1/8 of the resolution and into the batch above it, where each frame has its own
features and all share their weights.

The linear path is a principal component analysis of what *differs from the moved reference*. One
of whole pictures spends its components on edges, and none on the mouth's movement within a group.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

GROUP = 4
"""Frames in one latent frame."""
STRIDE = 8
"""Pixels along one side of a latent cell."""
MOTION = 4
"""Channels of the motion field: x, y, and their growth over the group."""
MOTION_PIXELS = (3.0, 3.0, 0.5, 0.5)
"""What 1.0 in them means before latents are normalised."""
REFINED_PIXELS = 3.2
"""What 1.0 of the decoder's own correction means."""
HELD = 0.3
"""Of a group's first frame, the share of the frame before it: each latent has errors of its own,
and without this, frames changed twice as much from group to group as within one."""
SLOPE = 0.1
"""Of the leaky ReLUs: on CPU SiLU took a seventh of the time of a training step."""


@dataclass(frozen=True)
class VAEConfig:
    """Widths, from fine to coarse in the encoder and from coarse to fine in the decoder.

    `latent_channels`: of motion and appearance together.
    `motion_dims`: a frame at 1/4, a frame and the group at 1/8.
    `encoder_dims`: a frame at 1/4, a frame at 1/8, the group at 1/8.
    `decoder_dims`: the group at 1/8, a frame at 1/4, a frame at 1/2.
    """

    latent_channels: int = 40
    motion_dims: tuple[int, int] = (24, 48)
    encoder_dims: tuple[int, int, int] = (32, 64, 96)
    decoder_dims: tuple[int, int, int] = (128, 48, 16)
    reference_dim: int = 64


@dataclass(frozen=True)
class EncoderState:
    """The stream's still reference, (B, 3, H, W); None before its first frame, which it is."""

    reference: Tensor | None = None


@dataclass(frozen=True)
class Reference:
    """The still picture that a stream moves: pixels, and features at 1/8, 1/4 and 1/2."""

    pixels: Tensor
    features: tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class DecoderState:
    """Last latent decoded, None before the first, the stream's reference, and its last frame."""

    last_latent: Tensor | None
    reference: Reference
    last_frame: Tensor | None = None


class Residual(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]  # bias is on

    def forward(self, x: Tensor) -> Tensor:
        return add(x, self.conv2(activate(self.conv1(F.leaky_relu(x, SLOPE)))))


class VAE(nn.Module):
    """Encode and decode chunk by chunk; a decoder's state carries one latent of the past."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        C, r = config.latent_channels, config.reference_dim
        A = C - MOTION
        m4, m8 = config.motion_dims
        e4, e8, e = config.encoder_dims
        d8, d4, d2 = config.decoder_dims
        block = 3 * GROUP * STRIDE * STRIDE
        self.motion_frame = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, m4, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(m4, m8, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
        )
        self.motion_group = nn.Sequential(
            nn.Conv2d((GROUP + 1) * m8, 2 * m8, 3, padding=1),
            Residual(2 * m8),
            Residual(2 * m8),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(2 * m8, MOTION, 3, padding=1),
        )
        self.linear_encode = nn.Linear(block, A, bias=False)
        self.linear_decode = nn.Linear(A, block, bias=False)
        self.encode_frame = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(96, e4, 3, padding=1),
            Residual(e4),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(e4, e8, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
        )
        self.encode_group = nn.Sequential(
            nn.Conv2d(GROUP * e8, e, 1),
            Residual(e),
            Residual(e),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(e, A, 3, padding=1),
        )
        self.reference2 = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, d2, 3, padding=1))
        self.reference4 = nn.Sequential(
            nn.PixelUnshuffle(4), nn.Conv2d(48, r, 3, padding=1), Residual(r)
        )
        self.reference4_out = nn.Conv2d(r, d4, 1)
        self.reference8 = nn.Conv2d(r, d8, 4, stride=2, padding=1)
        self.decoder8 = nn.Sequential(Residual(d8), Residual(d8))
        self.decoder8_in = nn.Conv2d(2 * C, d8, 3, padding=1)
        self.up4 = nn.Linear(d8, GROUP * 4 * d4)
        self.decoder4 = nn.Sequential(Residual(d4))
        self.refine_motion = nn.Conv2d(d4, 2, 3, padding=1)
        self.up2 = nn.Linear(d4, 4 * d2)
        self.to_pixels = nn.Conv2d(d2, 16, 3, padding=1)
        # the linear path alone at first, and the motion as it was coded
        nn.init.zeros_(self.refine_motion.weight)
        nn.init.zeros_(self.refine_motion.bias)  # type: ignore[arg-type]  # bias is on
        nn.init.zeros_(self.to_pixels.weight)
        nn.init.zeros_(self.to_pixels.bias)  # type: ignore[arg-type]  # bias is on
        self.register_buffer("mean", torch.zeros(C))
        self.register_buffer("std", torch.ones(C))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it

    # -- streams ------------------------------------------------------------------------------

    def encode(
        self, frames: Tensor, state: EncoderState, flow: Tensor | None = None
    ) -> tuple[Tensor, EncoderState]:
        """Frames (B, T, 3, H, W) in [-1, 1] -> normalised latents (B, F, C, H/8, W/8).

        T is 1 + 4k at the beginning of a stream, whose first frame is its reference, and 4k after
        it; F is 1 + k, or k. `flow` (B, T, 2, H/8, W/8), in pixels, is the way back to the
        reference where it is known; else it is estimated.
        """
        T, reference = frames.shape[1], state.reference
        if T % GROUP != (1 if reference is None else 0):
            start = "1 + 4k at the beginning of" if reference is None else "4k within"
            raise ValueError(f"{T} frames given, {start} a stream expected")
        if reference is None:
            reference = frames[:, 0]
            frames, flow = whole_groups(frames), None if flow is None else whole_groups(flow)
        groups = frames.unflatten(1, (-1, GROUP))
        stills = reference.repeat_interleave(groups.shape[1], 0)
        motion = None if flow is None else motion_of(flow.unflatten(1, (-1, GROUP)).flatten(0, 1))
        latents = self.encode_groups(groups.flatten(0, 1), stills, motion)
        return latents.unflatten(0, groups.shape[:2]), EncoderState(reference)

    def init_decoder(self, picture: Tensor) -> DecoderState:
        """State at the beginning of a stream whose first frame is `picture`, (B, 3, H, W)."""
        quarter = self.reference4(channels_last(picture))
        features = (
            self.reference8(F.leaky_relu(quarter, SLOPE)),
            self.reference4_out(quarter),
            self.reference2(channels_last(picture)),
        )
        return DecoderState(None, Reference(picture, features))

    def decode(self, latents: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Normalised latents (B, F, C, h, w) -> frames (B, T, 3, 8h, 8w) in about [-1, 1].

        T is 4 F - 3 at the beginning of a stream (its first latent is one frame) and 4 F after it.
        """
        parts, following = self.decode_parts(latents, state)
        return torch.cat(parts, 1), following

    def decode_parts(
        self, latents: Tensor, state: DecoderState
    ) -> tuple[list[Tensor], DecoderState]:
        """`decode`, its frames in pieces as they were made: to join them is to copy them."""
        first = state.last_latent is None
        previous = latents[:, 0] if state.last_latent is None else state.last_latent
        parts, last = [], state.last_frame
        # one latent at a time: a group's features stay in the processor's cache
        for latent in latents.unbind(1):
            group = self.decode_group(latent, previous, state.reference)
            begun = group[:, :1]
            parts += [begun if last is None else torch.lerp(begun, last, HELD), group[:, 1:]]
            previous, last = latent, group[:, -1:]
        if first:  # the first latent is one frame, the last of its group
            parts = [parts[1][:, GROUP - 2 :], *parts[2:]]
        return parts, DecoderState(previous, state.reference, last)

    # -- one group of 4 frames ----------------------------------------------------------------

    def encode_groups(
        self, groups: Tensor, reference: Tensor, motion: Tensor | None = None
    ) -> Tensor:
        """(N, 4, 3, H, W) and (N, 3, H, W) in [-1, 1] -> normalised (N, C, H/8, W/8)."""
        if motion is None:
            motion = self.estimate_motion(groups, reference)
        latents = torch.cat([motion, self.encode_appearance(groups, reference, motion)], 1)
        return (latents - self.mean[:, None, None]) / self.std[:, None, None]

    def estimate_motion(self, groups: Tensor, reference: Tensor) -> Tensor:
        """(N, 4, 3, H, W) and (N, 3, H, W) -> motion channels (N, MOTION, H/8, W/8)."""
        each = self.motion_frame(channels_last(groups.flatten(0, 1)))
        joined = rearrange(each, "(n t) c h w -> n (t c) h w", t=GROUP)
        still = self.motion_frame(channels_last(reference))
        motion: Tensor = self.motion_group(torch.cat([joined, still], 1))
        return motion.float()

    def encode_appearance(self, groups: Tensor, reference: Tensor, motion: Tensor) -> Tensor:
        """What the moved reference lacks: (N, C - MOTION, H/8, W/8)."""
        flow = relative(flow_of(motion).flatten(0, 1))
        lacking = groups - warp(reference, flow).unflatten(0, (-1, GROUP))
        both = torch.cat([groups, lacking], 2).flatten(0, 1)
        each = self.encode_frame(channels_last(both))
        joined = rearrange(each, "(n t) c h w -> n (t c) h w", t=GROUP)
        blocks = rearrange(lacking, "n t c (h p) (w q) -> n h w (t c p q)", p=STRIDE, q=STRIDE)
        linear = rearrange(self.linear_encode(blocks), "n h w c -> n c h w")
        appearance: Tensor = self.encode_group(channels_last(joined)) + linear
        return appearance

    def decode_group(self, latents: Tensor, previous: Tensor, reference: Reference) -> Tensor:
        """Normalised latents and the ones before, (N, C, h, w) -> (N, 4, 3, 8h, 8w)."""
        eighth, quarter, half = reference.features
        moved = latents * self.std[:, None, None] + self.mean[:, None, None]
        change = (latents - previous) * self.std[:, None, None]
        x = self.decoder8_in(channels_last(torch.cat([moved, change], dim=1)))
        x = activate(self.decoder8(add(x, eighth)))
        x = shuffle(self.up4(rearrange(x, "n c h w -> n h w c")), frames=GROUP)
        # how the head moves is coded; lids, brows, lips and strands move a little otherwise
        flow = relative(flow_of(moved[:, :MOTION]).flatten(0, 1))
        x = activate(self.decoder4(add(x, warp(quarter, flow))))
        finer = REFINED_PIXELS * self.refine_motion(x).float()
        flow = grown(flow, *x.shape[-2:]) + relative(finer, STRIDE // 2)
        x = shuffle(self.up2(rearrange(x, "n c h w -> n h w c")), frames=1)
        x = self.to_pixels(activate(add(x, warp(half, flow))))
        blocks = self.linear_decode(rearrange(moved[:, MOTION:], "n c h w -> n h w c"))
        linear = rearrange(
            blocks, "n h w (t c p q) -> n t c (h p) (w q)", t=GROUP, c=3, p=STRIDE, q=STRIDE
        )
        # channels are last in memory: to planes from there, in one step
        x = rearrange(x, "n c h w -> n h w c")
        x = rearrange(x, "(n t) h w (c p q) -> n t c (h p) (w q)", t=GROUP, p=2, q=2)
        detail, more = x.split([3, 1], 2)
        still = warp(reference.pixels, flow).unflatten(0, (-1, GROUP))
        # a lid or a tooth hides what the reference shows there: more is -1
        return linear + detail + still * (1 + more)


def whole_groups(frames: Tensor) -> Tensor:
    """(B, 1 + 4k, ...) -> (B, 4 + 4k, ...): the first frame of a stream is a group of its own."""
    first = frames[:, :1].expand(-1, GROUP - 1, *frames.shape[2:])
    return torch.cat([first, frames], dim=1)


def flow_of(motion: Tensor) -> Tensor:
    """Motion channels (N, MOTION, h, w) -> pixels back to the reference, (N, 4, 2, h, w)."""
    unit = torch.tensor(MOTION_PIXELS, dtype=motion.dtype, device=motion.device)
    middle, growth = (motion * unit[:, None, None]).split(2, 1)
    when = torch.linspace(-0.5, 0.5, GROUP, dtype=motion.dtype, device=motion.device)
    return middle[:, None] + when[:, None, None, None] * growth[:, None]


def motion_of(flow: Tensor) -> Tensor:
    """The motion channels (N, MOTION, h, w) that come nearest to a flow (N, 4, 2, h, w)."""
    unit = torch.tensor(MOTION_PIXELS, dtype=flow.dtype, device=flow.device)
    when = torch.linspace(-0.5, 0.5, GROUP, dtype=flow.dtype, device=flow.device)
    growth = (flow * when[:, None, None, None]).sum(1) / when.square().sum()
    return torch.cat([flow.mean(1), growth], 1) / unit[:, None, None]


def relative(flow: Tensor, pixels_a_cell: int = STRIDE) -> Tensor:
    """Pixels (N, 2, h, w) of a picture -> the same where a picture is 2 wide and 2 high."""
    h, w = flow.shape[-2:]
    return flow * (2 / pixels_a_cell) / flow.new_tensor([w, h])[:, None, None]


def warp(still: Tensor, flow: Tensor) -> Tensor:
    """Look up each of a group's frames in a still picture.

    `still` is (N, C, H, W) and `flow` (4 N, 2, h, w), from `relative`, of any resolutions
    -> (4 N, C, H, W); bilinear, the border repeated.
    """
    H, W = still.shape[-2:]
    y = (torch.arange(H, dtype=flow.dtype, device=flow.device) + 0.5) * (2 / H) - 1
    x = (torch.arange(W, dtype=flow.dtype, device=flow.device) + 0.5) * (2 / W) - 1
    here = torch.stack(torch.broadcast_tensors(x, y[:, None]), -1)
    each = still.repeat_interleave(GROUP, 0).to(flow.dtype)
    return F.grid_sample(each, grown_pairs(flow, H, W) + here, "bilinear", "border", False)


def grown_pairs(flow: Tensor, height: int, width: int) -> Tensor:
    """A flow (N, 2, h, w) at another resolution, x and y side by side: (N, height, width, 2).

    As two products with matrices: on CPU, growing it as a picture and then transposing it took
    three times as long.
    """
    N, _, h, w = flow.shape
    if (h, w) == (height, width):
        return flow.permute(0, 2, 3, 1)
    pairs = rearrange(flow, "n c h w -> n h (w c)")
    both = torch.eye(2, dtype=flow.dtype, device=flow.device)
    # half of these numbers are 0, hence while there are few rows
    wide = F.linear(pairs, torch.kron(spread_matrix(w, width, flow), both))
    return (spread_matrix(h, height, flow) @ wide).view(N, height, width, 2)


def spread_matrix(length: int, wanted: int, like: Tensor) -> Tensor:
    """(wanted, length): linear interpolation along one side, as `grown` does it."""
    at = (torch.arange(wanted, dtype=like.dtype, device=like.device) + 0.5) * (length / wanted)
    at = (at - 0.5).clamp(0, length - 1)
    cells = torch.arange(length, dtype=like.dtype, device=like.device)
    return (1 - (at[:, None] - cells).abs()).clamp(min=0)


def grown(flow: Tensor, height: int, width: int) -> Tensor:
    """A flow at another resolution."""
    if flow.shape[-2:] == (height, width):
        return flow
    return F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)


def channels_last(x: Tensor) -> Tensor:
    """The layout in which convolutions are fast on CPU."""
    return x.contiguous(memory_format=torch.channels_last)


def shuffle(x: Tensor, frames: int) -> Tensor:
    """(N, h, w, frames * 4 C) -> (N * frames, C, 2h, 2w), channels last in memory."""
    # q and c stay side by side: fewer axes to exchange
    rows = rearrange(x, "n h w (t p row) -> (n t) (h p) w row", t=frames, p=2)
    return rearrange(rows, "n h w (q c) -> n c h (w q)", q=2)


def add(x: Tensor, y: Tensor) -> Tensor:
    """Sum, in x's memory where no gradient is asked for: half of decoding is memory traffic."""
    return x + y if torch.is_grad_enabled() else x.add_(y)


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU; as with `add`, x must be nobody else's."""
    return F.leaky_relu(x, SLOPE, inplace=not torch.is_grad_enabled())
