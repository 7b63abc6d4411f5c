"""Partners' servers, each in a web framework and as its tutorial has it, run by what this machine has for it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kafka.distribution import cache, locked

HERE = Path(__file__).parent
#: Where Debian's packages `node-...` are.
_DEBIAN_MODULES = Path("/usr/share/nodejs")
#: Seconds that a program may take to be built, and a server to listen.
_BUILDING, _STARTING = 240.0, 60.0


class Missing(Exception):
    """A server cannot run on this machine. The text says what is missing."""


#: What makes a command line, where PORT stands for the port. Raises `Missing`.
Recipe = Callable[[Path], list[str]]


def _flask(_: Path) -> list[str]:
    return [sys.executable, "-m", "flask", "--app", "flask_app", "run", "--port", "PORT"]


def _fastapi(_: Path) -> list[str]:
    return [sys.executable, "-m", "uvicorn", "--port", "PORT", "--log-level", "warning", "fastapi_app:app"]


def _http_server(_: Path) -> list[str]:
    return [sys.executable, "http_server.py", "PORT"]


def _express(_: Path) -> list[str]:
    return ["env", f"NODE_PATH={_modules()}", _tool("node", "nodejs"), "express_app.js", "PORT"]


def _go(scratch: Path) -> list[str]:
    server = str(scratch / "server")
    environment = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    _run([_tool("go", "golang-go"), "build", "-o", server, "server.go"], environment)
    return [server, "PORT"]


def _php(_: Path) -> list[str]:
    return [_tool("php", "php-cli"), "-d", "display_errors=1", "-S", "127.0.0.1:PORT", "-t", "php"]


def _java(_: Path) -> list[str]:
    _tool("javac", "default-jdk-headless")  # a source file is compiled as it is run
    return [_tool("java", "default-jdk-headless"), "-XX:TieredStopAtLevel=1", "Server.java", "PORT"]


FRAMEWORKS: dict[str, Recipe] = {
    "flask": _flask,
    "fastapi": _fastapi,
    "http.server": _http_server,
    "express": _express,
    "go": _go,
    "php": _php,
    "java": _java,
}


@contextmanager
def serving(framework: str, scratch: Path) -> Iterator[str]:
    """A server that listens. Its URL, without a path. Where it cannot run, the test is skipped; in CI it fails."""
    try:
        command = FRAMEWORKS[framework](scratch)
    except Missing as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(f"NOT TESTED: replies of {framework}; {missing}")
    with contextlib.ExitStack() as stack:
        # Bound and not listening, it keeps the port for the server.
        reserved = stack.enter_context(socket.socket())
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        said = stack.enter_context((scratch / "server.log").open("w+"))
        words = [word.replace("PORT", str(port)) for word in command]
        server = subprocess.Popen(words, cwd=HERE, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            _wait_until_it_listens(server, port, scratch / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()
            server.wait()


def _wait_until_it_listens(server: subprocess.Popen[bytes], port: int, said: Path) -> None:
    end = time.monotonic() + _STARTING
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if server.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the server does not listen: {said.read_text()}") from None
            time.sleep(0.05)
        else:
            return


def _modules() -> Path:
    """Where Express is: Debian's, or fetched once a machine as `package.json` names it."""
    npm = shutil.which("npm")
    if npm is None:
        if not all((_DEBIAN_MODULES / name).exists() for name in ("express", "compression")):
            raise Missing("there is no npm to fetch Express with (Debian: node-express, node-compression)")
        return _DEBIAN_MODULES
    package = HERE / "package.json"
    home = cache() / f"express-{hashlib.sha256(package.read_bytes()).hexdigest()[:12]}"
    with locked(home):
        if not home.exists():
            scratch = home.with_suffix(".new")
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            shutil.copy(package, scratch)
            _run([npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", str(scratch)])
            # Whole or not at all, whenever this process may die.
            scratch.rename(home)
    return home / "node_modules"


def _tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Missing(f"there is no {name} (Debian: {package})")
    return found


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, cwd=HERE, env=os.environ | (environment or {}), capture_output=True, text=True, timeout=_BUILDING
    )
    if done.returncode != 0:
        raise Missing(f"{Path(command[0]).name} failed: {(done.stdout + done.stderr).strip()[-500:]}")
