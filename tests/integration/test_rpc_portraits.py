"""An avatar from a portrait over gRPC, by the real command, for a Wan-class profile of toy size."""

import io
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from avatar import errors
from avatar.cast.avatars import PHOTOGRAPH, character_of
from services.gateway.recipes import Described, order_of, recipes_of
from services.settings import AppConfig
from talkingmachines_api.v1 import avatar_pb2
from tests.fakes.rpc import error_in, rpc_desk
from tests.fakes.wan_folder import converted_toy

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

FACE = Path(__file__).resolve().parents[1] / "data" / "faces" / "astronaut.jpg"


def portrait(image: bytes) -> avatar_pb2.CreateAvatarRequest:
    consent = avatar_pb2.Consent(
        given=True, given_by="NASA", statement="A public photograph, shown in a test."
    )
    asked = avatar_pb2.Portrait(
        image=image,
        avatar_id="ada",
        display_name="--check",  # no option of the command's
        description="She flies.",
        persona="You are Ada.",
        consent=consent,
    )
    return avatar_pb2.CreateAvatarRequest(portrait=asked)


def encoded(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


async def test_one_face_that_agreed_becomes_an_avatar_and_others_do_not(tmp_path: Path) -> None:
    profile = converted_toy("tm-18b", tmp_path / "models" / "tm")
    config = AppConfig(profile="tm", models_dir=tmp_path / "models")
    recipes, avatars = recipes_of(config), config.avatars_dir
    assert avatars == profile.avatars
    with pytest.raises(errors.DescriptionNotTaken, match="portrait"):
        order_of(Described(""), config.profile, recipes)
    face = np.asarray(Image.open(FACE).convert("RGB"))
    async with rpc_desk(avatars=avatars, recipes=recipes) as rpc:
        for wrong in (np.full((300, 300, 3), 128, np.uint8), np.concatenate([face, face], 1)):
            with pytest.raises(grpc.RpcError) as caught:
                await rpc.avatars.CreateAvatar(portrait(encoded(wrong)))
            error = error_in(caught.value)
            assert isinstance(error, errors.InvalidInput)
            assert "face" in str(error)
            assert str(tmp_path) not in str(error)
        begun = (await rpc.avatars.CreateAvatar(portrait(FACE.read_bytes()))).operation
        watch = avatar_pb2.WatchOperationRequest(operation_id=begun.id)
        steps = [step.operation async for step in rpc.avatars.WatchOperation(watch)]
        assert steps[-1].state == avatar_pb2.OPERATION_STATE_DONE, steps[-1]
        assert "encoding the picture" in {step.stage for step in steps}
        assert character_of("ada", avatars).display_name == "--check"
        assert "NASA: A public photograph" in (avatars / "ada" / PHOTOGRAPH).read_text()
        assert (await rpc.create(avatar_id="ada")).session.avatar_id == "ada"
