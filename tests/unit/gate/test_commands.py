"""`rescind gate` and `rescind manifest` as people use them, and the gate for programs."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rescind.gate import Gate, Reason
from rescind.gate.handing import Patience
from streams.errors import InvalidInput, RescindError
from streams.exports import Output, Rows
from streams.manifests import Manifest, signed, withdrawn
from streams.witness import Witness
from tests.unit.cli.conftest import Ran, Run, run
from tests.unit.cli.fakes import Answer, Asked, serving
from tests.unit.gate.fakes import NO_PATIENCE, NOON, MemoryService, consents
from tests.unit.gate.serving import HttpGate

__all__ = ["run"]
ROWS = [{"blog": f"blog:{number}", "text": "x" * 100} for number in range(5)]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
WITHOUT_3 = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS if row["blog"] != "blog:3")
WANTED = ["--partner", "acme", "--purpose", "ai-training", "--dataset", "posts", "--version", "1"]


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("RESCIND_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def service() -> Iterator[HttpGate]:
    with serving(HttpGate(memory=MemoryService(consents("blog:3")))) as running:
        assert isinstance(running, HttpGate)
        yield running


@pytest.fixture
def gate(run: Run, service: HttpGate) -> Run:
    wanted = ["gate", *WANTED, "--subject-column", "blog", "--retry-for", "0", "--settle-for", "0"]
    return lambda *arguments: run(*wanted, *arguments, "--url", service.url, "--key", "rsk_platform_1_x")


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_from_file_to_file(gate: Run, service: HttpGate) -> None:
    Path("in.ndjson").write_bytes(LINES)
    ran = gate("--input", "in.ndjson", "--output", "out.ndjson")
    assert ran.code == 0, ran
    assert Path("out.ndjson").read_bytes() == WITHOUT_3
    identity = json.loads(Path("out.ndjson.manifest.json").read_bytes())["export"]
    assert ran.out.splitlines() == [
        "5 rows read, 4 cleared, 1 dropped (opted out: 1)",
        f"Export {identity} is settled; its manifest is out.ndjson.manifest.json.",
    ]
    assert ran.err == ""
    assert {asked.headers["authorization"] for asked in service.asked} == {"Bearer rsk_platform_1_x"}
    assert sorted(path.name for path in Path().iterdir()) == ["in.ndjson", "out.ndjson", "out.ndjson.manifest.json"]


def test_from_standard_input_to_standard_output(gate: Run, monkeypatch: pytest.MonkeyPatch, service: HttpGate) -> None:
    service.memory.withdrawn = ("blog:1",)
    stdin(monkeypatch, LINES + b"nonsense\n")
    ran = gate()
    assert ran.code == 1
    assert ran.out.encode() == WITHOUT_3
    assert ran.err.splitlines()[:4] == [
        "row 6: it is not JSON",
        "6 rows read, 4 cleared, 2 dropped (opted out: 1, malformed: 1)",
        "The malformed rows are in posts-1.rejects.",
        "Withdrawn: 1 (they chose otherwise while it was made); leave out what is theirs, see posts-1.withdrawals.",
    ]
    assert json.loads(Path("posts-1.rejects").read_bytes()) == {
        "number": 6, "reason": "it is not JSON", "row": "nonsense",
    }  # fmt: skip
    assert Path("posts-1.withdrawals").read_bytes() == b'"blog:1"\n'
    assert Path("posts-1.manifest.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resume"], "--resume needs --output"),
        (["--input", "gone.ndjson", "--output", "o"], "cannot read gone.ndjson"),
        (["--output", "nowhere/o"], "there is no such directory"),
        (["--output", "."], "it is a directory"),
        (["--visibility-column", "who", "--output", "o"], "go together"),
        (["--subject-column", "blog", "--output", "o"], "named twice"),
        (["--format", "xml"], "xml"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(gate: Run, arguments: list[str], words: str) -> None:
    ran = gate(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert ran.err.startswith("rescind: ")
    assert len(ran.err.splitlines()) == 1
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("status", [401, 403, 404, 409, 422, 503])
def test_what_the_service_refuses_leaves_nothing(gate: Run, service: HttpGate, status: int) -> None:
    service.next.append(Answer(status, {"detail": "not now", "status": status}))
    Path("in.csv").write_text("blog\nblog:1\n")
    ran = gate("--input", "in.csv", "--output", "out.csv")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("rescind: not now")
    assert [path.name for path in Path().iterdir()] == ["in.csv"]


def test_a_snapshot_that_breaks_off_leaves_nothing(gate: Run, service: HttpGate) -> None:
    service.next += [Answer(201, {"id": "e", "status": "open"}), Answer(200, b'{"purpose":"ai-training"}\n')]
    Path("in.ndjson").write_bytes(LINES)
    ran = gate("--input", "in.ndjson", "--output", "out.ndjson")
    assert ran.code == 2
    assert "nothing goes out" in ran.err
    assert [path.name for path in Path().iterdir()] == ["in.ndjson"]


def test_no_pyarrow_is_said(gate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    Path("in.parquet").write_bytes(b"")
    ran = gate("--input", "in.parquet", "--output", "out.parquet")
    assert (ran.code, ran.err) == (2, "rescind: Parquet needs pyarrow: pip install 'rescind[parquet]'\n")


# -- killed, for real


@pytest.mark.parametrize("moment", ["rows", "POST"])
def test_killed_it_leaves_no_half_export_and_goes_on(service: HttpGate, moment: str) -> None:
    Path("in.ndjson").write_bytes(LINES)
    source = Path("pipe" if moment == "rows" else "in.ndjson")
    if moment == "rows":
        os.mkfifo(source)
    command = [
        sys.executable, "-m", "rescind", "gate", *WANTED, "--subject-column", "blog", "--output", "out",
        "--url", service.url, "--key", "k", "--resume", "--input",
    ]  # fmt: skip
    process = subprocess.Popen([*command, str(source)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def kill(asked: Asked) -> None:
        if asked.method == moment and asked.path.endswith("/close"):
            process.send_signal(signal.SIGKILL)

    service.on_request = kill
    if moment == "rows":
        with source.open("wb") as pipe:
            # More than it reads at once, so that some is through the gate when this returns.
            pipe.write(LINES * 1000)
            process.send_signal(signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, said
    assert not Path("out").exists()
    assert Path("out.partial").exists()
    assert not Path("out.manifest.json").exists()
    service.on_request = lambda asked: None
    subprocess.run([*command, "in.ndjson"], check=True, timeout=60)
    assert Path("out").read_bytes() == WITHOUT_3
    assert Path("out.manifest.json").exists()
    assert not Path("out.partial").exists()
    assert not Path("out.gate").exists()


# -- for programs


def gate_of(memory: MemoryService, **changes: Any) -> Gate:
    wanted = {"dataset": "posts", "version": "1", "partner": "acme", "purpose": "ai-training", "subjects": ["blog"]}
    return Gate("", None, service=memory, patience=NO_PATIENCE, **(wanted | changes))


def test_a_program_gets_the_cleared_rows_and_closes() -> None:
    memory = MemoryService(consents("blog:3"), withdrawn=("blog:1",))
    with gate_of(memory) as gate:
        rows: list[dict[str, Any]] = [*ROWS * 100, {"blog": None}]
        assert list(gate.cleared(iter(rows))) == [row for row in ROWS if row["blog"] != "blog:3"] * 100
        assert (gate.read, gate.cleared_rows, gate.malformed) == (501, 400, [(501, "it has no blog")])
        assert dict(gate.dropped) == {Reason.OPTED_OUT: 100, Reason.MALFORMED: 1}
        assert memory.closed is None
        handed = gate.close(sha256="0" * 64, size=7, format="mine")
    assert handed.withdrawn == ["blog:1"]
    assert memory.subjects == ["blog:0", "blog:1", "blog:2", "blog:4"]
    assert handed.manifest["output"] == {"sha256": "0" * 64, "bytes": 7, "format": "mine"}


def test_a_program_that_fails_records_nothing() -> None:
    memory = MemoryService(consents())
    with pytest.raises(ZeroDivisionError), gate_of(memory) as gate:
        for _ in gate.cleared(ROWS):
            raise ZeroDivisionError
    assert (memory.closed, memory.blocks) == (None, {})
    with pytest.raises(InvalidInput):
        gate.close(sha256="0" * 64, size=0, format="mine")
    with pytest.raises(InvalidInput):
        list(gate.cleared(ROWS))


def test_a_program_over_http(service: HttpGate) -> None:
    wanted = {"dataset": "posts", "version": "1", "partner": "acme", "purpose": "ai-training", "subjects": ["blog"]}
    with Gate(service.url, "k", **wanted, patience=Patience(away=0)) as gate:  # type: ignore[arg-type]
        assert len(list(gate.cleared(ROWS))) == 4
        gate.close(sha256="0" * 64, size=7, format="mine")
    assert service.memory.subjects == ["blog:0", "blog:1", "blog:2", "blog:4"]
    with pytest.raises(RescindError, match="closed"), Gate(service.url, "k", **wanted, patience=Patience(away=0)):  # type: ignore[arg-type]
        pass


# -- manifests

SEED = "A" * 43 + "="


def manifest() -> Manifest:
    import hashlib  # noqa: PLC0415

    output = Output(sha256=hashlib.sha256(WITHOUT_3).hexdigest(), bytes=len(WITHOUT_3), format="ndjson")
    return Manifest(
        export="e", dataset="posts", version="1", partner="acme", purpose="ai-training", regime="opt-out",
        watermark={"rescind.decisions": {"0": 7}}, opened_at=NOON, closed_at=NOON, settled_at=NOON, subjects=4,
        rows=Rows(read=5, cleared=4, dropped={"opted_out": 1}), output=output, withdrawn=withdrawn(["blog:1"]),
        key_id=Witness(SEED).public[0].id,
    )  # fmt: skip


@pytest.fixture
def verify(run: Run) -> Run:
    """With all the files that there are."""
    Path("m.json").write_bytes(signed(manifest(), Witness(SEED)))
    Path("out").write_bytes(WITHOUT_3)
    Path("out.withdrawals").write_bytes(b'"blog:1"\n')
    Path("key.pub").write_text(Witness(SEED).public[0].key + "\n")
    return lambda *arguments: run("manifest", "verify", "m.json", *arguments)


ALL = ["--data", "out", "--withdrawals", "out.withdrawals", "--key", "key.pub"]


def test_a_manifest_that_holds(verify: Run) -> None:
    ran = verify(*ALL)
    assert ran == Ran(
        0,
        "posts 1 for acme (ai-training): 4 of 5 rows, 4 subjects, 1 withdrawn\n"
        f"signed with the key {Witness(SEED).public[0].id}; out is what was exported\n",
        "",
    )
    assert verify("--key", Witness(SEED).public[0].key).code == 0
    parsed = json.loads(Path("m.json").read_bytes())
    Path("m.json").write_text(json.dumps(dict(reversed(parsed.items())), indent=4))
    assert verify(*ALL).code == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda body: {**body, "subjects": 5},
        lambda body: {**body, "more": 1},
        lambda body: {name: body[name] for name in body if name != "signature"},
        lambda body: {**body, "rows": {**body["rows"], "dropped": {"opted_out": 1, "visibility": 0}}},
        lambda body: {},
    ],
)
def test_tampering_is_found(verify: Run, change: Callable[[dict[str, Any]], Any]) -> None:
    """Of each field by itself: see the tests of `streams.manifests`."""
    Path("m.json").write_text(json.dumps(change(json.loads(Path("m.json").read_bytes()))))
    ran = verify(*ALL)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("m.json: ")


def test_programs_are_told_as_json(verify: Run) -> None:
    held = verify(*ALL, "--json")
    told = json.loads(held.out)
    assert (held.code, told["ok"], told["problems"], told["manifest"]["dataset"]) == (0, True, [], "posts")
    Path("out").write_bytes(b"")
    failed = verify(*ALL, "--json")
    told = json.loads(failed.out)
    assert (failed.code, failed.err, told["ok"], len(told["problems"])) == (1, "", False, 1)


@pytest.mark.parametrize("name", ["out", "out.withdrawals"])
def test_tampering_with_the_data_is_found(verify: Run, name: str) -> None:
    whole = Path(name).read_bytes()
    for tampered in (whole[:-1], whole + b"\n", b"", whole.replace(b"1", b"2", 1)):
        Path(name).write_bytes(tampered)
        assert verify(*ALL).code == 1
    Path(name).write_bytes(whole)
    assert verify(*ALL).code == 0


def test_a_manifest_by_another_key_does_not_hold(verify: Run) -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    import base64  # noqa: PLC0415

    assert verify("--key", base64.b64encode(other).decode()).code == 1
    assert verify("--key", base64.b64encode(other).decode(), "--key", "key.pub").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--key", "nonsense"], "a public key is 32 bytes"),
        (["--key", "out"], "a public key is 32 bytes"),
        (["--key", "key.pub", "--data", "gone"], "cannot read gone"),
    ],
)
def test_what_cannot_be_verified_is_said(verify: Run, arguments: list[str], words: str) -> None:
    ran = verify(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


@pytest.mark.parametrize("content", [b"", b"[]", b"nonsense", b"\xff", b"[" * 5000])
def test_what_is_no_manifest_is_said(verify: Run, content: bytes) -> None:
    Path("m.json").write_bytes(content)
    ran = verify(*ALL)
    assert (ran.code, ran.err) == (2, "rescind: m.json is no manifest, which is a JSON object\n")


def test_without_a_key_the_service_is_asked(verify: Run, service: HttpGate) -> None:
    key = {"key_id": "k", "public_key": Witness("B" * 43 + "=").public[0].key}
    service.next.append(Answer(200, key | {"previous": [{"public_key": Witness(SEED).public[0].key}]}))
    assert verify("--url", service.url).code == 0
    assert service.asked[-1].path == "/v1/signing-key"
    service.next.append(Answer(200, {"previous": []}))
    assert verify("--url", service.url).code == 2
