"""What only shows in a process of its own: what is imported, forks, and the end."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rescind.emitter import Emitter, InvalidInput
from tests.support.ports import deaf_port
from tests.unit.cli.fakes import FakeService, serving

ROOT = Path(__file__).parents[3]

#: Prints the packages that a line of code imports, the standard library's aside.
IMPORTS = """
import sys
before = set(sys.modules)
from rescind.emitter import Emitter, HttpEmitter
{line}
imported = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(imported - sys.stdlib_module_names))
"""


def ran(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Python 3.11 alone calls deprecated how kafka-python reads its schemas.
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("line", "packages"),
    [
        ("", {"rescind", "streams"}),
        ("HttpEmitter('http://127.0.0.1', 'key').close()", {"rescind", "streams"}),
        ("Emitter('kafka://127.0.0.1', platform='/blogs').close()", {"rescind", "streams", "kafka"}),
    ],
)
def test_it_needs_nothing_of_the_services(line: str, packages: set[str]) -> None:
    done = ran(IMPORTS.format(line=line))
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) == packages


#: A web server that loads the application and then forks: the emitter was made, and even used, before.
PREFORK = """
import os, sys
from rescind.emitter import HttpEmitter

emitter = HttpEmitter(sys.argv[1], "key")
waiting = [emitter.emit(f"user:{n}", "ai", "opt_out", id=f"parent-{n}") for n in range(300)]
children = []
for child in range(4):
    pid = os.fork()
    if pid == 0:
        emitter.flush(0)  # the parent's toggles are not this process's to wait for
        first = emitter.emit("user:1", "ai", "opt_out", id=f"child-{child}-first")
        first.result(30)
        emitter.emit("user:1", "ai", "opt_out", id=f"child-{child}-last")
        sys.exit(0)  # by the interpreter's own end
    children.append(pid)
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
for future in waiting:
    future.result(30)
emitter.emit("user:1", "ai", "opt_out", id="last")
"""


def test_forks_and_the_processs_end_lose_and_double_nothing() -> None:
    with serving(FakeService()) as service:
        done = ran(PREFORK, service.url)
        assert (done.returncode, done.stderr) == (0, "")
        expected = {f"parent-{number}" for number in range(300)} | {"last"}
        expected |= {f"child-{child}-{which}" for child in range(4) for which in ("first", "last")}
        assert sorted(toggle["id"] for toggle in service.taken) == sorted(expected)


#: Leaves a toggle behind, and does not close.
LEAVING = """
import sys
from rescind.emitter import HttpEmitter

emitter = HttpEmitter(sys.argv[1], "key", exit_timeout=0.5)
emitter.emit("user:1", "ai", "opt_out", id="left")
"""


def test_an_exit_waits_for_the_last_toggles_but_not_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # it takes connections, and never answers
        started = time.monotonic()
        done = ran(LEAVING, f"http://127.0.0.1:{deaf.getsockname()[1]}")
        assert 0.5 <= time.monotonic() - started < 30
    assert done.returncode == 0
    assert done.stderr == "left is not emitted: the emitter was closed before there was an answer\n"


#: No broker is there. Prints what kafka-python's module then has for a logger.
NO_BROKER = """
import gc, sys
import kafka.producer.kafka
from rescind.emitter import Emitter, producing

producing.CONNECTING = 0.2
with Emitter(sys.argv[1], platform="/blogs", timeout=0.5) as emitter:
    print("Kafka is not reached" in str(emitter.emit("user:1", "ai", "opt_out", id="lost").exception(10)))
gc.collect()
print(type(kafka.producer.kafka.log).__name__)
"""


def test_no_broker_at_all_is_told_and_leaves_nothing_behind() -> None:
    with deaf_port() as port:
        done = ran(NO_BROKER, f"kafka://127.0.0.1:{port}")
    assert done.stdout.split() == ["True", "Logger"]
    # A client has a pair of sockets to wake it by, and Python tells of one that nobody closed.
    assert "family=1" not in done.stderr
    assert "lost is not emitted: given up at the deadline: Kafka is not reached" in done.stderr


@pytest.mark.parametrize(
    "servers", ["kafka://", "http://a:9092", "kafka://a:x", "a/b", "me:secret@a", "a,,b", [], ["a?b"], "a:99999"]
)
def test_servers_that_are_none_are_refused(servers: str | list[str]) -> None:
    with pytest.raises(InvalidInput, match="the brokers must be"):
        Emitter(servers, platform="/blogs")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"acks": 1}, "acks is not for you to choose"),
        ({"enable_idempotence": False}, "enable_idempotence is not for you"),
        ({"partitioner": None}, "partitioner is not for you"),
        ({"ssl_ca": "x"}, "ssl_ca is no setting of KafkaProducer"),
        ({"ssl_cafile": "/nowhere.pem"}, "ssl_cafile: there is no file /nowhere.pem"),
    ],
)
def test_settings_that_break_a_promise_or_mean_nothing_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        Emitter("kafka://a", platform="/blogs", **settings)


@pytest.mark.parametrize("platform", ["", "a b", "ä", "x" * 201, "<blogs>"])
def test_a_name_that_is_no_source_is_refused(platform: str) -> None:
    with pytest.raises(InvalidInput, match="platform must be a URI reference"):
        Emitter("kafka://a", platform=platform)
