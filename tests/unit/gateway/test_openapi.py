"""The OpenAPI page: complete, resolvable, and true to what the routes do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.toggles import ToggleIn
from tests.unit.gateway.harness import PROBLEM, Gateway


@pytest.fixture
async def schema(gateway: Gateway) -> dict[str, Any]:
    answer = await gateway.http.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json()
    assert found == (await gateway.http.get("/openapi.json")).json(), "asked twice, it says the same"
    return found


def everything(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for inner in node.values():
            yield from everything(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from everything(inner)


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def resolve(schema: dict[str, Any], reference: str) -> Any:
    assert reference.startswith("#/")
    node: Any = schema
    for step in reference[2:].split("/"):
        node = node[step]
    return node


async def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    references = [node["$ref"] for node in everything(schema) if isinstance(node.get("$ref"), str)]
    assert references
    for reference in references:
        assert resolve(schema, reference)["type"] in ("object", "string")
    assert not [node for node in everything(schema) if "$defs" in node]


async def test_every_component_is_used(schema: dict[str, Any]) -> None:
    references = {node["$ref"].rpartition("/")[2] for node in everything(schema) if isinstance(node.get("$ref"), str)}
    assert references == set(schema["components"]["schemas"])


async def test_every_operation_has_a_summary_a_description_and_an_id_of_its_own(schema: dict[str, Any]) -> None:
    ids = []
    for name, operation in operations(schema):
        assert operation["summary"], name
        assert operation.get("description") or name == "GET /health/live", name
        ids.append(operation["operationId"])
    assert len(set(ids)) == len(ids)


async def test_every_error_is_a_problem(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema):
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == [PROBLEM], f"{name} {status}"
                assert resolve(schema, answer["content"][PROBLEM]["schema"]["$ref"])["title"] == "ProblemDetails"
    assert "HTTPValidationError" not in schema["components"]["schemas"]


async def test_what_needs_a_key_says_so(schema: dict[str, Any]) -> None:
    assert schema["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    for name, operation in operations(schema):
        guarded = not name.startswith(("GET /health/", "GET /v1/signing-key"))
        assert bool(operation.get("security")) == guarded, name
        assert ({"401", "403", "503"} <= set(operation["responses"])) == guarded, name


async def test_every_body_is_described(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema):
        takes_one = name.split()[0] in ("POST", "PATCH", "PUT") and not name.endswith(("/test", "/try", "/seen"))
        assert ("requestBody" in operation) == takes_one, name
        if takes_one:
            is_json = not name.startswith("PUT ")
            assert operation["requestBody"]["required"]
            assert ("application/json" if is_json else "application/octet-stream") in operation["requestBody"][
                "content"
            ]
            assert {"400", "413", "415", "422"} <= set(operation["responses"]), name


async def test_an_export_that_is_open_already_is_described(schema: dict[str, Any]) -> None:
    assert {"200", "201"} <= set(schema["paths"]["/v1/exports"]["post"]["responses"])


async def test_the_example_of_a_toggle_is_a_toggle(gateway: Gateway, schema: dict[str, Any]) -> None:
    content = schema["paths"]["/v1/toggles"]["post"]["requestBody"]["content"]
    example = content["application/json"]["example"]
    assert (await gateway.http.post("/v1/toggles", json=example, headers=gateway.platform)).status_code == 202
    assert set(content) == {
        "application/json",
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
    }


async def test_bodies_name_their_fields(schema: dict[str, Any]) -> None:
    schemas = schema["components"]["schemas"]
    assert set(schemas["ToggleIn"]["properties"]) == set(ToggleIn.model_fields)
    assert schemas["ToggleIn"]["properties"]["occurred_at"]["format"] == "date-time"
    assert schemas["PartnerIn"]["required"] == ["id", "name", "url", "purposes"]
    assert "required" not in schemas["PartnerPatch"]
    assert not [field for field in schemas["PartnerPatch"]["properties"].values() if "default" in field]
    assert {"consents", "subject"} == set(schemas["Consents"]["properties"])
    assert schemas["Consents"]["properties"]["consents"]["items"] == {"$ref": "#/components/schemas/Consent"}


async def test_no_schema_tells_of_sealed_secrets(gateway: Gateway) -> None:
    assert "sealed" not in (await gateway.http.get("/openapi.json")).text


async def test_the_page_for_people_is_there(gateway: Gateway) -> None:
    answer = await gateway.http.get("/docs")
    assert answer.status_code == 200
    assert "/openapi.json" in answer.text
    assert (await gateway.http.get("/redoc")).status_code == 404
