"""Avatars over gRPC and HTTP: listed, made one at a time with progress, stopped, removed."""

import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from PIL import Image

from avatar import errors
from avatar.cast.avatars import character_of
from avatar.cast.characters import CAST
from services.gateway.recipes import Recipes, recipes_of
from services.gateway.workshop import MAKING
from services.settings import AppConfig
from talkingmachines_api.v1 import avatar_pb2
from tests.fakes.avatars import DESCRIBED, write_own
from tests.fakes.graph import until
from tests.fakes.recipe import FAILING, WRONG, GatedRecipe
from tests.fakes.rpc import RpcDesk, error_in, rpc_desk

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
NOVA = DESCRIBED.format(id="nova", title="Nova")


@dataclass
class Makers:
    """A gateway that makes avatars in `folder` by a gated recipe."""

    rpc: RpcDesk
    folder: Path
    gate: Path

    @property
    def http(self) -> httpx.AsyncClient:
        return self.rpc.desk.http

    async def create(self, toml: str = NOVA) -> avatar_pb2.Operation:
        request = avatar_pb2.CreateAvatarRequest(description_toml=toml)
        return (await self.rpc.avatars.CreateAvatar(request)).operation

    async def get(self, id: str) -> avatar_pb2.Operation:
        request = avatar_pb2.GetOperationRequest(operation_id=id)
        return (await self.rpc.avatars.GetOperation(request)).operation

    async def watch(self, id: str) -> list[avatar_pb2.Operation]:
        request = avatar_pb2.WatchOperationRequest(operation_id=id)
        return [step.operation async for step in self.rpc.avatars.WatchOperation(request)]

    async def cancel(self, id: str) -> avatar_pb2.Operation:
        request = avatar_pb2.CancelOperationRequest(operation_id=id)
        return (await self.rpc.avatars.CancelOperation(request)).operation

    async def list(self, **fields: object) -> avatar_pb2.AvatarServiceListAvatarsResponse:
        request = avatar_pb2.AvatarServiceListAvatarsRequest(**fields)  # type: ignore[arg-type]
        return await self.rpc.avatars.ListAvatars(request)

    async def half_way(self, id: str) -> None:
        request = avatar_pb2.WatchOperationRequest(operation_id=id)
        async for step in self.rpc.avatars.WatchOperation(request):
            if step.operation.progress == 0.5:
                return


@asynccontextmanager
async def makers(folder: Path, recipes: Recipes | None = None) -> AsyncIterator[Makers]:
    gate = folder / "gate"
    recipe = GatedRecipe(gate)
    made = recipes or Recipes(description=recipe, portrait=recipe)
    async with rpc_desk(avatars=folder / "avatars", recipes=made) as rpc:
        yield Makers(rpc, folder / "avatars", gate)


async def refused(call: object) -> errors.AvatarError:
    with pytest.raises(grpc.RpcError) as caught:
        await call  # type: ignore[misc]  # a call of grpc.aio
    return error_in(caught.value)


async def test_an_avatar_is_made_with_progress_and_can_be_called(tmp_path: Path) -> None:
    async with makers(tmp_path) as made:
        begun = await made.create()
        assert (begun.avatar_id, begun.state) == ("nova", avatar_pb2.OPERATION_STATE_RUNNING)
        await made.half_way(begun.id)
        now = await made.get(begun.id)
        assert (now.stage, now.left_seconds) == ("clips drawn: 6 of 12", 30)
        assert [each.avatar.id for each in (await made.list()).avatars] == [c.id for c in CAST]
        made.gate.touch()
        steps = await made.watch(begun.id)
        assert steps[-1].state == avatar_pb2.OPERATION_STATE_DONE
        assert [step.progress for step in steps] == sorted(step.progress for step in steps)
        assert character_of("nova", made.folder).display_name == "Nova"
        listed = (await made.list()).avatars
        assert (listed[-1].avatar.id, listed[-1].is_shipped) == ("nova", False)
        assert all(each.is_shipped for each in listed[:-1])
        created = await made.rpc.create(avatar_id="nova")
        assert created.session.avatar_id == "nova"
        assert list((made.folder / MAKING / "runs").iterdir()) == []


async def test_the_command_that_trains_checks_what_it_is_given_and_can_be_stopped(
    tmp_path: Path,
) -> None:
    """The real one; what it makes in the end is in tests/integration/test_train_character.py."""
    toml = (ROOT / "characters" / "nova.toml").read_text()
    async with makers(tmp_path, recipes_of(AppConfig())) as made:
        error = await refused(made.create(toml.replace("jaw = 4.6", "jaw = 46.0")))
        assert isinstance(error, errors.InvalidInput)
        assert str(error).startswith("nova.toml: look.head.jaw: 46 was given, allowed is")
        begun = await made.create(toml)
        assert (await made.get(begun.id)).state == avatar_pb2.OPERATION_STATE_RUNNING
        assert (await made.cancel(begun.id)).state == avatar_pb2.OPERATION_STATE_CANCELLED


async def test_one_is_made_at_a_time(tmp_path: Path) -> None:
    async with makers(tmp_path) as made:
        first = await made.create()
        error = await refused(made.create(DESCRIBED.format(id="zed", title="Zed")))
        assert isinstance(error, errors.Busy)
        assert error.retry_after_s > 0
        made.gate.touch()
        await made.watch(first.id)
        await made.create(DESCRIBED.format(id="zed", title="Zed"))


async def test_one_that_is_stopped_goes_on_when_it_is_asked_for_again(tmp_path: Path) -> None:
    async with makers(tmp_path) as made:
        first = await made.create()
        await made.half_way(first.id)
        assert (await made.cancel(first.id)).state == avatar_pb2.OPERATION_STATE_CANCELLED
        assert (await made.cancel(first.id)).state == avatar_pb2.OPERATION_STATE_CANCELLED
        second = await made.create()
        await made.half_way(second.id)
        made.gate.touch()
        stages = [step.stage for step in await made.watch(second.id)]
        assert stages[-1] == "ready"
        listed = await made.rpc.avatars.ListOperations(avatar_pb2.ListOperationsRequest())
        assert [each.id for each in listed.operations] == [second.id, first.id]


async def test_the_end_of_a_gateway_ends_what_it_makes(tmp_path: Path) -> None:
    async with makers(tmp_path) as made:
        begun = await made.create()
        await made.half_way(begun.id)
        workshop = made.rpc.workshop
        await workshop.close()
        assert workshop.get(begun.id).state == "cancelled"
        assert await made.rpc.desk.bus.take_share("avatars-made", "another", 1)


async def test_what_goes_wrong_while_it_is_made_is_told(tmp_path: Path) -> None:
    async with makers(tmp_path) as made:
        begun = await made.create(NOVA + f"# {FAILING}\n")
        made.gate.touch()
        last = (await made.watch(begun.id))[-1]
        assert last.state == avatar_pb2.OPERATION_STATE_FAILED
        assert (last.error_reason, last.error_message) == ("UNAVAILABLE", "the disk is full")


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("no toml", "TOML"),
        ("", "is missing"),
        (NOVA.replace("nova", "Nova!"), "id"),
        (NOVA.replace('"nova"', '"mira"'), "shipped"),
        (NOVA + "colour = 3\n", "colour"),
        (NOVA + f"# {WRONG}\n", "nova.toml: look: this is wrong"),
        (NOVA + "#" * 70_000, "65536"),
    ],
)
async def test_a_description_is_checked_before_anything_is_made(
    toml: str, says: str, tmp_path: Path
) -> None:
    async with makers(tmp_path) as made:
        error = await refused(made.create(toml))
        assert isinstance(error, errors.InvalidInput)
        assert says in str(error)
        assert str(tmp_path) not in str(error)
        assert await made.rpc.desk.bus.take_share("avatars-made", "another", 1)


async def test_this_profile_draws_its_characters_and_takes_no_portrait(tmp_path: Path) -> None:
    async with makers(tmp_path, recipes_of(AppConfig())) as made:
        request = avatar_pb2.CreateAvatarRequest(portrait=portrait())
        error = await refused(made.rpc.avatars.CreateAvatar(request))
        assert isinstance(error, errors.PortraitNotTaken)
        assert "description" in str(error)


async def test_a_profile_of_test_signals_makes_no_avatars(tmp_path: Path) -> None:
    async with makers(tmp_path, recipes_of(AppConfig(profile="marker"))) as made:
        assert isinstance(await refused(made.create()), errors.DescriptionNotTaken)


def image(width: int = 300, height: int = 300) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(content, "PNG")
    return content.getvalue()


def portrait(picture: bytes | None = None, **consent: object) -> avatar_pb2.Portrait:
    given = {"given": True, "given_by": "Nova herself", "statement": "Show me."} | consent
    return avatar_pb2.Portrait(
        image=image() if picture is None else picture,
        avatar_id="nova",
        display_name="Nova",
        description="A test.",
        persona="You are Nova.",
        consent=avatar_pb2.Consent(**given),  # type: ignore[arg-type]
    )


async def test_a_portrait_needs_consent_which_is_kept(tmp_path: Path) -> None:
    async with makers(tmp_path) as made:
        for missing in ({"given": False}, {"given_by": " "}):
            request = avatar_pb2.CreateAvatarRequest(portrait=portrait(**missing))
            error = await refused(made.rpc.avatars.CreateAvatar(request))
            assert isinstance(error, errors.ConsentMissing)
        request = avatar_pb2.CreateAvatarRequest(portrait=portrait())
        begun = (await made.rpc.avatars.CreateAvatar(request)).operation
        kept = json.loads((made.folder / MAKING / "nova.json").read_text())
        assert kept["consent"]["given_by"] == "Nova herself"
        assert kept["consent"]["statement"] == "Show me."
        assert kept["recorded"]
        made.gate.touch()
        assert (await made.watch(begun.id))[-1].state == avatar_pb2.OPERATION_STATE_DONE
        left = {each.name for each in (made.folder / MAKING).iterdir()}
        assert left == {"runs"}  # nobody's photograph is kept


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (b"", "damaged"),
        (b"GIF89a" + bytes(100), "damaged"),
        (image(255, 300), "255x300"),
        (image()[:60], "damaged"),
        (bytes(3 << 20) + b"1", "bytes"),
        (WRONG.encode(), "damaged"),
    ],
    ids=["nothing", "gif", "small", "cut", "large", "text"],
)
async def test_a_portrait_is_a_picture_of_some_size(
    picture: bytes, says: str, tmp_path: Path
) -> None:
    async with makers(tmp_path) as made:
        request = avatar_pb2.CreateAvatarRequest(portrait=portrait(picture))
        error = await refused(made.rpc.avatars.CreateAvatar(request))
        assert isinstance(error, errors.InvalidInput)
        assert says in str(error)


async def test_nothing_to_make_an_avatar_from(tmp_path: Path) -> None:
    async with makers(tmp_path) as made:
        empty = made.rpc.avatars.CreateAvatar(avatar_pb2.CreateAvatarRequest())
        assert isinstance(await refused(empty), errors.InvalidInput)


async def test_own_avatars_can_be_removed_and_shipped_ones_cannot(tmp_path: Path) -> None:
    write_own(tmp_path / "avatars", "nova")
    async with makers(tmp_path) as made:

        def delete(name: str) -> object:
            return made.rpc.avatars.DeleteAvatar(avatar_pb2.DeleteAvatarRequest(avatar_id=name))

        shown = await made.rpc.avatars.GetAvatar(avatar_pb2.GetAvatarRequest(avatar_id="nova"))
        assert Image.open(io.BytesIO(shown.portrait)).size == (64, 64)
        await delete("nova")  # type: ignore[misc]  # a call of grpc.aio
        assert isinstance(await refused(delete("nova")), errors.NotFound)
        assert isinstance(await refused(delete("../avatars")), errors.NotFound)
        assert isinstance(await refused(delete("mira")), errors.PermissionDenied)
        gone = made.rpc.avatars.GetAvatar(avatar_pb2.GetAvatarRequest(avatar_id="nova"))
        assert isinstance(await refused(gone), errors.NotFound)


async def test_one_that_is_being_made_is_not_removed_meanwhile(tmp_path: Path) -> None:
    write_own(tmp_path / "avatars", "nova")
    async with makers(tmp_path) as made:
        await made.create()
        call = made.rpc.avatars.DeleteAvatar(avatar_pb2.DeleteAvatarRequest(avatar_id="nova"))
        assert isinstance(await refused(call), errors.Busy)


async def test_avatars_come_page_by_page(tmp_path: Path) -> None:
    async with makers(tmp_path) as made:
        seen: list[str] = []
        page = await made.list(page_size=4)
        while True:
            seen += [each.avatar.id for each in page.avatars]
            if not page.next_page_token:
                break
            page = await made.list(page_size=4, page_token=page.next_page_token)
        assert seen == [character.id for character in CAST]
        for token in ("?", "9" * 5000):
            assert isinstance(await refused(made.list(page_token=token)), errors.InvalidInput)
        assert isinstance(await refused(made.list(page_size=2000)), errors.InvalidInput)


async def test_an_operation_that_nobody_knows(tmp_path: Path) -> None:
    async with makers(tmp_path) as made:
        for call in (made.get("x.y"), made.cancel(""), made.watch("x")):
            assert isinstance(await refused(call), errors.NotFound)
        assert (await made.http.get("/v1/operations/x.y")).status_code == 404


async def test_the_same_over_http(tmp_path: Path) -> None:
    async with makers(tmp_path) as made:
        headers = {"content-type": "application/toml"}
        begun = await made.http.post("/v1/avatars", content=NOVA, headers=headers)
        assert begun.status_code == 202
        place = begun.headers["location"]
        busy = await made.http.post("/v1/avatars", content=NOVA, headers=headers)
        assert (busy.status_code, "retry-after" in busy.headers) == (503, True)
        await made.half_way(begun.json()["id"])
        now = (await made.http.get(place)).json()
        assert (now["state"], now["done"], now["left_s"]) == ("running", 0.5, 30.0)
        assert (await made.http.delete(place)).json()["state"] == "cancelled"
        listed = (await made.http.get("/v1/operations")).json()["operations"]
        assert [each["id"] for each in listed] == [now["id"]]
        again = await made.http.post("/v1/avatars", content=NOVA, headers=headers)
        made.gate.touch()
        await made.watch(again.json()["id"])
        assert (await made.http.get("/v1/avatars/nova")).json()["is_shipped"] is False
        assert (await made.http.delete("/v1/avatars/nova")).status_code == 204
        assert (await made.http.get("/v1/avatars/nova")).status_code == 404
        assert (await made.http.delete("/v1/avatars/mira")).status_code == 403


async def test_a_portrait_over_http(tmp_path: Path) -> None:
    async with makers(tmp_path) as made:
        body: dict[str, object] = {
            "image": base64.b64encode(image()).decode(),
            "avatar": "nova",
            "display_name": "Nova",
            "description": "A test.",
            "persona": "You are Nova.",
        }
        missing = await made.http.post("/v1/avatars", json=body)
        assert (missing.status_code, missing.json()["reason"]) == (409, "CONSENT_MISSING")
        body["consent"] = {"given": True, "given_by": "Nova"}
        begun = await made.http.post("/v1/avatars", json=body)
        assert begun.status_code == 202
        wrong = await made.http.post("/v1/avatars", json={"image": "?"})
        assert wrong.status_code == 400
        made.gate.touch()
        await until(lambda: not made.rpc.workshop.all() or _is_done(made))


def _is_done(made: Makers) -> bool:
    return made.rpc.workshop.all()[0].state == "done"
