"""A test event to a partner, and what its answer means, in plain words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from agents.faults import Fault
from agents.judging import AttemptVerdict, judge
from agents.replies import SILENT, Reply, read
from agents.retrying import Attempt
from agents.webhooks import Answer, Payload, Sender
from gateway import Trial
from rescind.partner import TEST_TYPE
from streams import ids
from streams.clock import Clock
from streams.cloudevents import SOURCE
from streams.events import Partner
from streams.keyring import live_secrets
from streams.sealing import SealBroken, Sealer

#: Of the time that an attempt may take, so much is slow.
_SLOW = 1 / 3
#: Characters of a reply that are shown.
_SHOWN = 500

#: What to do about an attempt without an answer.
_NO_ANSWER = {
    Fault.DNS: "Check the host in the partner's url, and its DNS records.",
    Fault.ADDRESS: "Webhooks go to public addresses only. Nothing was sent.",
    Fault.CONNECT: "Nobody listens there, or a firewall is in between.",
    Fault.TLS: "The certificate must be valid for the host in the partner's url, with its whole chain.",
    Fault.TIMEOUT: "The partner should take a webhook in at once, answer 2xx, and do the work afterwards.",
    Fault.BROKEN: "What listens there does not speak HTTP as it should.",
}
_OURS = "That says nothing of the partner. Mend it where this gateway runs, and test again."
_SECRET = "The service cannot sign: the sealing key is not the one that this partner's secret was sealed with."  # noqa: S105
_SIGNATURE = (
    "It must be computed over webhook-id, webhook-timestamp and the body, joined by dots; the body byte for byte as it"
    " came, kept before a JSON parser takes it; with the signing secret that was shown last, at registration or"
    " rotation, without `whsec_` and decoded from Base64. And the partner's clock must be right to five minutes."
)
_UNKNOWN = f"A partner should answer 2xx to events of types that it does not know, such as {TEST_TYPE}."
#: What a status says in a word, and what may be wrong.
_REFUSALS = {
    400: ("refused", f"Does the signature hold? {_SIGNATURE} {_UNKNOWN}"),
    **dict.fromkeys((401, 403), ("unauthorized", f"Does the signature hold? {_SIGNATURE}")),
    **dict.fromkeys((404, 405), ("not_found", "The partner's url must take a POST.")),
    **dict.fromkeys((413, 422), ("refused", _UNKNOWN)),
    **dict.fromkeys((429, 503), ("busy", "The partner has no time for it now.")),
    410: ("gone", "This is how a partner says that it wants no more."),
}
#: What delivery does about a notice that is answered like this.
_CONSEQUENCES = {
    AttemptVerdict.REFUSED: (
        "A notice that is answered like this is parked while others are taken, and undeliverable after three refusals"
        " in 15 minutes."
    ),
    AttemptVerdict.FAILED: (
        "A notice would be tried again, for as long as it takes; if it fails alone while others are taken, it is"
        " parked."
    ),
    AttemptVerdict.RETRY: "A notice would be tried again, for as long as it takes.",
    AttemptVerdict.SUSPEND: "At a notice, the partner would be suspended until an operator resumes it.",
}


class Trials:
    """`timeout` is how many seconds the sender's attempts may take."""

    def __init__(self, sender: Sender, sealer: Sealer, clock: Clock, timeout: float) -> None:
        self._sender = sender
        self._sealer = sealer
        self._clock = clock
        self._timeout = timeout

    async def test(self, partner: Partner, webhook_id: str) -> Trial:
        """Send one event right now, whatever the partner's status."""
        now = self._clock()
        try:
            secrets = live_secrets(partner, self._sealer, now)
        except SealBroken:
            return _trial(webhook_id, "secret", (_SECRET,), Answer(Attempt(None), 0.0))
        # Of the form that the ids of notices have, so that a partner treats it alike.
        event = ids.derive("test-event", webhook_id)
        answer = await self._sender.send(partner.url, secrets, webhook_id, _payload(partner, event, now), now)
        # As a reply to notices is read, with the event in their place.
        reply = read(answer.reply, [event], answer.unread) if answer.attempt.accepted else SILENT
        outcome, said = explained(answer, self._timeout, reply)
        return _trial(webhook_id, outcome, said, answer, reply)


def _payload(partner: Partner, identity: str, now: datetime) -> Payload:
    """As notices are sent to this partner."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": identity,
        "source": SOURCE,
        "type": TEST_TYPE,
        "time": now,
        "datacontenttype": "application/json",
        "data": {"partner": partner.id},
    }
    single = partner.batch_size == 1
    body = orjson.dumps(event if single else [event], option=orjson.OPT_UTC_Z)
    kind = "application/cloudevents+json" if single else "application/cloudevents-batch+json"
    return Payload(body, kind, partner.gzip)


def explained(answer: Answer, timeout: float, reply: Reply = SILENT) -> tuple[str, tuple[str, ...]]:
    """What happened in a word, and in sentences; the first says it, the others what it means and what to do."""
    attempt = answer.attempt
    if attempt.ours is not None:
        return "own_fault", (f"Nothing was sent: {attempt.ours} ({attempt.error}).", _OURS)
    if attempt.status is None:
        fault = attempt.fault or Fault.BROKEN
        return fault, (f"There was no answer: {attempt.error}.", _NO_ANSWER[fault], *_consequence(answer))
    if attempt.accepted:
        first = f"The partner takes it: HTTP {attempt.status}, after {_time(answer)}."
        return "accepted", (first, *_slowness(answer, timeout), _in_reply(answer, reply))
    outcome, meaning = _refusal(attempt)
    said = (f"The partner does not take it: {attempt.error}, after {_time(answer)}.", meaning)
    return outcome, (*said, *_consequence(answer), *_slowness(answer, timeout))


def _refusal(attempt: Attempt) -> tuple[str, str]:
    status = attempt.status or 0
    if 300 <= status < 400:
        return "redirect", "Redirects are not followed: the partner's url must be the final address."
    outcome, meaning = _REFUSALS.get(status, ("failed", "The partner's own log should say why."))
    if outcome == "busy" and attempt.retry_after is not None:
        meaning += f" It asks to come again after {attempt.retry_after!r}."
    return outcome, meaning


def _consequence(answer: Answer) -> tuple[str, ...]:
    verdict = _verdict(answer)
    return (_CONSEQUENCES[verdict],) if verdict in _CONSEQUENCES else ()


def _verdict(answer: Answer) -> AttemptVerdict:
    return judge(answer.attempt, reached=answer.reached)


def _in_reply(answer: Answer, reply: Reply) -> str:
    if reply.problem is not None:
        taken = "acknowledges the event, but not all of it is kept" if reply.acknowledged else "is not understood"
        return f"Its reply {taken}; a reply to notices would be read alike: {reply.problem.reason}"
    if reply.acknowledged:
        return "Its reply acknowledges the event, and a reply to notices may do so, too."
    if not answer.reply:
        return "Its reply is empty: it took the event and says nothing of it. Acknowledgements come by the API then."
    return "Its reply acknowledges nothing, and need not. Acknowledgements come by the API then."


def _slowness(answer: Answer, timeout: float) -> tuple[str, ...]:
    if answer.duration_ms < timeout * 1000 * _SLOW:
        return ()
    return (f"That is slow: an answer that takes longer than {timeout:g} s is none, and the notice is tried again.",)


def _time(answer: Answer) -> str:
    return f"{answer.duration_ms:.0f} ms"


def _trial(webhook_id: str, outcome: str, explanation: tuple[str, ...], answer: Answer, reply: Reply = SILENT) -> Trial:
    return Trial(
        ok=answer.attempt.accepted,
        outcome=outcome,
        verdict=_verdict(answer),
        explanation=explanation,
        webhook_id=webhook_id,
        status=answer.attempt.status,
        duration_ms=round(answer.duration_ms, 3),
        address=answer.address,
        acknowledgements=len(reply.items),
        reply_problem=None if reply.problem is None else reply.problem.reason,
        reply=_text(answer.reply),
    )


def _text(reply: bytes) -> str | None:
    try:
        return reply.decode()[:_SHOWN]
    except UnicodeDecodeError:
        return None
