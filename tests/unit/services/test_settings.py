"""Settings: misspelt keys and impossible values are refused, the environment has the last word."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from avatar.cast.avatars import FOLDER
from avatar.cast.profiles import PROFILES, write_profile
from avatar.errors import InvalidInput
from avatar.timebase import ChunkClock
from services.settings import AppConfig, Environment, set_environment

pytestmark = pytest.mark.unit

NAMES = (
    "AVATARS_DIR",
    "BACKEND",
    "BIND_HOST",
    "GRPC_PORT",
    "ICE_SERVERS",
    "MODELS_DIR",
    "OPENAI_API_KEY",
    "OPENAI_ASR_MODEL",
    "OPENAI_BASE_URL",
    "OPENAI_CHAT_MODEL",
    "OPENAI_TTS_MODEL",
    "PORT",
    "PROFILE",
    "READY_TIMEOUT_S",
    "REDIS_URL",
    "RUNTIME",
    "SLOTS",
    "STAGE_HOST",
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_stages_are_on_one_machine_where_their_addresses_lead_nowhere_else() -> None:
    here = dict.fromkeys(("127.0.0.1", "::1", "localhost"), True)
    elsewhere = dict.fromkeys(("10.0.0.7", "0.0.0.0", "stage.example"), False)
    for host, is_one in (here | elsewhere).items():
        assert AppConfig(stage_host=host).is_on_one_machine == is_one


def test_a_misspelt_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="slot"):
        AppConfig.model_validate({"slot": 2})


def test_the_environment_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8010")
    monkeypatch.setenv("SLOTS", "3")
    config = AppConfig(slots=1).with_environment()
    assert (config.port, config.slots, config.host) == (8010, 3, "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "70000"),
        ("SLOTS", "0"),
        ("SLOTS", "many"),
        ("SLOTS", "2.5"),
        ("READY_TIMEOUT_S", "-1"),
        ("PROFILE", "huge"),
        ("AVATARS_DIR", "here"),
        ("BACKEND", "cuda"),
    ],
)
def test_an_impossible_value_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput, match=f"{name}={value}"):
        AppConfig().with_environment()


def test_a_model_server_without_a_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1")
    with pytest.raises(InvalidInput, match="OPENAI_CHAT_MODEL"):
        Environment.read()


def test_a_key_alone_sends_nothing_to_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    environment = Environment.read()
    assert environment.chat.chat_model == ""
    assert "sk-secret" not in repr(environment)


def test_servers_for_calls_across_networks_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    relay = {"urls": ["turn:turn.example.org?transport=tcp"], "username": "u"}
    servers = [{"urls": "stun:stun.example.org:3478"}, {**relay, "credential": "secret"}]
    monkeypatch.setenv("ICE_SERVERS", json.dumps(servers))
    stun, turn = Environment.read().ice_servers
    assert stun.urls == ("stun:stun.example.org:3478",)
    assert turn.username == "u"
    assert turn.credential is not None
    assert turn.credential.get_secret_value() == "secret"
    assert "secret" not in repr(turn)


def test_no_server_is_asked_that_the_operator_did_not_name() -> None:
    assert Environment.read().ice_servers == ()


@pytest.mark.parametrize(
    "servers",
    [
        "stun:stun.example.org",
        "{}",
        "[{}]",
        '[{"urls": []}]',
        '[{"urls": "http://stun.example.org"}]',
        '[{"urls": "stun:stun.example.org?transport=udp"}]',
        '[{"urls": "turn:turn.example.org", "password": "p"}]',
    ],
)
def test_servers_that_are_none_are_refused(servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICE_SERVERS", servers)
    with pytest.raises(InvalidInput, match="ICE_SERVERS"):
        Environment.read()


def test_an_unknown_runtime_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME", "docker")
    with pytest.raises(InvalidInput, match="RUNTIME=docker"):
        Environment.read()


def test_what_the_operator_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOTS", "7")
    set_environment({"SLOTS": "1"})
    assert AppConfig().with_environment().slots == 7


def with_card(folder: Path, slots: int | None = None, ready_s: int | None = None) -> AppConfig:
    """Settings of a folder of weights whose card says that."""
    profile = replace(PROFILES["marker"], kind="model", name="mine", folder=folder / "mine")
    write_profile(replace(profile, slots=slots, ready_s=ready_s))
    return AppConfig(models_dir=folder, profile="mine")


def test_slots_are_those_of_the_setting_then_of_the_card_then_two(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert AppConfig().num_slots == 2
    config = with_card(tmp_path, slots=1)
    assert config.num_slots == 1
    assert config.running("score_worker").slots == 1
    monkeypatch.setenv("SLOTS", "3")
    assert config.with_environment().num_slots == 3
    assert config.with_environment().running("score_worker").slots == 3


def test_slots_may_be_left_to_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOTS", "auto")
    config = AppConfig().with_environment()
    assert (config.slots, config.num_slots) == ("auto", 4)
    assert config.running("score_worker").slots == 1  # there must be memory for one


def test_a_start_may_take_as_long_as_the_setting_says_then_the_card_then_by_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = with_card(tmp_path)
    assert config.start_s == 300
    with (tmp_path / "mine" / "dit.safetensors").open("wb") as weights:
        weights.truncate(30_000_000_000)  # a hole: no disk is filled
    assert config.start_s == 300 + 600
    assert config.model_copy(update={"capture": "compile"}).start_s == 300 + 600 + 600
    (tmp_path / "second").mkdir()
    config = with_card(tmp_path / "second", ready_s=77)
    assert config.start_s == 77
    monkeypatch.setenv("READY_TIMEOUT_S", "1800")
    assert config.with_environment().start_s == 1800


@pytest.mark.parametrize("name", PROFILES)
def test_chunks_are_those_of_the_profile(name: str) -> None:
    assert AppConfig(profile=name).clock == PROFILES[name].clock


def test_a_folder_of_weights_is_a_profile_by_its_path_and_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    write_profile(replace(PROFILES["marker-16"], name="upright", folder=folder))
    monkeypatch.setenv("PROFILE", str(folder))
    by_path = AppConfig().with_environment()
    monkeypatch.setenv("PROFILE", "mine")
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    by_name = AppConfig().with_environment()
    assert by_path.model == by_name.model
    assert (by_name.clock, by_name.model.height) == (ChunkClock(16, 2, 4), 320)
    assert AppConfig.model_validate(by_name.model_dump()).model == by_name.model


def test_own_avatars_belong_to_the_weights(tmp_path: Path) -> None:
    write_profile(replace(PROFILES["marker-16"], folder=tmp_path / "mine"))
    of_folder = AppConfig(profile=str(tmp_path / "mine"))
    assert of_folder.avatars_dir == tmp_path / "mine" / "avatars"
    assert AppConfig().avatars_dir == FOLDER
    elsewhere = AppConfig(profile=str(tmp_path / "mine"), avatars_dir=tmp_path)
    assert elsewhere.avatars_dir == elsewhere.model.avatars == tmp_path


def test_the_key_file_is_named_by_its_whole_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS_FILE", "keys.toml")
    with pytest.raises(InvalidInput, match=r"\$PWD/keys\.toml"):
        Environment.read()
    monkeypatch.setenv("API_KEYS_FILE", "/etc/keys.toml")
    assert Environment.read().key_file == "/etc/keys.toml"
