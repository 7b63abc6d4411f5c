"""`/dashboard/dead-letters`: what partners do not take, and what we could not process."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from gateway.context import context_of
from gateway.cursors import Cursor
from gateway.dead_letters import Settled, WhichPoisoned, poisoned, settle
from gateway.forms import Form, filled, form_of
from gateway.rooms import Room, ask, done, room
from gateway.sessions import PATH, OperatorSession
from gateway.undeliverable import DiscardNotices, RedriveNotices, give_up, redrive, undeliverable
from streams.events import Act

router = APIRouter(include_in_schema=False, route_class=Room)
_PAGE = f"{PATH}/dead-letters"
#: Of each list at a time: somebody is to look at them.
_TOGETHER = 50
_MOST_REASONS = 5


@router.get(_PAGE)
async def show(
    request: Request,
    session: OperatorSession,
    partner: Annotated[str | None, Query(max_length=100)] = None,
    theirs: Cursor | None = None,
    ours: Cursor | None = None,
) -> Response:
    context = context_of(request)
    return room(
        request,
        session,
        "dead_letters.html",
        theirs=await undeliverable(context, partner or None, _TOGETHER, theirs),
        ours=await poisoned(context, _TOGETHER, ours),
        partner=partner or None,
        at={"theirs": theirs, "ours": ours},
        request_id=context.new_id(),
    )


@router.post(_PAGE + "/{whose}/{act}")
async def settle_some(
    request: Request, whose: Literal["theirs", "ours"], act: Literal["redrive", "discard"], session: OperatorSession
) -> Response:
    form, context = await form_of(request, session), context_of(request)
    chosen = form.all("chosen")
    if not chosen and form.one("all") is None:
        return done(request, session, "Nothing was chosen", ["Tick what it is to be done with."], _PAGE, bad=True)
    if whose == "theirs" and act == "discard" and not (form.one("reason") or "").strip():
        lines = ["Say why: it stays on the record that the notice was given up, by whom, and for what reason."]
        return done(request, session, "A reason is missing", lines, _PAGE, bad=True)
    if not form.confirmed:
        return ask(request, session, _question(whose, act, form), _VERBS[act], form.kept(), back=_PAGE)
    identity = form.one("id") or context.new_id()
    settled: Settled
    if whose == "theirs" and act == "redrive":
        settled = await redrive(context, session.key, filled(RedriveNotices, **_theirs(form, identity)))
    elif whose == "theirs":
        wanted_gone = filled(DiscardNotices, reason=form.one("reason"), **_theirs(form, identity))
        settled = await give_up(context, session.key, wanted_gone)
    else:
        what = {"all": True, "after": form.one("after")} if form.one("all") else {"ids": chosen}
        wanted = filled(WhichPoisoned, id=identity, **what)
        settled = await settle(context, session.key, Act(act), wanted)
    following = None
    if settled.next is not None:
        following = {"all": form.one("all"), "after": settled.next, "id": settled.id, "reason": form.one("reason")}
        following = {name: value for name, value in following.items() if value is not None}
    title, lines = _outcome(act, settled)
    return done(request, session, title, lines, _PAGE, following=following)


_VERBS = {"redrive": "Redrive", "discard": "Discard"}


def _theirs(form: Form, identity: str) -> dict[str, Any]:
    if form.one("all"):
        return {"id": identity, "all": True, "partner": form.one("all"), "after": form.one("after")}
    return {"id": identity, "notice_ids": form.all("chosen")}


def _question(whose: str, act: str, form: Form) -> str:
    many = "all of them" if form.one("all") else f"{len(form.all('chosen')):,} of them"
    if act == "redrive":
        return f"Redrive {many}? They are tried once more, under their own ids."
    if whose == "theirs":
        return f"Discard {many}? They are cancelled, and the partner is asked no more. Your reason stays on the record."
    return f"Discard {many}? They leave the list, and nothing else becomes of them."


def _outcome(act: str, settled: Settled) -> tuple[str, list[str]]:
    verb = "tried once more" if act == "redrive" else "discarded"
    lines = [f"{settled.done:,} {'is' if settled.done == 1 else 'are'} {verb}."]
    reasons = Counter(each.reason for each in settled.skipped).most_common(_MOST_REASONS)
    lines += [f"{count:,} left as {'it is' if count == 1 else 'they are'}: {reason}." for reason, count in reasons]
    if settled.next is not None:
        lines.append("There are more.")
    return ("Redriven" if act == "redrive" else "Discarded"), lines
