"""Keys from a file, tokens that stand for one, and who is let in."""

from dataclasses import replace
from pathlib import Path

import pytest

from avatar.bus.memory import MemoryBus
from avatar.errors import InvalidInput, PermissionDenied, Unauthenticated
from services import keys
from services.gateway.accounts import Accounts
from services.gateway.guard import Guard, keyring_for
from services.gateway.keyring import ANYBODY, TOKEN_PREFIX, TOKEN_S, Keyring, digest_of
from tests.fakes.calls import ManualClock

pytestmark = pytest.mark.unit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def made(path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert keys.main(["add", *arguments, "--file", str(path)]) == 0
    return capsys.readouterr().out.strip()


def test_a_key_is_known_by_its_digest_with_its_limits(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = made(path, capsys, "kiosk", "--sessions", "3", "--minutes", "90", "--opens", "7")
    other = made(path, capsys, "ops", "--operator")
    assert key not in path.read_text()
    assert digest_of(key) in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    ring = Keyring(path)
    caller = ring.caller(key)
    assert (caller.key, caller.sessions, caller.minutes_a_day) == ("kiosk", 3, 90.0)
    assert caller.opens_a_minute == 7
    assert not caller.is_operator
    assert ring.caller(other).is_operator
    assert keys.main(["list", "--file", str(path)]) == 0
    assert "kiosk: 3 sessions, 90 minutes a day" in capsys.readouterr().out


@pytest.mark.parametrize("credential", ["", "tm_no", "tmt_no", "tmt_a.b", "tmt_" + "x" * 9000, "é"])
def test_what_is_no_key_is_refused(
    path: Path, capsys: pytest.CaptureFixture[str], credential: str
) -> None:
    made(path, capsys, "kiosk")
    with pytest.raises(Unauthenticated):
        Keyring(path).caller(credential)


def test_a_token_stands_for_its_key_until_it_runs_out(
    path: Path, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    key = made(path, capsys, "kiosk", "--operator")
    ring = Keyring(path, now=clock)
    token = ring.token(ring.caller(key))
    assert token.startswith(TOKEN_PREFIX)
    # another gateway, which knows the file only
    assert Keyring(path, now=clock).caller(token) == replace(
        ring.caller(key), is_operator=False, has_token=True
    )
    clock.now += TOKEN_S + 1
    with pytest.raises(Unauthenticated, match="run out"):
        ring.caller(token)


def test_a_token_cannot_be_changed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = made(path, capsys, "one"), made(path, capsys, "two")
    ring = Keyring(path)
    one, two = (ring.token(ring.caller(key)) for key in (first, second))
    said, signature = one.split(".")[0], two.split(".")[1]
    with pytest.raises(Unauthenticated):
        ring.caller(f"{said}.{signature}")


def test_a_key_that_is_taken_back_is_refused_and_its_tokens_with_it(
    path: Path, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    key = made(path, capsys, "kiosk")
    made(path, capsys, "other")
    ring = Keyring(path, clock=clock)
    token = ring.token(ring.caller(key))
    assert keys.main(["remove", "kiosk", "--file", str(path)]) == 0
    clock.now += 10
    for credential in (key, token):
        with pytest.raises(Unauthenticated):
            ring.caller(credential)


def test_a_file_that_is_broken_for_a_moment_forgets_nobody(
    path: Path, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    key = made(path, capsys, "kiosk")
    ring, whole = Keyring(path, clock=clock), path.read_text()
    for content in ("[kiosk", None, whole):
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        clock.now += 10
        assert ring.caller(key).key == "kiosk"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[kiosk", "no TOML"),
        ("[kiosk]\nsha256 = 'short'", "kiosk.sha256"),
        (f"[kiosk]\nsha256 = '{'0' * 64}'\nsession = 3", "kiosk.session"),
        (f"[kiosk]\nsha256 = '{'0' * 64}'\nsessions = 0", "kiosk.sessions"),
        (f"['Kiosk!']\nsha256 = '{'0' * 64}'", "no name"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_the_place(path: Path, content: str, said: str) -> None:
    path.write_text(content)
    with pytest.raises(InvalidInput, match=said):
        Keyring(path)


def test_the_command_says_what_is_wrong(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(path, capsys, "kiosk")
    file = ["--file", str(path)]
    for arguments, said in (
        (["add", "kiosk"], "already"),
        (["add", "Kiosk"], "no name"),
        (["add", "a", "--sessions", "0"], "sessions"),
        (["remove", "nobody"], "no key"),
        (["list", "--file", "/nowhere/keys.toml"], "No such file"),
    ):
        assert keys.main([*arguments, *file] if "--file" not in arguments else arguments) == 2
        assert said in capsys.readouterr().err
    assert list(Keyring(path)._entries) == ["kiosk"]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "example.org"])
def test_other_machines_are_not_let_in_without_keys(
    host: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidInput, match=r"services\.keys add"):
        keyring_for(host, "")
    with pytest.raises(InvalidInput, match="No such file"):
        keyring_for(host, str(path))
    made(path, capsys, "kiosk")
    assert keyring_for(host, str(path)) is not None


def test_gateways_are_not_reached_from_other_machines_without_keys_either(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidInput, match=r"STAGE_HOST=192\.0\.2\.7"):
        keyring_for("127.0.0.1", "", "192.0.2.7")
    made(path, capsys, "kiosk")
    assert keyring_for("127.0.0.1", str(path), "192.0.2.7") is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_needs_no_key_but_may_ask_for_one(
    host: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keyring_for(host, "") is None
    made(path, capsys, "kiosk")
    assert keyring_for(host, str(path)) is not None


def test_a_guard_without_keys_lets_everybody_in_and_makes_no_tokens() -> None:
    guard = Guard(None, Accounts(MemoryBus()))
    assert guard.operator({}) is ANYBODY
    with pytest.raises(InvalidInput, match="no key"):
        guard.token(ANYBODY)


def test_operators_things_are_not_for_other_keys_nor_for_tokens(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, operator = made(path, capsys, "kiosk"), made(path, capsys, "ops", "--operator")
    guard = Guard(Keyring(path), Accounts(MemoryBus()))

    def shown(credential: str) -> dict[str, str]:
        return {"authorization": f"Bearer {credential}"}

    assert guard.operator(shown(operator)).key == "ops"
    token, _ = guard.token(guard.caller(shown(operator)))
    for credential in (key, token):
        with pytest.raises(PermissionDenied):
            guard.operator(shown(credential))
    with pytest.raises(Unauthenticated):
        guard.operator({"authorization": f"Basic {operator}"})
