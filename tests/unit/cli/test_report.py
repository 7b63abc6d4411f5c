"""`rescind report`: what it asks of the service, and that half a report is none."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.unit.cli.conftest import Run
from tests.unit.cli.fakes import Answer, FakeService, problem
from tests.unit.cli.test_commands import failed

CSV = "notice,status\r\nn-1,“completed”\r\n".encode()
ASKED = ("report", "--partner", "acme", "--from", "2026-01-01")


def test_a_report_goes_to_standard_output_as_it_came(ask: Run, service: FakeService) -> None:
    service.next.append(Answer(200, CSV))
    ran = ask(*ASKED, "--to", "2026-01-31T12:00:00+01:00")
    assert (ran.code, ran.out.encode(), ran.err) == (0, CSV, "")
    (asked,) = service.asked
    query = parse_qs(urlsplit(asked.path).query)
    assert urlsplit(asked.path).path == "/v1/partners/acme/report"
    assert query == {"from": ["2026-01-01T00:00:00Z"], "to": ["2026-01-31T12:00:00+01:00"], "format": ["csv"]}
    assert asked.headers["authorization"] == "Bearer rsk_operator_1_x"


def test_a_report_goes_into_a_file(ask: Run, service: FakeService, tmp_path: Path) -> None:
    service.next.append(Answer(200, b"<!doctype html>"))
    out = tmp_path / "acme.html"
    ran = ask(*ASKED, "--format", "html", "--out", str(out))
    assert (ran.code, ran.out) == (0, f"written to {out}\n")
    assert out.read_bytes() == b"<!doctype html>"
    assert parse_qs(urlsplit(service.asked[0].path).query)["format"] == ["html"]
    assert list(tmp_path.iterdir()) == [out]


def test_half_a_report_is_none(ask: Run, service: FakeService, tmp_path: Path) -> None:
    out = tmp_path / "acme.csv"
    out.write_text("the one before")
    service.next.append(Answer(200, CSV, headers={"content-length": "1000"}))
    assert "no answer from" in failed(ask(*ASKED, "--out", str(out)))
    assert out.read_text() == "the one before"
    assert list(tmp_path.iterdir()) == [out]


def test_what_the_service_refuses_is_told_in_a_line(ask: Run, service: FakeService, tmp_path: Path) -> None:
    service.next.append(Answer(404, problem("there is no partner 'acme'")))
    assert failed(ask(*ASKED, "--out", str(tmp_path / "x"))) == "there is no partner 'acme'"
    service.next.append(Answer(502, b"<html>"))
    assert failed(ask(*ASKED)).endswith("answered 502 without JSON")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told_in_a_line(ask: Run, service: FakeService, tmp_path: Path) -> None:
    service.next.append(Answer(200, CSV))
    assert "No such file or directory" in failed(ask(*ASKED, "--out", str(tmp_path / "no" / "x")))
