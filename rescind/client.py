"""A small synchronous client of the HTTP interface. Needs neither Faust nor FastAPI."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from streams.errors import RescindError


class ApiError(RescindError):
    """The service refused. `status` is HTTP's; `errors` are the problem's, one each wrong item."""

    def __init__(self, status: int, detail: str, errors: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.errors = errors


class Unreachable(RescindError):
    """There was no answer; whether the request took effect is not known."""


class Client:
    """One connection to a service. `url` is its root, `key` an API key."""

    def __init__(self, url: str, key: str | None, *, timeout: float = 30.0) -> None:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False)
        except (httpx.InvalidURL, ValueError) as error:
            raise Unreachable(f"{url} is no URL: {error}") from None
        self._url = url

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
        ids: list[str] = self._call("POST", "/v1/toggles", list(toggles))["ids"]
        return ids

    def consents(self, subject: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("GET", f"/v1/consents/{quote(subject, safe=':')}")["consents"]
        return found

    def timeline(self, subject: str) -> list[dict[str, Any]]:
        path = f"/v1/subjects/{quote(subject, safe=':')}/timeline"
        entries: list[dict[str, Any]] = self._call("GET", path)["entries"]
        return entries

    def add_partner(self, partner: dict[str, Any]) -> dict[str, Any]:
        """The partner, with `signing_secret` and `api_key`, which nobody can show again."""
        return dict(self._call("POST", "/v1/partners", partner))

    def partners(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("GET", "/v1/partners")["partners"]
        return found

    def partner(self, partner: str) -> dict[str, Any]:
        return dict(self._call("GET", f"/v1/partners/{quote(partner, safe='')}"))

    def change_partner(self, partner: str, changes: dict[str, Any]) -> dict[str, Any]:
        return dict(self._call("PATCH", f"/v1/partners/{quote(partner, safe='')}", changes))

    def remove_partner(self, partner: str) -> None:
        self._call("DELETE", f"/v1/partners/{quote(partner, safe='')}")

    def acknowledge(self, acknowledgements: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Up to 1,000; the result of each, in order."""
        results: list[dict[str, Any]] = self._call("POST", "/v1/acknowledgements", list(acknowledgements))["results"]
        return results

    def lag(self) -> dict[str, Any]:
        return dict(self._call("GET", "/v1/lag"))

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        try:
            response = (
                self._http.request(method, path, json=body) if body is not None else self._http.request(method, path)
            )
        except httpx.HTTPError as error:
            raise Unreachable(f"no answer from {self._url}: {error}") from None
        if response.status_code == httpx.codes.NO_CONTENT:
            return None
        try:
            answer = response.json()
        except ValueError:
            raise ApiError(response.status_code, f"{self._url} answered {response.status_code} without JSON") from None
        if response.is_success:
            return answer
        detail = str(answer.get("detail", answer)) if isinstance(answer, dict) else str(answer)
        errors = answer.get("errors", []) if isinstance(answer, dict) else []
        raise ApiError(response.status_code, detail, errors)
