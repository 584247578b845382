"""The public names of the SDK: twins alike, and nothing of protobuf in them."""

import inspect
import pkgutil
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest

import talkingmachines as tm
from services.settings import AppConfig
from talkingmachines import testing
from talkingmachines._connection import DEFAULT_SERVER

pytestmark = pytest.mark.unit

TWINS = [
    (tm.Client, tm.AsyncClient),
    (tm.Answer, tm.AsyncAnswer),
    (tm.Session, tm.AsyncSession),
    (tm.Operation, tm.AsyncOperation),
]
WITH_BLOCKS = TWINS[:3]


def public_members(cls: type) -> dict[str, Any]:
    """Of the class, and of those of ours that it stands on."""
    ours = [each for each in reversed(cls.__mro__) if each.__module__.startswith("talkingmachines")]
    members = {name: member for each in ours for name, member in vars(each).items()}
    return {name: member for name, member in members.items() if not name.startswith("_")}


@pytest.mark.parametrize(("sync", "twin"), TWINS)
def test_the_twins_have_the_same_names(sync: type, twin: type) -> None:
    assert public_members(sync).keys() == public_members(twin).keys()


@pytest.mark.parametrize(("sync", "twin"), WITH_BLOCKS)
def test_the_twins_end_with_their_block(sync: type, twin: type) -> None:
    assert {"__enter__", "__exit__"} <= vars(sync).keys()
    assert {"__aenter__", "__aexit__"} <= vars(twin).keys()


@pytest.mark.parametrize(("sync", "twin"), TWINS)
def test_the_twins_take_the_same_arguments(sync: type, twin: type) -> None:
    for name, member in public_members(sync).items():
        if inspect.isfunction(member):
            ours, theirs = (inspect.signature(public_members(cls)[name]) for cls in (sync, twin))
            assert ours.parameters == theirs.parameters, name


@pytest.mark.parametrize(("sync", "twin"), TWINS)
def test_the_twins_are_described_in_the_same_words(sync: type, twin: type) -> None:
    for name, member in public_members(sync).items():
        assert (member.__doc__ or "").replace("thread", "task") == (
            public_members(twin)[name].__doc__ or ""
        ), name


def test_what_a_client_stands_on_is_looked_at_too() -> None:
    assert {"create_avatar", "say"} <= public_members(tm.Client).keys()


def test_every_public_name_is_exported_and_exists() -> None:
    assert sorted(tm.__all__) == tm.__all__
    for name in tm.__all__:
        assert hasattr(tm, name)


def test_every_module_but_the_mock_server_is_private() -> None:
    modules = {module.name for module in pkgutil.iter_modules(tm.__path__)}

    assert {name for name in modules if not name.startswith("_")} == {"testing"}


def signatures() -> list[Callable[..., Any]]:
    found: list[Callable[..., Any]] = []
    public = [getattr(tm, name) for name in tm.__all__]
    for thing in [*public, *(getattr(testing, name) for name in testing.__all__)]:
        if inspect.isclass(thing):
            members = public_members(thing).values()
            found += [member for member in members if inspect.isfunction(member)]
            found += [m.fget for m in members if isinstance(m, property) and m.fget]
            found += [vars(thing)["__next__"]] if "__next__" in vars(thing) else []
    return found


def test_no_signature_holds_a_type_of_protobuf_or_grpc() -> None:
    assert signatures()
    for function in signatures():
        for hint in get_type_hints(function).values():
            assert "pb2" not in repr(hint), function
            assert "grpc" not in repr(hint), function


def test_every_error_is_a_talk_error_with_a_reason_of_its_own() -> None:
    errors = [getattr(tm, name) for name in tm.__all__]
    errors = [e for e in errors if inspect.isclass(e) and issubclass(e, Exception)]

    assert all(issubclass(error, tm.TalkError) for error in errors)
    named = [error for error in errors if error not in (tm.TalkError, tm.ServerError)]
    assert len({error.default_reason for error in named}) == len(named)


def test_the_address_called_by_default_is_the_one_served_by_default() -> None:
    served = AppConfig.model_validate({})

    assert f"{served.host}:{served.grpc_port}" == DEFAULT_SERVER
