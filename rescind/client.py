"""A small synchronous client of the HTTP interface. Needs neither Faust nor FastAPI."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeGuard
from urllib.parse import quote

import httpx

from streams.errors import InvalidInput, RescindError

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

    def __enter__(self) -> Client:
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

    def add_partner(self, partner: dict[str, Any]) -> dict[str, Any]:
        """The partner, with `signing_secret` and `api_key`, which nobody can show again."""
        return self._object("POST", "/v1/partners", partner)

    def partners(self) -> list[dict[str, Any]]:
        return self._objects("GET", "/v1/partners", "partners")

    def partner(self, partner: str) -> dict[str, Any]:
        return self._object("GET", f"/v1/partners/{_segment(partner)}")

    def change_partner(self, partner: str, changes: dict[str, Any]) -> dict[str, Any]:
        return self._object("PATCH", f"/v1/partners/{_segment(partner)}", changes)

    def remove_partner(self, partner: str) -> None:
        self._answer("DELETE", f"/v1/partners/{_segment(partner)}")

    def acknowledge(self, acknowledgements: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Up to 1,000; the result of each, in order."""
        return self._objects("POST", "/v1/acknowledgements", "results", list(acknowledgements))

    def lag(self) -> dict[str, Any]:
        """`partners`, each with its lag, and for operators `totals`."""
        lag = self._object("GET", "/v1/lag")
        if not _are_objects(lag.get("partners")):
            raise self._stranger("no partners")
        return lag

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
        try:
            response = (
                self._http.request(method, path, json=body) if body is not None else self._http.request(method, path)
            )
        except UnicodeError as error:
            # A lone surrogate in what was given, or a host name that no DNS can carry.
            raise InvalidInput(f"this cannot be sent to {self.url}: {error}") from None
        except httpx.HTTPError as error:
            raise Unreachable(f"no answer from {self.url}: {error or type(error).__name__}") from None
        if response.status_code == httpx.codes.NO_CONTENT:
            return None
        try:
            answer = response.json()
        except (ValueError, RecursionError):
            raise ApiError(response.status_code, f"{self.url} answered {response.status_code} without JSON") from None
        if response.is_success:
            return answer
        raise _refusal(response.status_code, answer)

    def _stranger(self, what: str) -> ApiError:
        return ApiError(httpx.codes.OK, f"{self.url} answers, but not as Rescind does: {what}")


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
