"""Whom operators want to be told when deadlines come near or pass."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from streams import ids
from streams.clocks import seconds
from streams.deadlines import Step

_ADDRESS = re.compile(r"[!-?A-~]+@[A-Za-z0-9.-]+")
_STEPS = {step.value: step for step in (Step.AT_RISK, Step.BREACHED)}
_FORM = "each is at_risk, breached or breached+PT4H, then = and https://... or mailto:..."


def _target(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if good or (value.startswith("mailto:") and _ADDRESS.fullmatch(value.removeprefix("mailto:"))):
        return value
    raise ValueError(_FORM)  # without the value, which may open a door


class Rule(BaseModel):
    """Tell somebody of notices so many seconds after they came to a step. The target of a webhook is a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    step: Step
    after: Annotated[int, Field(ge=0)]
    target: Annotated[str, Field(max_length=2000, repr=False), AfterValidator(_target)]

    @cached_property
    def id(self) -> str:
        """The same wherever this rule stands; it gives nothing away."""
        return ids.derive("escalation-rule", self.step, str(self.after), self.target)

    @property
    def mail(self) -> str | None:
        """The address that it is mailed to; None for a webhook."""
        return self.target.removeprefix("mailto:") if self.target.startswith("mailto:") else None

    @property
    def shown(self) -> str:
        """Where it goes, for people."""
        return f"mail to {self.mail}" if self.mail else f"webhook at {urlsplit(self.target).hostname}"


def rules(value: Any) -> Any:
    """Rules out of a text, apart by white space: `at_risk=https://a.example/x breached+PT4H=mailto:a@b.example`."""
    return tuple(map(_rule, value.split())) if isinstance(value, str) else value


def _rule(text: str) -> Rule:
    when, equals, target = text.partition("=")
    step, plus, after = when.partition("+")
    if not equals or step not in _STEPS or (plus and step != Step.BREACHED):
        raise ValueError(_FORM)
    return Rule(step=_STEPS[step], after=seconds(after) if plus else 0, target=_target(target))
