"""The buttons of a partner's page. Each does what the API does, and is written down under the session's key."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response

from gateway.context import Context, Trial, context_of
from gateway.forms import Form, filled, form_of
from gateway.partners import PartnerPatch, RotationIn, patched, rotate
from gateway.replaying import Replay, ReplayIn, replayed
from gateway.replies import marked_seen
from gateway.rooms import Room, ask, done, to
from gateway.sessions import PATH, OperatorSession, Session
from gateway.standing import PartnerPath, present
from gateway.testing import tried
from gateway.tries import tried_now
from streams import ids

router = APIRouter(include_in_schema=False, route_class=Room, prefix=f"{PATH}/partners/{{partner}}")


@router.post("/{act}")
async def act(
    request: Request,
    partner: PartnerPath,
    act: Literal["pause", "resume", "try", "test", "rotate", "replay", "seen"],
    session: OperatorSession,
) -> Response:
    form, context = await form_of(request, session), context_of(request)
    name = (await present(context, partner)).name
    if act == "replay":
        return await _replay(request, session, context, partner, form)
    question, verb = _QUESTIONS[act]
    if not form.confirmed:
        return ask(request, session, question.format(name=name), verb, form.kept(), back=_page(partner))
    if act == "test":
        return tested(request, session, await tried(context, partner), back=_page(partner))
    if act == "rotate":
        return await _rotate(request, session, context, partner, form)
    if act == "try":
        await tried_now(context, session.key, partner)
    elif act == "seen":
        await marked_seen(context, session.key, partner)
    else:
        patch = PartnerPatch(status="paused" if act == "pause" else "active")
        await patched(context, session.key, partner, patch)
    return to(f"{_page(partner)}?said={_SAID[act]}")


#: What the page says then, see `gateway.partner_room`.
_SAID = {"pause": "paused", "resume": "resumed", "try": "tried", "seen": "seen"}


_QUESTIONS = {
    "pause": ("Pause {name}? What waits for it is held, and its clocks run on.", "Pause"),
    "resume": ("Resume {name}? What waits for it is tried at once.", "Resume"),
    "try": ("Try {name} now? What waits for it does not wait for the next attempt.", "Try now"),
    "seen": (
        "Mark the replies of {name} that were not understood until now as seen? The next one warns again.",
        "Mark as seen",
    ),
    "test": (
        "Send {name} a test event? It is signed, and asks for nothing. If it is taken, what waits is tried at once.",
        "Send test",
    ),
    "rotate": (
        "Replace the signing secret of {name}? The new one signs at once, what waits is tried with it, and it is shown"
        " only once.",
        "Replace secret",
    ),
}


def tested(request: Request, session: Session, trial: Trial, back: str) -> Response:
    lines = [*trial.explanation]
    facts = [
        f"HTTP {trial.status}" if trial.status is not None else None,
        f"{trial.duration_ms:.0f} ms",
        f"from {trial.address}" if trial.address else None,
    ]
    lines.append(", ".join(fact for fact in facts if fact))
    if trial.reply:
        lines.append(f"Its answer begins: {trial.reply}")
    title = "A notice would have been taken" if trial.ok else "A notice would not have been taken"
    return done(request, session, title, lines, back, bad=not trial.ok)


async def _rotate(request: Request, session: Session, context: Context, partner: str, form: Form) -> Response:
    overlap = form.one("overlap")
    wanted = filled(RotationIn, overlap=overlap)
    made = await rotate(context, session.key, partner, wanted)
    ends = "stops signing now" if wanted.overlap == 0 else f"goes on signing beside it for {wanted.overlap // 3600} h"
    lines = [f"What signed until now {ends}."]
    if made.signing_secret is None:
        lines.append("It signs by v1a alone: give the partner the new public key, which its page shows.")
    else:
        lines.append("Give this to the partner. It is shown only now.")
    return done(request, session, "The secret is replaced", lines, _page(partner), secret=made.signing_secret)


async def _replay(request: Request, session: Session, context: Context, partner: str, form: Form) -> Response:
    """First how much it would be; then, up to 10,000 notices at a time, as the API does."""
    start, end, identity = form.one("from"), form.one("to"), form.one("id") or context.new_id()
    wanted = filled(
        ReplayIn,
        **{"from": _utc(start), "to": _utc(end)},
        # A page that is used again for another time is another replay.
        id=ids.derive("replay", identity, start or "", end or ""),
        after=form.one("after"),
        dry_run=not form.confirmed,
    )
    found = await replayed(context, session.key, partner, wanted)
    if not form.confirmed:
        if not found.notices:
            lines = [f"Nothing was issued in that time{_left_out(found)}."]
            return done(request, session, "Nothing to replay", lines, _page(partner))
        question = (
            f"Issue {found.notices:,} notices again, in about {found.requests:,} requests? "
            f"Each goes out once more under its own id{_left_out(found)}."
        )
        return ask(request, session, question, "Replay", form.kept(), back=_page(partner))
    lines = [f"{found.notices:,} notices are issued again{_left_out(found)}."]
    following = None
    if found.next is not None:
        lines.append("There are more.")
        following = {"after": found.next, "from": start, "to": end, "id": identity}
    return done(request, session, "Replayed", lines, _page(partner), following=following)


def _left_out(found: Replay) -> str:
    return f"; {found.superseded:,} are left out, since a later one asks for the opposite" if found.superseded else ""


def _utc(local: str | None) -> str | None:
    """What a field for a date and a time holds has no zone; the page says that it is UTC."""
    return None if local is None else f"{local}Z"


def _page(partner: str) -> str:
    return f"{PATH}/partners/{partner}"
