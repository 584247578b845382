"""Avatars of a user's own in a running graph: listed, shown, called; a damaged one harms nobody."""

from pathlib import Path

import pytest

from avatar.cast.avatars import APPEARANCE, write_manifest
from avatar.cast.characters import CAST
from talkingmachines_api.v1 import talk_pb2
from tests.fakes.avatars import write_own
from tests.fakes.graph import fake_graph, pictures_of

pytestmark = pytest.mark.integration


async def test_an_own_avatar_is_listed_and_speaks(tmp_path: Path) -> None:
    async with fake_graph(avatars=tmp_path) as graph:
        write_own(tmp_path, "nova")  # trained while the server runs
        listed = (await graph.http.get("/v1/avatars")).json()
        assert [each["id"] for each in listed] == [*(c.id for c in CAST), "nova"]
        portrait = await graph.http.get(listed[-1]["portrait"])
        assert portrait.headers["content-type"] == "image/png"
        assert portrait.headers["cache-control"] == "no-cache"
        told = await graph.talk.ListAvatars(talk_pb2.ListAvatarsRequest())
        assert told.avatars[-1].display_name == "Nova"
        said = await graph.http.post("/v1/say", json={"text": "Hello.", "avatar": "nova"})
        assert len(pictures_of(said.content)) > 0


async def test_a_damaged_avatar_says_so_and_the_others_go_on(tmp_path: Path) -> None:
    write_own(tmp_path, "ada")
    path = write_own(tmp_path, "nova") / APPEARANCE
    path.write_bytes(b"half")
    async with fake_graph(avatars=tmp_path) as graph:
        listed = (await graph.http.get("/v1/avatars")).json()
        assert [each["id"] for each in listed][len(CAST) :] == ["ada"]
        refused = await graph.http.post("/v1/say", json={"text": "Hello.", "avatar": "nova"})
        assert refused.status_code == 500
        assert refused.json()["reason"] == "CORRUPT_FILE"
        assert "log" in refused.json()["detail"]
        assert str(tmp_path) not in refused.text
        said = await graph.http.post("/v1/say", json={"text": "Hello.", "avatar": "ada"})
        assert said.status_code == 200


async def test_an_avatar_without_a_preview_has_none_and_is_not_damaged(tmp_path: Path) -> None:
    own = write_own(tmp_path, "ada")
    (own / "preview.mp4").unlink()
    write_manifest(own)
    async with fake_graph(avatars=tmp_path) as graph:
        (ada,) = (each for each in (await graph.http.get("/v1/avatars")).json()
                  if each["id"] == "ada")  # fmt: skip
        assert "preview" not in ada
        assert (await graph.http.get("/v1/avatars/ada/preview.mp4")).status_code == 404
        assert (await graph.http.get(ada["portrait"])).status_code == 200
