"""Exports: opened for whom they may be, told who is in them, handed over whole, and answered for."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ledger import ExportStatus
from streams.blocks import encode_block
from streams.events import ConsentChanged, PartnerStatus
from streams.exports import ExportClosed, ExportOpened, ExportSettled, SubjectsDisclosed, SubjectsWithdrawn, export_id
from streams.kinds import Choice
from streams.manifests import withdrawn
from streams.topics import DECISIONS, DISCLOSURES
from tests.unit.gateway.harness import Gateway, gateway_in, problem

WANTED = {"dataset": "posts", "version": "1", "partner": "acme", "purpose": "ai-training"}
ID = export_id(*WANTED.values())
WHOLE: dict[str, Any] = {
    "watermark": {"rescind.decisions": {str(partition): 0 for partition in range(8)}},
    "blocks": 1,
    "subjects": 2,
    "rows_read": 5,
    "rows_cleared": 3,
    "dropped": {"opted-out": 2},
    "sha256": "0" * 64,
    "bytes": 17,
    "format": "ndjson",
}
IMPORT = WANTED | {"imported": True, "exported_at": "2025-06-01T00:00:00Z"}


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway_in(tmp_path, {"gate_max_lag_seconds": 0.2}) as made:
        yield made


async def opened(gateway: Gateway, wanted: dict[str, Any] = WANTED) -> Any:
    return await gateway.http.post("/v1/exports", json=wanted, headers=gateway.platform)


async def put(gateway: Gateway, subjects: Sequence[str] = ("user:1", "user:2"), number: int = 0) -> Any:
    return await gateway.http.put(
        f"/v1/exports/{ID}/subjects/{number}", content=encode_block(subjects), headers=gateway.platform
    )


async def closed(gateway: Gateway, **changes: Any) -> Any:
    body = {name: value for name, value in (WHOLE | changes).items() if value is not None}
    return await gateway.http.post(f"/v1/exports/{ID}/close", json=body, headers=gateway.platform)


def settle(gateway: Gateway, *subjects: str) -> None:
    """As the settlement agent does."""
    said = withdrawn(subjects)
    if subjects:
        block = base64.b64encode(encode_block(subjects)).decode()
        part = SubjectsWithdrawn(
            export=ID, dataset="posts", withdrawal=said.sha256, number=0, subjects=len(subjects), block=block
        )
        gateway.happened(DISCLOSURES.name, "w", part)
    data = ExportSettled(
        export=ID, dataset="posts", withdrawn=said, blocks=bool(subjects), manifest='{"a":1}',
        settled_at=gateway.clock.now,
    )  # fmt: skip
    gateway.happened(DISCLOSURES.name, "s", data)


def decided(gateway: Gateway) -> None:
    change = ConsentChanged(
        subject="user:1", purpose="ai-training", choice=Choice.OPT_OUT, retroactive=True, toggle_id="t",
        occurred_at=gateway.clock.now, accepted_at=gateway.clock.now,
    )  # fmt: skip
    gateway.happened(DECISIONS.name, "c", change)


async def test_the_whole_way(gateway: Gateway) -> None:
    gateway.registered("acme")
    first = await opened(gateway)
    assert (first.status_code, first.json()["id"], first.json()["status"]) == (201, ID, "open")
    assert (await opened(gateway)).status_code == 200
    assert (await put(gateway)).json() == {"export": ID, "block": 0, "subjects": 2}
    answer = await closed(gateway)
    assert (answer.status_code, answer.json()["status"], answer.json()["manifest"]) == (202, "closed", None)
    problem(await gateway.http.get(f"/v1/exports/{ID}/withdrawals", headers=gateway.platform), 409, "not-settled")
    settle(gateway, "user:2")
    again = await closed(gateway)
    assert again.status_code == 200
    out = again.json()
    assert (out["status"], out["withdrawn"], out["manifest"]) == ("settled", 1, {"a": 1})
    assert out["rows"] == {"read": 5, "cleared": 3, "dropped": {"opted-out": 2}}
    answer = await gateway.http.get(out["withdrawals_url"], headers=gateway.platform)
    assert answer.text == '"user:2"\n'
    assert [type(event.data) for event in gateway.log.events(DISCLOSURES.name)] == [
        ExportOpened, SubjectsDisclosed, ExportClosed, SubjectsWithdrawn, ExportSettled,
    ]  # fmt: skip
    assert problem(await opened(gateway), 409, "closed")["detail"].endswith("give it another version")
    problem(await put(gateway), 409, "closed")
    problem(await closed(gateway, bytes=18), 409, "closed")


async def test_who_is_barred_gets_none_and_is_told_how_that_is_lifted(gateway: Gateway) -> None:
    problem(await opened(gateway), 404, "unknown-partner")
    gateway.registered("acme", revision=1)
    problem(await opened(gateway, WANTED | {"purpose": "ads"}), 422, "invalid")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"status": PartnerStatus.SUSPENDED, "status_reason": "gone"}, "(gone); `rescind partners resume acme` lifts"),
        ({"draining_since": gateway.clock.now}, "being drained"),
        ({"status": PartnerStatus.REMOVED}, "removed"),
    ]
    for revision, (changes, words) in enumerate(cases, 2):
        gateway.registered("acme", revision=revision, **changes)
        assert words in problem(await opened(gateway), 409, "partner-barred")["detail"]
    assert gateway.log.events(DISCLOSURES.name) == []


async def test_who_is_overdue_is_barred_if_an_operator_wants_that_also_at_the_end(gateway: Gateway) -> None:
    gateway.registered("acme", suspend_exports_when_overdue=True)
    gateway.issued(1)
    assert (await opened(gateway)).status_code == 201
    await put(gateway)
    gateway.clock.now += timedelta(minutes=11)
    for refused in (await opened(gateway), await closed(gateway)):
        detail = problem(refused, 409, "partner-barred")["detail"]
        assert "1 of its notices" in detail
        assert "rescind partners exports acme --when-overdue allow" in detail
    gateway.registered("acme", revision=2)
    assert (await closed(gateway)).status_code == 202


async def test_it_fails_closed_where_the_log_or_the_ledger_is_away(gateway: Gateway) -> None:
    gateway.registered("acme")
    gateway.log.failing = True
    problem(await opened(gateway), 503)
    gateway.log.failing = False
    gateway.log.projecting = False
    decided(gateway)
    problem(await opened(gateway), 503, "ledger-behind")
    assert gateway.log.events(DISCLOSURES.name) == []


async def test_what_is_durable_and_not_shown_yet_is_found_when_it_is_asked_for_again(gateway: Gateway) -> None:
    gateway.registered("acme")
    gateway.log.projecting = False
    problem(await opened(gateway), 503)
    gateway.log.project()
    gateway.log.projecting = True
    assert (await opened(gateway)).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", encode_block(["user:1"])[:-1], encode_block(["user:1"]) + encode_block(["user:2"])]
)
async def test_what_is_no_block_is_refused(gateway: Gateway, body: bytes) -> None:
    gateway.registered("acme")
    await opened(gateway)
    answer = await gateway.http.put(f"/v1/exports/{ID}/subjects/0", content=body, headers=gateway.platform)
    problem(answer, 422, "invalid")


async def test_what_is_not_whole_is_not_handed_over(gateway: Gateway) -> None:
    gateway.registered("acme")
    await opened(gateway)
    assert "block 0 of 1 is missing" in problem(await closed(gateway), 409, "incomplete")["detail"]
    await put(gateway)
    problem(await closed(gateway, subjects=3), 409, "incomplete")
    await put(gateway, ["user:1"], number=1)
    problem(await closed(gateway, blocks=2, subjects=3), 409, "incomplete")
    export = gateway.index.export(ID)
    assert export is not None
    assert export.status is ExportStatus.OPEN


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows_read": 6}, "together"),
        ({"sha256": None}, "go together"),
        ({"watermark": {}}, "watermark"),
        ({"watermark": {"rescind.decisions": {str(partition): 2 for partition in range(8)}}}, "watermark"),
        ({"blocks": -1}, ""),
        ({"sha256": "no digest"}, ""),
    ],
)
async def test_what_does_not_add_up_is_refused(gateway: Gateway, changes: dict[str, Any], words: str) -> None:
    gateway.registered("acme")
    await opened(gateway)
    await put(gateway)
    decided(gateway)
    assert words in json.dumps(problem(await closed(gateway, **changes), 422, "invalid"))
    assert not any(isinstance(event.data, ExportClosed) for event in gateway.log.events(DISCLOSURES.name))


async def test_an_import_is_written_down_whatever_its_partner_has_come_to(gateway: Gateway) -> None:
    gateway.registered("acme", status=PartnerStatus.SUSPENDED)
    assert (await opened(gateway, IMPORT)).status_code == 201
    problem(await opened(gateway), 409, "exists")
    await put(gateway)
    problem(await closed(gateway), 422, "invalid")
    rest = dict.fromkeys(("watermark", "rows_read", "rows_cleared", "sha256", "bytes", "format"))
    answer = await closed(gateway, dropped={}, **rest)
    assert answer.status_code == 202
    assert answer.json()["disclosed_at"] == "2025-06-01T00:00:00Z"
    assert answer.json()["imported"]
    again = await opened(gateway, IMPORT)
    assert (again.status_code, again.json()["status"]) == (200, "closed")
    late = IMPORT | {"version": "2", "exported_at": "2026-06-01T00:00:00Z"}
    assert "future" in problem(await opened(gateway, late), 422)["detail"]
    problem(await opened(gateway, WANTED | {"version": "2", "imported": True}), 422)


async def test_who_was_given_a_subject_and_what_became_of_it(gateway: Gateway) -> None:
    gateway.registered("acme")
    await opened(gateway)
    await put(gateway)
    await closed(gateway)
    settle(gateway, "user:2")
    gateway.clock.now += timedelta(hours=1)
    gateway.issued(1)
    for subject, withdrawn_too, became in (("user:1", False, "queued"), ("user:2", True, None)):
        answer = await gateway.http.get(f"/v1/subjects/{subject}/disclosures", headers=gateway.platform)
        (found,) = answer.json()["disclosures"]
        assert (found["partner"], found["dataset"], found["version"]) == ("acme", "posts", "1")
        assert (found["withdrawn"], found["became"]) == (withdrawn_too, became)
    answer = await gateway.http.get("/v1/subjects/user:3/disclosures", headers=gateway.platform)
    assert answer.json() == {"subject": "user:3", "disclosures": []}
    timeline = await gateway.http.get("/v1/subjects/user:2/timeline", headers=gateway.platform)
    assert [entry["kind"] for entry in timeline.json()["entries"]] == ["disclosed"]


async def test_an_answer_about_a_person_is_complete_or_none(gateway: Gateway) -> None:
    gateway.registered("acme")
    gateway.log.projecting = False
    gateway.happened(DISCLOSURES.name, "x", ExportSettled(
        export=ID, dataset="posts", withdrawn=withdrawn([]), blocks=0, manifest="", settled_at=gateway.clock.now
    ))  # fmt: skip
    for path in ("disclosures", "timeline"):
        problem(await gateway.http.get(f"/v1/subjects/user:1/{path}", headers=gateway.platform), 503)


async def test_exports_are_listed_by_pages(gateway: Gateway) -> None:
    gateway.registered("acme")
    for version in "123":
        await opened(gateway, WANTED | {"version": version})
        gateway.clock.now += timedelta(minutes=1)
    page = (await gateway.http.get("/v1/exports?limit=2", headers=gateway.platform)).json()
    assert [export["version"] for export in page["exports"]] == ["3", "2"]
    rest = (await gateway.http.get(f"/v1/exports?after={page['next']}", headers=gateway.platform)).json()
    assert ([export["version"] for export in rest["exports"]], rest["next"]) == (["1"], None)
    none = await gateway.http.get("/v1/exports?partner=bolt&dataset=posts", headers=gateway.platform)
    assert none.json()["exports"] == []


async def test_the_key_that_checks_manifests_is_anybodys(gateway: Gateway) -> None:
    found = (await gateway.http.get("/v1/signing-key")).json()
    (key,) = gateway.context.public_keys
    assert (found["key_id"], found["public_key"], found["algorithm"]) == (key.id, key.key, "Ed25519")
    assert found["previous"] == []
