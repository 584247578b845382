"""The marker profile, measured at a receiver: sound and picture, stalls, interruptions."""

import pytest

from bench.live_av import Part, one_call
from bench.live_barge_in import KINDS, interrupted_call
from tests.e2e.conftest import MarkedGraph

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


async def test_the_picture_belongs_to_the_sound_also_after_stalls(marked: MarkedGraph) -> None:
    script = [
        Part("score worker", "Mark 4. Stall 700 score_worker. Mark 5."),
        Part("VAE decoder", "Mark 4. Stall 700 vae_decoder. Mark 5."),
    ]
    values = await one_call(marked.server, script)
    assert values["offset"]["count"] >= 2 * 9 * 25 - 20  # but for those in cross-fades
    assert values["only_shown"] <= 2
    assert values["offset"]["p95"] <= 60
    assert abs(values["drift_ms"]) <= 5
    for stall in values["stalls"]:
        assert stall["after"]["p95"] <= 60
        assert abs(stall["shift_ms"]) <= 5


async def test_an_interrupted_answer_is_gone_and_remembered_as_heard(marked: MarkedGraph) -> None:
    """How soon it is silent is measured by the benchmark; here a busy machine may take longer."""
    cuts = await interrupted_call(marked.server.url, marked.model, 6, within_s=0.3)
    assert [cut.kind for cut in cuts] == 2 * list(KINDS)
    assert [cut.old_samples for cut in cuts] == 6 * [0]
    assert [cut.old_frames for cut in cuts] == 6 * [0]
    assert max(cut.rest_frames for cut in cuts) <= 12
    assert max(abs(cut.words_remembered - cut.words_heard) for cut in cuts) <= 1
    assert all(cut.is_verbatim for cut in cuts)
    assert all(cut.words_told == cut.words_remembered for cut in cuts)
