"""A small synchronous client of the HTTP interface. Needs neither Faust nor FastAPI."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeGuard, TypeVar
from urllib.parse import quote, urlencode

import httpx

from streams.errors import InvalidInput, RescindError

T = TypeVar("T")

#: Items of a page, or of a request, at most.
MOST = 1000
#: How many of a problem's errors its message tells.
_TOLD = 3


class ApiError(RescindError):
    """The service refused. `status` is HTTP's; `errors` are the problem's (RFC 9457), one each wrong item."""

    def __init__(self, status: int, detail: str, errors: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(detail + _details(errors))
        self.status = status
        self.errors = errors


class Unreachable(RescindError):
    """There was no answer; whether the request took effect is not known."""


class Client:
    """One connection to a service. `url` is its root, `key` an API key.

    Every failure is a `RescindError`: `InvalidInput` (nothing was sent), `Unreachable`, or `ApiError`.
    """

    def __init__(self, url: str, key: str | None, *, timeout: float = 30.0) -> None:
        headers = {"authorization": f"Bearer {_checked_key(key)}"} if key and key.strip() else {}
        self.url = _checked_url(url)
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def post_toggles(self, toggles: Sequence[dict[str, Any]]) -> list[str]:
        """Emit up to 1,000 toggles; they are durable on return. The ids of the events."""
        ids = self._object("POST", "/v1/toggles", list(toggles)).get("ids")
        if not isinstance(ids, list) or len(ids) != len(toggles):
            raise self._stranger(f"not {len(toggles)} ids")
        return [str(identity) for identity in ids]

    def consents(self, subject: str) -> list[dict[str, Any]]:
        return self._objects("GET", f"/v1/consents/{_segment(subject)}", "consents")

    def timeline(self, subject: str) -> list[dict[str, Any]]:
        return self._objects("GET", f"/v1/subjects/{_segment(subject)}/timeline", "entries")

    def disclosures(self, subject: str) -> list[dict[str, Any]]:
        """What was handed over with the subject in it, the newest first."""
        return self._objects("GET", f"/v1/subjects/{_segment(subject)}/disclosures", "disclosures")

    def exports(self, query: dict[str, Any]) -> dict[str, Any]:
        """A page of exports, newest first: `exports` and `next`."""
        page = self._object("GET", f"/v1/exports?{urlencode(query)}")
        if not _are_objects(page.get("exports")):
            raise self._stranger("no exports")
        return page

    def export(self, export: str) -> dict[str, Any]:
        return self._object("GET", f"/v1/exports/{_segment(export)}")

    def add_partner(self, partner: dict[str, Any]) -> dict[str, Any]:
        """The partner, with `signing_secret` (None without `v1`) and `api_key`, which nobody can show again."""
        return self._object("POST", "/v1/partners", partner)

    def partners(self) -> list[dict[str, Any]]:
        return self._objects("GET", "/v1/partners", "partners")

    def partner(self, partner: str) -> dict[str, Any]:
        return self._object("GET", f"/v1/partners/{_segment(partner)}")

    def change_partner(self, partner: str, changes: dict[str, Any]) -> dict[str, Any]:
        return self._object("PATCH", f"/v1/partners/{_segment(partner)}", changes)

    def rotate_secret(self, partner: str, rotation: dict[str, Any]) -> dict[str, Any]:
        """The partner, with `signing_secret` (None without `v1`), which nobody can show again. `rotation` may have
        `overlap`, in seconds, and `signature_schemes`."""
        return self._object("POST", f"/v1/partners/{_segment(partner)}/rotate-secret", rotation)

    def remove_partner(self, partner: str) -> None:
        self._answer("DELETE", f"/v1/partners/{_segment(partner)}")

    def replay(self, partner: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """One page of a replay: how many `notices`, `requests`, `superseded` it is, and `next`."""
        page = self._object("POST", f"/v1/partners/{_segment(partner)}/replay", wanted)
        if not all(isinstance(page.get(name), int) for name in ("notices", "requests", "superseded")):
            raise self._stranger("no counts")
        return page

    def try_partner(self, partner: str) -> dict[str, Any]:
        """Try a partner now: how many notices are `waiting` for it, and `next_attempt_at`, when it would have been."""
        tried = self._object("POST", f"/v1/partners/{_segment(partner)}/try")
        if not isinstance(tried.get("waiting"), int):
            raise self._stranger("no count")
        return tried

    def replies(self, partner: str) -> dict[str, Any]:
        """What a partner's replies said, and the last that was not understood."""
        return self._replies(self.partner_lag(partner).get("replies"))

    def mark_replies_seen(self, partner: str) -> dict[str, Any]:
        """Mark the replies of a partner not understood until now as seen. Returns how its replies stand then."""
        return self._replies(self._object("POST", f"/v1/partners/{_segment(partner)}/replies/seen"))

    def test_partner(self, partner: str) -> dict[str, Any]:
        """What came of an event that was sent right now. Takes as long as the partner may take to answer."""
        trial = self._object("POST", f"/v1/partners/{_segment(partner)}/test")
        if not isinstance(trial.get("ok"), bool) or not isinstance(trial.get("explanation"), list):
            raise self._stranger("no explanation")
        return trial

    def dead_letters(self, which: str, query: dict[str, Any]) -> dict[str, Any]:
        """A page of `undeliverable` or `poisoned`: `dead_letters` and `next`."""
        page = self._object("GET", f"/v1/dead-letters/{which}?{urlencode(query)}")
        if not _are_objects(page.get("dead_letters")):
            raise self._stranger("no dead_letters")
        return page

    def settle_dead_letters(self, which: str, act: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """`redrive` or `discard` up to 1,000: how many were `done`, which were `skipped`, and `next`."""
        answer = self._object("POST", f"/v1/dead-letters/{which}/{act}", wanted)
        if not isinstance(answer.get("done"), int) or not _are_objects(answer.get("skipped")):
            raise self._stranger("nothing done")
        return answer

    def redriven_outcomes(self, issued: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """What became of up to 1,000 notices, as a redrive names them in `issued`: `notice_id`, `outcome`, `words`."""
        return self._objects("POST", "/v1/dead-letters/undeliverable/outcomes", "outcomes", {"issued": list(issued)})

    def notices(self, query: dict[str, Any]) -> dict[str, Any]:
        """A page of notices, by partner, action and time of issue: `notices` and `next`. It may hold none and not be
        the last."""
        page = self._object("GET", f"/v1/notices?{urlencode(query, doseq=True)}")
        if not _are_objects(page.get("notices")):
            raise self._stranger("no notices")
        return page

    @contextmanager
    def report(self, partner: str, query: dict[str, Any]) -> Iterator[Iterator[bytes]]:
        """A report as it comes, which may be long; one that breaks off raises `Unreachable`."""
        with (
            self._asking(),
            self._http.stream("GET", f"/v1/partners/{_segment(partner)}/report", params=query) as response,
        ):
            if not response.is_success:
                response.read()
                self._understood(response)
            yield response.iter_bytes()

    def actions(self, query: dict[str, Any]) -> dict[str, Any]:
        """A page of what was done by hand, newest first: `actions` and `next`."""
        page = self._object("GET", f"/v1/actions?{urlencode(query)}")
        if not _are_objects(page.get("actions")):
            raise self._stranger("no actions")
        return page

    def acknowledge(self, acknowledgements: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Acknowledge up to 1,000 notices. What becomes of each is in its place: `notice_id`, `result`, `detail`. One
        that is wrong is `invalid`, and the others are taken. Raises `ApiError` with status 422 if nothing was
        recorded; its `errors` say why, by `index`.

            for said, became in zip(acknowledgements, client.acknowledge(acknowledgements)):
                if became["detail"] is not None:
                    log.warning("%s: %s, %s", said["notice_id"], became["result"], became["detail"])
        """
        results = self._objects("POST", "/v1/acknowledgements", "results", list(acknowledgements))
        if len(results) != len(acknowledgements):
            raise self._stranger(f"not {len(acknowledgements)} results")
        return results

    def lag(self, window: str | None = None) -> dict[str, Any]:
        """`partners`, each with its lag over a window (1h, 24h, 7d, 30d), and for operators `totals`."""
        lag = self._object("GET", "/v1/lag" if window is None else f"/v1/lag?{urlencode({'window': window})}")
        if not _are_objects(lag.get("partners")):
            raise self._stranger("no partners")
        return lag

    def partner_lag(self, partner: str) -> dict[str, Any]:
        """A partner's lag, with its `kinds` and `windows`."""
        row = self._object("GET", f"/v1/lag/{_segment(partner)}")
        if not (_are_objects(row.get("kinds")) and _are_objects(row.get("windows"))):
            raise self._stranger("no kinds and windows")
        return row

    def signing_keys(self) -> list[str]:
        """The public keys of manifests, in base64: the one that signs now, and those that did. Needs no key."""
        answer = self._object("GET", "/v1/signing-key")
        previous = answer.get("previous", [])
        if not _are_objects(previous) or not all(isinstance(key.get("public_key"), str) for key in (answer, *previous)):
            raise self._stranger("no public key")
        return [key["public_key"] for key in (answer, *previous)]

    def _replies(self, found: Any) -> dict[str, Any]:
        if not isinstance(found, dict) or not isinstance(found.get("notices"), dict):
            raise self._stranger("no replies")
        return found

    def _object(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = self._answer(method, path, body)
        if not isinstance(answer, dict):
            raise self._stranger("no JSON object")
        return answer

    def _objects(self, method: str, path: str, name: str, body: Any = None) -> list[dict[str, Any]]:
        found = self._object(method, path, body).get(name)
        if not _are_objects(found):
            raise self._stranger(f"no {name}")
        return found

    def _answer(self, method: str, path: str, body: Any = None) -> Any:
        with self._asking():
            response = (
                self._http.request(method, path, json=body) if body is not None else self._http.request(method, path)
            )
        return None if response.status_code == httpx.codes.NO_CONTENT else self._understood(response)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            # A lone surrogate or NaN in what was given, or a host name that no DNS can carry.
            raise InvalidInput(f"this cannot be sent to {self.url}: {error}") from None
        except httpx.HTTPError as error:
            raise Unreachable(f"no answer from {self.url}: {error or type(error).__name__}") from None

    def _understood(self, response: httpx.Response) -> Any:
        try:
            answer = response.json()
        except (ValueError, RecursionError):
            raise ApiError(response.status_code, f"{self.url} answered {response.status_code} without JSON") from None
        if response.is_success:
            return answer
        raise _refusal(response.status_code, answer)

    def _stranger(self, what: str) -> ApiError:
        return ApiError(httpx.codes.OK, f"{self.url} answers, but not as Rescind does: {what}")


def patiently(
    ask: Callable[[], T],
    seconds: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> T:
    """Ask again for so long while the service is away or busy. What is asked must bear repeating: nobody
    knows whether a lost request took effect."""
    deadline, delay = monotonic() + seconds, 0.1
    while True:
        try:
            return ask()
        except (Unreachable, ApiError) as error:
            busy = isinstance(error, Unreachable) or error.status in (429, 502, 503, 504)
            if not busy or monotonic() + delay > deadline:
                raise
        sleep(delay)
        delay = min(delay * 2, 5.0)


def pages(ask: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Page by page, as each is wanted. `ask` gets what to add to its question so as to go on behind the page before."""
    following: dict[str, Any] = {}
    while True:
        page = ask(following)
        yield page
        if page.get("next") is None:
            return
        following = {"after": page["next"]}


def some(ask: Callable[[dict[str, Any]], dict[str, Any]], items: str, limit: int) -> tuple[list[dict[str, Any]], bool]:
    """So many items of the pages that `ask` gets at most, and whether there may be more."""
    found: list[dict[str, Any]] = []
    more = False

    def ask_for_the_rest(following: dict[str, Any]) -> dict[str, Any]:
        return ask(following | {"limit": min(MOST, limit - len(found))})

    for page in pages(ask_for_the_rest):
        found += page[items]
        more = page.get("next") is not None
        if len(found) >= limit:
            break
    return found, more


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidInput(f"{url!r} is no URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or (parsed.port or 1) > 65535:
        raise InvalidInput(f"{url!r} is not the URL of a service, which looks like http://127.0.0.1:8321")
    if parsed.userinfo or parsed.query or parsed.fragment:
        # A user in the URL would take the place of the API key, and be shown in messages.
        raise InvalidInput("the URL of a service has no user, no query and no fragment")
    return url


def _checked_key(key: str) -> str:
    stripped = key.strip()
    if not (stripped.isascii() and stripped.isprintable() and " " not in stripped):
        raise InvalidInput("the API key holds characters that no key has")
    return stripped


def _segment(value: str) -> str:
    """One segment of a path. Dots are escaped where they would mean another path (RFC 3986, 5.2.4)."""
    if not value:
        raise InvalidInput("a name is empty")
    try:
        quoted = quote(value, safe=":")
    except UnicodeError:
        raise InvalidInput(f"{value!r} is not text") from None
    return quoted.replace(".", "%2E") if value in (".", "..") else quoted


def _refusal(status: int, answer: Any) -> ApiError:
    if not isinstance(answer, dict):
        return ApiError(status, str(answer))
    errors = answer.get("errors")
    return ApiError(status, str(answer.get("detail", answer)), errors if _are_objects(errors) else ())


def _details(errors: Sequence[dict[str, Any]]) -> str:
    """The first few of a problem's errors, for people: the problem itself only counts them."""
    told = []
    for error in errors[:_TOLD]:
        where = "".join(str(error[name]) for name in ("index", "pointer") if error.get(name) is not None)
        told.append(f"{where} {error.get('detail')}".strip())
    more = [f"and {len(errors) - _TOLD} more"] if len(errors) > _TOLD else []
    return f" ({'; '.join(told + more)})" if told else ""


def _are_objects(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)
