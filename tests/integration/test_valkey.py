"""The Valkey of our own starts, is private, and never outlives its parent."""

import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from avatar import errors
from avatar.bus.valkey import run_valkey, valkey_server

pytestmark = pytest.mark.integration

PARENT = """
import sys, redis
from avatar.bus.valkey import run_valkey

with run_valkey() as url:
    with redis.Redis.from_url(url) as client:
        print(url, client.info("server")["process_id"], flush=True)
    sys.stdin.read()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_it_answers_on_a_socket_that_only_this_user_can_reach() -> None:
    with run_valkey() as url:
        path = Path(urlsplit(url).path)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        with redis.Redis.from_url(url) as client:
            assert client.ping()
            assert client.config_get("port") == {"port": "0"}
            assert client.config_get("save") == {"save": ""}
    assert not path.parent.exists()


def test_a_port_is_on_loopback_behind_a_password() -> None:
    port = free_port()
    with run_valkey(port) as url:
        with redis.Redis.from_url(url) as client:
            assert client.ping()
            assert client.config_get("bind") == {"bind": "127.0.0.1"}
        with (
            redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as stranger,
            pytest.raises(redis.exceptions.AuthenticationError),
        ):
            stranger.ping()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_password_is_on_no_command_line() -> None:
    with run_valkey(free_port()) as url:
        password = urlsplit(url).password
        with redis.Redis.from_url(url) as client:
            pid = client.info("server")["process_id"]
        listing = subprocess.run(
            ["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=True
        )
        assert "valkey-server" in listing.stdout
        assert password is not None
        assert password not in listing.stdout


def test_two_run_side_by_side() -> None:
    with run_valkey() as first, run_valkey() as second:
        with redis.Redis.from_url(first) as client:
            client.set("key", "value")
        with redis.Redis.from_url(second) as client:
            assert client.get("key") is None


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(errors.Unavailable, match=f"127.0.0.1:{port}"), run_valkey(port):
            pytest.fail("it shared a port")


def test_it_ends_when_the_block_fails() -> None:
    with pytest.raises(KeyError), run_valkey() as url:  # noqa: PT012  # the block is the point
        with redis.Redis.from_url(url) as client:
            assert client.ping()
        raise KeyError
    with redis.Redis.from_url(url) as client, pytest.raises(redis.exceptions.ConnectionError):
        client.ping()


def test_one_that_was_killed_is_named_as_the_cause_of_what_failed() -> None:
    with pytest.raises(errors.Unavailable, match=r"valkey-server .* ended \(signal 9\)") as caught:  # noqa: PT012
        with valkey_server() as valkey:
            valkey.check()
            valkey.process.kill()
            valkey.process.wait()
            raise errors.Unavailable("Redis does not answer")
    assert str(caught.value.__context__) == "Redis does not answer"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_it_dies_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    url, pid = parent.stdout.readline().split()
    server = os.pidfd_open(int(pid))
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    ended, _, _ = select.select([server], [], [], 10)
    os.close(server)
    path = Path(urlsplit(url).path)
    assert ended
    assert not path.exists()
    shutil.rmtree(path.parent)
