"""Teacher-forced training of the chunk-causal DiT: one noise level for all chunks of a clip."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.models.dit import ChunkParallelContext, Condition, DiT, SelfContext, tiny
from avatar.models.dit.audio_projection import zero_window_edges
from avatar.sampling.policy import Policy
from avatar.sampling.rollout import Portrait, condition_channels, sink_condition
from avatar.sampling.schedule import add_noise
from training.data.latents import LatentClips
from training.tasks.latent_reader import WINDOW, LatentReader, mouth_cells


class DiTTask:
    """Denoise N chunks in one pass, each seeing {sink, previous chunk, itself}.

    The loss is on x0, weighted to the face and the mouth, plus the mouth shapes that the frozen
    latent reader reads from the predicted x0.
    """

    def __init__(
        self,
        clips: LatentClips,
        reader: LatentReader,
        policy: Policy,
        face_masks: dict[str, Tensor],
        *,
        batch_size: int = 4,
        num_chunks: int = 3,
        sync_weight: float = 4.0,
    ) -> None:
        self.clips, self.policy = clips, policy
        self.batch_size, self.num_chunks, self.sync_weight = batch_size, num_chunks, sync_weight
        self.reader = reader.eval().requires_grad_(False)
        self.face_masks = face_masks
        _, channels, height, _ = clips.latents[0].shape
        self.config = tiny(channels, clips.speech[0].shape[-1])
        self.model = DiT(self.config)
        self.model.latent_scale.copy_(clips.scale)
        self.train = [i for i in range(len(clips)) if not clips.is_held_out(i)]
        self.size = height
        self.weights = {box: spatial_weight(box, height) for box in sorted(set(clips.mouth_boxes))}

    def loss(self, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        chosen = rng.choice(self.train, self.batch_size)
        span = self.num_chunks * self.policy.chunk_latents
        starts = [int(rng.integers(0, len(self.clips.latents[i]) - span + 1)) for i in chosen]
        sigma = self.draw_sigma(rng)
        clean, predicted = self.predict(chosen, starts, sigma, rng)
        weight = torch.stack([self.weights[self.clips.mouth_boxes[i]] for i in chosen])
        error = (predicted - clean).square() * weight[:, None, None]
        mse = error.mean((1, 2, 3, 4))
        sync = (self.read(predicted, chosen) - self.target_visemes(chosen, starts)).square()
        loss = (mse / (sigma**2 + 0.1)).mean() + self.sync_weight * sync.mean()
        high = mse[sigma > 0.9]
        figures = {"mse": mse.mean().item(), "sync": sync.mean().item()}
        if len(high):
            figures["mse_first_step"] = high.mean().item()
        return loss, figures

    def draw_sigma(self, rng: np.random.Generator) -> Tensor:
        """One level a clip: mostly the two that serving uses, the rest anywhere."""
        levels = np.asarray(self.policy.sigmas)
        served = levels[rng.integers(0, len(levels), self.batch_size)]
        anywhere = rng.uniform(0.05, 1.0, self.batch_size)
        return torch.from_numpy(
            np.where(rng.random(self.batch_size) < 0.75, served, anywhere)
        ).float()

    def predict(
        self,
        chosen: "np.typing.NDArray[np.int64]",
        starts: list[int],
        sigma: Tensor,
        rng: np.random.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Clean latents and the x0 predicted for them, (B, N F, C, h, w)."""
        B, N, L = len(chosen), self.num_chunks, self.policy.chunk_latents
        clean = torch.stack(
            [
                self.clips.latents[i][s : s + N * L].float()
                for i, s in zip(chosen, starts, strict=True)
            ]
        )
        noisy = add_noise(clean, torch.randn(clean.shape), sigma[:, None, None, None, None])
        condition, context = self.condition(chosen, starts, clean, rng)
        prediction, _ = self.model(
            noisy.unflatten(1, (N, L)).flatten(0, 1),
            1000 * sigma.repeat_interleave(N),
            condition,
            context,
            self.policy.current_positions,
        )
        assert self.config.prediction == "x0"
        return clean, prediction.unflatten(0, (B, N)).flatten(1, 2)

    def condition(
        self,
        chosen: "np.typing.NDArray[np.int64]",
        starts: list[int],
        clean: Tensor,
        rng: np.random.Generator,
    ) -> tuple[Condition, ChunkParallelContext]:
        """What every chunk, folded into the batch, is generated from and may see."""
        N, L = self.num_chunks, self.policy.chunk_latents
        assert self.config.audio is not None
        reach = self.config.audio.reach
        sinks = torch.stack([self.clips.sinks[self.clips.characters[i]] for i in chosen])
        masks = torch.stack([self.face_masks[self.clips.characters[i]] for i in chosen])
        portrait = Portrait(sinks, masks)
        still = (sinks - sinks[:, :1]) / self.model.latent_scale[:, None, None]
        _, sink = self.model(
            still,
            torch.zeros(len(chosen)),
            sink_condition(self.model, portrait, still, self.policy),
            SelfContext(),
            self.policy.sink_positions,
        )
        before, speech, controls = [], [], []
        for _row, (i, s) in enumerate(zip(chosen, starts, strict=True)):
            tokens = F.pad(self.clips.speech[i].float(), (0, 0, 0, 0, reach, reach))
            for n in range(N):
                first = s + n * L
                before.append(self.latent_before(i, first, rng))
                speech.append(tokens[first : first + L + 2 * reach])
                controls.append(self.clips.controls[i][first : first + L])
        windows = torch.stack(speech)
        known = torch.from_numpy(rng.random(len(windows)) > 0.15)
        windows = zero_window_edges(windows, known, reach)
        like = clean.unflatten(1, (N, L)).flatten(0, 1)
        reference = portrait.reference.repeat_interleave(N, 0)
        condition = Condition(
            channels=condition_channels(reference, torch.stack(before)[:, None], like, self.policy),
            audio=self.model.project_audio(windows),
            face_mask=masks.repeat_interleave(N, 0),
            controls=torch.stack(controls),
        )
        places = self.policy.sink_positions + self.policy.previous_positions
        return condition, ChunkParallelContext(sink, N, places)

    def latent_before(self, clip: int, first: int, rng: np.random.Generator) -> Tensor:
        """The latent before a chunk, for policies that carry it; noisy, as serving's is."""
        if first == 0 or not self.policy.carry_last_latent:
            return torch.zeros_like(self.clips.latents[clip][0], dtype=torch.float32)
        last = self.clips.latents[clip][first - 1].float()
        return last + float(rng.uniform(0, 0.2)) * torch.randn(last.shape)

    def read(self, latents: Tensor, chosen: "np.typing.NDArray[np.int64]") -> Tensor:
        windows = []
        for row, i in enumerate(chosen):
            y, x = mouth_cells(self.clips.mouth_boxes[i])
            windows.append(latents[row, :, :, y : y + WINDOW, x : x + WINDOW])
        read: Tensor = self.reader(torch.cat(windows))
        return read.unflatten(0, (len(chosen), -1))

    def target_visemes(self, chosen: "np.typing.NDArray[np.int64]", starts: list[int]) -> Tensor:
        span = self.num_chunks * self.policy.chunk_latents
        return torch.stack(
            [self.clips.visemes[i][s : s + span] for i, s in zip(chosen, starts, strict=True)]
        )


def spatial_weight(box: tuple[int, int, int, int], size: int) -> Tensor:
    """(size, size), mean 1: the face counts more than the background, the mouth most."""
    x0, y0, x1, y1 = (v / 256 for v in box)
    place = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(place - (y0 + y1) / 2, place - (x0 + x1) / 2, indexing="ij")
    face = torch.exp(-(x**2 + (y + 0.15) ** 2) / (2 * 0.2**2))
    mouth = torch.exp(-((x / 0.12) ** 2) / 2 - ((y / 0.09) ** 2) / 2)
    weight = 0.5 + face + 2.5 * mouth
    return weight / weight.mean()
