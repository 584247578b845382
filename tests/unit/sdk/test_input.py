"""What the SDK refuses before it calls a server."""

import os
from pathlib import Path

import pytest

import talkingmachines as tm
from talkingmachines._connection import channel_options, server_address
from talkingmachines._input import check_avatar, check_text, read_audio

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("text", ["x", "x" * 2000, "  Hello.\n", "世" * 2000])
def test_a_text_of_up_to_2000_characters_is_taken_as_it_stands(text: str) -> None:
    assert check_text(text) == text


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(tm.InvalidInput, match="1 to 2000"):
        check_text(text)


def test_a_text_too_long_is_refused_with_both_numbers() -> None:
    with pytest.raises(tm.TooLarge, match="2001 characters, 2000 are allowed"):
        check_text("x" * 2001)


def test_bytes_that_are_no_characters_are_refused() -> None:
    undecodable = os.fsdecode(b"caf\xe9")

    with pytest.raises(tm.InvalidInput, match="UTF-8"):
        check_text(undecodable)
    with pytest.raises(tm.InvalidInput, match="avatar"):
        check_avatar(undecodable)


def test_both_clients_check_the_text_when_they_are_called() -> None:
    with tm.Client("127.0.0.1:1") as client, pytest.raises(tm.InvalidInput):
        client.say("")
    with pytest.raises(tm.InvalidInput):
        tm.AsyncClient("127.0.0.1:1").say("")


def test_audio_is_read_from_bytes_and_from_files_alike(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")

    assert read_audio(b"RIFF") == b"RIFF"
    assert read_audio(tmp_path / "a.wav") == b"RIFF"
    assert read_audio(str(tmp_path / "a.wav")) == b"RIFF"


def test_audio_over_16_mib_is_refused() -> None:
    assert len(read_audio(bytes(16 * 2**20))) == 16 * 2**20
    with pytest.raises(tm.TooLarge, match="16 MiB"):
        read_audio(bytes(16 * 2**20 + 1))


def test_an_endless_file_is_refused_without_reading_it_all() -> None:
    with pytest.raises(tm.TooLarge, match="/dev/zero"):
        read_audio("/dev/zero")


@pytest.mark.parametrize(
    "server", ["localhost", "http://localhost:8000", "localhost:http", ":9000", "a/b:1"]
)
def test_what_is_no_host_and_port_is_refused_with_an_example(server: str) -> None:
    with pytest.raises(tm.InvalidInput, match=r"give host:port, as 127\.0\.0\.1:"):
        server_address(server)


def test_the_server_is_the_one_given_else_the_variables_else_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TALKINGMACHINES_SERVER", raising=False)
    by_default = tm.AsyncClient().server
    monkeypatch.setenv("TALKINGMACHINES_SERVER", "avatars.example:443")

    assert by_default.startswith("127.0.0.1:")
    assert tm.AsyncClient().server == "avatars.example:443"
    assert tm.AsyncClient("[::1]:9001").server == "[::1]:9001"


@pytest.mark.parametrize(
    ("server", "proxy"),
    [("127.0.0.1:1", 0), ("[::1]:1", 0), ("localhost:1", 0), ("10.0.0.1:1", 1), ("a.example:1", 1)],
)
def test_no_proxy_is_asked_for_a_server_on_this_machine(server: str, proxy: int) -> None:
    assert dict(channel_options(server))["grpc.enable_http_proxy"] == proxy
