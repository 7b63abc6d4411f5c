"""Apache Kafka from Maven's registry: fetched once a machine, and run by the machine's own Java."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

POM = Path(__file__).with_name("pom.xml")

#: The oldest Java that runs a broker of Kafka 4.
OLDEST_JAVA = 17
#: Seconds that Maven may take. A cold cache means some 60 MB.
FETCHING = 240.0

#: For Java: little memory, the quick compiler and the small collector. A test's broker is mostly starting.
QUICK = ("-Xms64m", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
#: For Java when it runs a tool: on stderr, nothing but what is wrong.
TOOL = (*QUICK, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")

#: What runs when one of Kafka's scripts is called.
TOOLS = {
    "kafka-configs": "org.apache.kafka.tools.ConfigCommand",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
}


class Unavailable(Exception):
    """Kafka cannot run on this machine. The text says why, in one line."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """Kafka's jars, and the Java to run them. Java takes classes from `archive` where it is there."""

    java: str
    home: Path

    @property
    def archive(self) -> Path:
        return self.home / "classes.jsa"

    def command(self, main: str, *arguments: str, jvm: Iterable[str] = QUICK) -> list[str]:
        """The command line that runs one of Kafka's classes. Java itself says nothing."""
        # In an order of our own: the archive only fits the class path that it was made with.
        jars = sorted(str(jar) for jar in self.home.glob("*.jar"))
        shared = [f"-XX:SharedArchiveFile={self.archive}"] if self.archive.exists() else []
        return [self.java, *shared, "-Xlog:disable", *jvm, "-cp", os.pathsep.join(jars), main, *arguments]


def fetched() -> Distribution:
    """Kafka as the pom names it, fetched if it is not here yet. Any number of processes may ask at once.

    Raises `Unavailable`.
    """
    java = shutil.which("java")
    if java is None:
        raise Unavailable("there is no java")
    version = _run([java, "-version"], 60)
    if (major := _major(version)) < OLDEST_JAVA:
        raise Unavailable(f"java is of version {major}, and a broker needs {OLDEST_JAVA}")
    key = hashlib.sha256(POM.read_bytes() + version.encode()).hexdigest()[:12]
    home = cache() / f"kafka-{key}"
    with locked(home):
        if not home.exists():
            _fetch(home)
    return Distribution(java, home)


def cache() -> Path:
    """Outside the sources, so that every checkout shares it."""
    base = os.environ.get("XDG_CACHE_HOME")
    directory = (Path(base) if base else Path.home() / ".cache") / "rescind-tests"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def locked(home: Path) -> FileLock:
    """Held by whoever makes something in `home`."""
    return FileLock(home.with_suffix(".lock"))


def _fetch(home: Path) -> None:
    mvn = shutil.which("mvn")
    if mvn is None:
        raise Unavailable("there is no mvn to fetch it with")
    with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
        # Maven writes beside the pom.
        pom = shutil.copy(POM, scratch)
        jars = Path(scratch) / "jars"
        quietly = ["-B", "-q", "-Dstyle.color=never"]
        _run([mvn, *quietly, "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={jars}"], FETCHING)
        # Whole or not at all, whenever this process may die.
        jars.rename(home)


def _run(command: list[str], seconds: float) -> str:
    """What a command prints. Raises `Unavailable`."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{name} did not end within {seconds:.0f} s") from None
    said = (done.stdout + done.stderr).strip()
    if done.returncode != 0:
        raise Unavailable(f"{name} failed: {said.splitlines()[0] if said else 'it said nothing'}")
    return said


def _major(version: str) -> int:
    found = re.search(r'version "(\d+)', version)
    if found is None:
        raise Unavailable(f"java does not tell its version: {version.splitlines()[0]}")
    return int(found[1])
