"""The client over real HTTP: what it asks, and one kind of error for everything that can go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from rescind.client import ApiError, Client, Unreachable
from streams.errors import InvalidInput, RescindError
from tests.unit.cli.fakes import Answer, FakeService, problem

TOGGLE = {"id": "e1", "subject": "blog:a"}


def test_toggles_are_posted_with_the_key(service: FakeService) -> None:
    with Client(service.url, "rsk_platform_1_x\n") as client:
        assert client.post_toggles([TOGGLE]) == ["e1"]
    (asked,) = service.asked
    assert asked.json == [TOGGLE]
    assert asked.headers["authorization"] == "Bearer rsk_platform_1_x"
    assert asked.headers["content-type"] == "application/json"


@pytest.mark.parametrize("key", [None, "", "  ", "\n"])
def test_without_a_key_none_is_sent(service: FakeService, key: str | None) -> None:
    with Client(service.url, key) as client:
        client.post_toggles([TOGGLE])
    assert "authorization" not in {name.lower() for name in service.asked[0].headers}


@pytest.mark.parametrize("key", ["rsk_ä", "rsk 1", "rsk\r\nx-evil: 1", "rsk\0", "\ud800"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Client("http://127.0.0.1", key)
    assert key not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "/",
        "127.0.0.1:8321",
        "localhost:8321",
        "//localhost",
        "ftp://localhost",
        "http://",
        "http:///v1",
        "http://a:b",
        "http://localhost:99999",
        "http://[::1",
        "http://ä..b",
        "http://a\nb",
        "http://\ud800",
        "http://me:secret@localhost",
        "http://localhost/?a=b",
        "http://localhost/#a",
    ],
)
def test_a_url_that_is_no_service_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Client(url, "key")
    assert "secret" not in str(refused.value)


def test_a_service_may_live_under_a_path(service: FakeService) -> None:
    service.answers["GET", "/under/a/path/v1/partners"] = Answer(200, {"partners": []})
    for url in (f"{service.url}/under/a/path", f"{service.url}/under/a/path/"):
        with Client(url, None) as client:
            assert client.partners() == []


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("acme", "/v1/partners/acme"),
        ("a/b", "/v1/partners/a%2Fb"),
        ("a?b#c", "/v1/partners/a%3Fb%23c"),
        ("%2e", "/v1/partners/%252e"),
        ("ä b", "/v1/partners/%C3%A4%20b"),
        (".", "/v1/partners/%2E"),
        ("..", "/v1/partners/%2E%2E"),
        ("../toggles", "/v1/partners/..%2Ftoggles"),
        ("...", "/v1/partners/..."),
    ],
)
def test_a_name_never_becomes_another_path(service: FakeService, name: str, path: str) -> None:
    service.answers["DELETE", path] = Answer(204)
    with Client(service.url, None) as client:
        client.remove_partner(name)
    assert [(asked.method, asked.path) for asked in service.asked] == [("DELETE", path)]


@pytest.mark.parametrize("name", ["", "\ud800"])
def test_a_name_that_is_no_path_is_refused(service: FakeService, name: str) -> None:
    with Client(service.url, None) as client, pytest.raises(InvalidInput):
        client.remove_partner(name)
    assert service.asked == []


def test_each_call_asks_what_it_says(service: FakeService) -> None:
    service.answers |= {
        ("GET", "/v1/consents/blog:a%2Fb"): Answer(200, {"consents": [{"purpose": "ai"}]}),
        ("GET", "/v1/subjects/blog:a/timeline"): Answer(200, {"entries": [{"kind": "x"}]}),
        ("POST", "/v1/partners"): Answer(201, {"id": "acme"}),
        ("GET", "/v1/partners"): Answer(200, {"partners": [{"id": "acme"}]}),
        ("GET", "/v1/partners/acme"): Answer(200, {"id": "acme"}),
        ("PATCH", "/v1/partners/acme"): Answer(200, {"id": "acme", "name": "A"}),
        ("POST", "/v1/partners/acme/rotate-secret"): Answer(200, {"signing_secret": "whsec_x"}),
        ("DELETE", "/v1/partners/acme"): Answer(204),
        ("POST", "/v1/acknowledgements"): Answer(202, {"results": [{"result": "accepted"}]}),
        ("GET", "/v1/lag"): Answer(200, {"partners": [], "totals": None}),
    }
    with Client(service.url, None) as client:
        assert client.consents("blog:a/b") == [{"purpose": "ai"}]
        assert client.timeline("blog:a") == [{"kind": "x"}]
        assert client.add_partner({"id": "acme"}) == {"id": "acme"}
        assert client.partners() == [{"id": "acme"}]
        assert client.partner("acme") == {"id": "acme"}
        assert client.change_partner("acme", {"name": "A"})["name"] == "A"
        assert client.rotate_secret("acme", {"overlap": 0}) == {"signing_secret": "whsec_x"}
        client.remove_partner("acme")
        assert client.acknowledge([{"notice_id": "n"}]) == [{"result": "accepted"}]
        assert client.lag() == {"partners": [], "totals": None}
    bodies = [asked.body for asked in service.asked if asked.body]
    assert [json.loads(body) for body in bodies] == [
        {"id": "acme"},
        {"name": "A"},
        {"overlap": 0},
        [{"notice_id": "n"}],
    ]


@pytest.mark.parametrize("results", [[], [{"result": "accepted"}] * 3, None])
def test_every_acknowledgement_has_its_result(service: FakeService, results: Any) -> None:
    service.answers["POST", "/v1/acknowledgements"] = Answer(202, {"results": results})
    with Client(service.url, None) as client, pytest.raises(ApiError, match="not as Rescind does"):
        client.acknowledge([{"notice_id": "n-1"}, {"notice_id": "n-2"}])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_cannot_say_is_refused_before_anything_is_sent(service: FakeService, value: Any) -> None:
    with Client(service.url, None) as client, pytest.raises(InvalidInput, match="cannot be sent"):
        client.acknowledge([{"notice_id": "n", "evidence": {"rows": value}}])
    assert service.asked == []


CALLS: list[Callable[[Client], Any]] = [
    lambda client: client.post_toggles([TOGGLE]),
    lambda client: client.consents("blog:a"),
    lambda client: client.timeline("blog:a"),
    lambda client: client.add_partner({}),
    lambda client: client.partners(),
    lambda client: client.partner("acme"),
    lambda client: client.rotate_secret("acme", {}),
    lambda client: client.acknowledge([{}]),
    lambda client: client.lag(),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>"),
        Answer(200, b""),
        Answer(200, b"\xff\xfe"),
        Answer(200, b"[" * 100_000),
        Answer(200, []),
        Answer(200, None),
        Answer(200, "text"),
        Answer(204, b""),
        Answer(301, b""),
        Answer(400, []),
        Answer(500, b"oops"),
        Answer(502, {"detail": ["odd"], "errors": 7}),
        Answer(422, {"errors": [1, 2]}),
        Answer(0),
    ],
)
def test_an_answer_that_is_not_ours_is_an_error_that_can_be_shown(
    service: FakeService, call: Callable[[Client], Any], answer: Answer
) -> None:
    service.next.append(answer)
    with Client(service.url, None) as client, pytest.raises(RescindError) as refused:
        call(client)
    assert 0 < len(str(refused.value)) < 300


@pytest.mark.parametrize("call", [call for index, call in enumerate(CALLS) if index not in (3, 5, 6)])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"partners": 7, "ids": {}, "entries": None},
        {"ids": ["a", "b"], "consents": [1], "entries": ["x"], "partners": [None], "results": [[]]},
    ],
)
def test_an_object_without_what_was_asked_is_an_error(
    service: FakeService, call: Callable[[Client], Any], body: Any
) -> None:
    service.next.append(Answer(200, body))
    with Client(service.url, None) as client, pytest.raises(ApiError, match="not as Rescind does"):
        call(client)


def test_a_refusal_tells_why(service: FakeService) -> None:
    errors = [{"index": index, "pointer": "/subject", "detail": "is bad"} for index in range(5)]
    service.next.append(Answer(422, problem("5 of 5 toggles are not valid", *errors)))
    with Client(service.url, None) as client, pytest.raises(ApiError) as refused:
        client.post_toggles([TOGGLE])
    assert refused.value.status == 422
    assert refused.value.errors == errors
    told = "0/subject is bad; 1/subject is bad; 2/subject is bad; and 2 more"
    assert str(refused.value) == f"5 of 5 toggles are not valid ({told})"


def test_nobody_there() -> None:
    # Port 1 is reserved, and nobody listens on it.
    with Client("http://127.0.0.1:1", None) as client, pytest.raises(Unreachable, match=r"no answer from .*refused"):
        client.lag()


def test_a_host_name_that_dns_cannot_carry_is_an_error_that_can_be_shown() -> None:
    with Client(f"http://{'a' * 70}.example", None) as client, pytest.raises(RescindError):
        client.lag()


def test_text_that_is_no_unicode_is_refused_and_not_sent(service: FakeService) -> None:
    with Client(service.url, None) as client, pytest.raises(InvalidInput, match="cannot be sent"):
        client.post_toggles([{"subject": "blog:\udcff"}])
    assert service.asked == []


def test_a_proxy_of_the_environment_is_not_used(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with Client(service.url, None) as client:
        assert client.post_toggles([TOGGLE]) == ["e1"]
