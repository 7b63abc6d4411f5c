"""Pages for people: rendered here, with nothing of anybody else's in them."""

from __future__ import annotations

import gzip
from datetime import datetime
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from ledger import PartnerLag, WindowLag

_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
#: Of a page that is kept as a file, so that its style is in it.
_ALONE = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
#: Of the dashboard: its own style, script and stream, and nothing inline. With `no-referrer`, browsers would not say
#: either which page a form is from.
_ROOM = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",
}


def duration(seconds: float | None) -> str:
    """A span of time for people: `3 min 20 s`, `2 d 4 h`; `–` for none. `static/room.js` says it alike."""
    if seconds is None:
        return "–"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller, smaller_unit in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"


def age(seconds: float) -> str:
    """A span that grows while one looks at it, in whole seconds."""
    whole = max(0, int(seconds))
    return f"{whole} s" if whole < 60 else duration(whole)


def ago(then: datetime | None, now: datetime) -> str:
    """In one unit: `3 min ago`."""
    return "never" if then is None else f"{' '.join(age((now - then).total_seconds()).split()[:2])} ago"


def ahead(then: datetime | None, now: datetime) -> str:
    if then is None:
        return ""
    return f"in {age((then - now).total_seconds())}" if then > now else "now"


def spoken(word: str | None) -> str:
    """One of our names, as people write it."""
    return (word or "–").replace("_", " ")


def percent(share: float | None) -> str:
    """A part of a whole, from 0 to 1."""
    return "–" if share is None else f"{100 * share:.0f} %"


def answers_of(lag: PartnerLag) -> list[tuple[str, WindowLag]]:
    """How a partner answered over the first of its windows: each action, and all together."""
    return [*((kind.kind, kind.windows[0]) for kind in lag.kinds), ("all", lag.windows[0])]


_templates = Environment(
    loader=PackageLoader("gateway"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_templates.filters |= {
    "duration": duration,
    "count": lambda number: f"{number:,}",
    "percent": percent,
    "capitalize_first": lambda text: text[:1].upper() + text[1:],
    "spoken": spoken,
    "utc": lambda time: f"{time:%Y-%m-%d %H:%M:%S} UTC",
    "iso": lambda time: f"{time:%Y-%m-%dT%H:%M:%SZ}",
}
_templates.globals |= {"age_of": age, "ago": ago, "ahead": ahead, "answers_of": answers_of}


def rendered(template: str, **values: Any) -> str:
    return _templates.get_template(template).render(values)


def page(template: str, **values: Any) -> HTMLResponse:
    """A page that stands alone."""
    return HTMLResponse(rendered(template, **values), headers=_HEADERS | _ALONE)


def room_page(template: str, status: int, packed: bool, **values: Any) -> HTMLResponse:
    """A page of the dashboard, gzipped if need be. That tells nobody what is in it: no other site's page can make a
    browser ask for it with the session's cookie."""
    body = rendered(template, **values).encode()
    headers = _HEADERS | _ROOM | {"vary": "accept-encoding, cookie"}
    if packed:
        return HTMLResponse(gzip.compress(body, 5), status, headers | {"content-encoding": "gzip"})
    return HTMLResponse(body, status, headers)
