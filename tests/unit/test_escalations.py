"""Whom operators want to be told: what they may write, and what it gives away."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from streams.deadlines import Step
from streams.escalations import Rule, rules
from streams.settings import Settings


def test_rules_are_read() -> None:
    text = "at_risk=https://hooks.example/a?b=c  breached=mailto:ops@a.example\nbreached+PT4H=http://10.0.0.1:8065/x"
    assert rules(text) == (
        Rule(step=Step.AT_RISK, after=0, target="https://hooks.example/a?b=c"),
        Rule(step=Step.BREACHED, after=0, target="mailto:ops@a.example"),
        Rule(step=Step.BREACHED, after=4 * 3600, target="http://10.0.0.1:8065/x"),
    )
    assert rules("") == ()


@pytest.mark.parametrize(
    "text",
    [
        "breached", "breached=", "=https://a.example/", "late=https://a.example/", "reminder_1=https://a.example/",
        "at_risk+PT4H=https://a.example/", "breached+P1M=https://a.example/", "breached+=https://a.example/",
        "breached+4h=https://a.example/", "breached=ftp://a.example/", "breached=https:///s3cret",
        "breached=mailto:ops", "breached=mailto:a@b@c", "breached=https://a:99999/s3cret",
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused_without_giving_it_away(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"escalations": text, "data_dir": Path()})
    (error,) = caught.value.errors(include_input=False, include_url=False)
    assert error["loc"] == ("escalations",)
    assert "s3cret" not in str(error)


def test_a_rule_does_not_show_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESCIND_ESCALATIONS", "breached=https://hooks.example/s3cret")
    settings = Settings()
    (rule,) = settings.escalations
    assert rule.shown == "webhook at hooks.example"
    for words in (repr(settings), repr(rule), rule.id, rule.shown):
        assert "s3cret" not in words


def test_mail_needs_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESCIND_ESCALATIONS", "breached=mailto:ops@a.example")
    with pytest.raises(ValidationError, match="RESCIND_SMTP_HOST and RESCIND_SMTP_SENDER"):
        Settings()
    monkeypatch.setenv("RESCIND_SMTP_HOST", "mail.a.example")
    monkeypatch.setenv("RESCIND_SMTP_SENDER", "rescind@a.example")
    assert Settings().escalations[0].shown == "mail to ops@a.example"
