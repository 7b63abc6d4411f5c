"""A partner in Flask, run by its own server: `flask --app tests.e2e.frameworks.flask_app run`."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask, Response, jsonify, request
from flask.typing import ResponseReturnValue

app = Flask(__name__)


def events() -> list[dict[str, Any]]:
    body = request.get_json()
    return body if isinstance(body, list) else [body]


def deleted(event: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": event["id"], "status": "completed", "outcome": "deleted", **more}


@app.post("/results")
def results() -> ResponseReturnValue:
    return {"results": [deleted(event) for event in events()]}


@app.post("/notice-ids")
def notice_ids() -> ResponseReturnValue:
    return jsonify(results=[{"notice_id": event["id"], "status": "completed"} for event in events()])


@app.post("/own-keys")
def own_keys() -> ResponseReturnValue:
    """As rows of a table of its own are written: `id` is that table's."""
    return jsonify(
        results=[
            {"id": number, "notice_id": event["id"], "status": "completed", "outcome": "deleted"}
            for number, event in enumerate(events(), start=17)
        ]
    )


@app.post("/list")
def bare_list() -> ResponseReturnValue:
    return jsonify([deleted(event) for event in events()])


@app.post("/object")
def bare_object() -> ResponseReturnValue:
    return deleted(request.get_json())


@app.post("/umlauts")
def umlauts() -> ResponseReturnValue:
    return {"results": [deleted(event, detail="gelöscht, für immer") for event in events()]}


@app.post("/pretty")
def pretty() -> ResponseReturnValue:
    return json.dumps({"results": [deleted(event) for event in events()]}, indent=4)


@app.post("/refused")
def refused() -> ResponseReturnValue:
    return {"results": [{"id": event["id"], "status": "Refused", "reason": "Legal Hold"} for event in events()]}


@app.post("/anonymized")
def anonymized() -> ResponseReturnValue:
    return {"results": [{"id": event["id"], "status": "completed", "outcome": "anonymized"} for event in events()]}


@app.post("/done")
def done() -> ResponseReturnValue:
    return {"results": [{"id": event["id"], "status": "done"} for event in events()]}


@app.post("/drop")
def drop() -> ResponseReturnValue:
    """In the words of California's DROP."""
    return {"results": [{"id": event["id"], "vocabulary": "DROP", "code": 3} for event in events()]}


@app.post("/half")
def half() -> ResponseReturnValue:
    """The first is done, the second is answered in a word of its own, and of the others nothing is said."""
    first, *others = events()
    return {"results": [deleted(first), *({"id": other["id"], "status": "gone"} for other in others[:1])]}


@app.post("/evidence")
def evidence() -> ResponseReturnValue:
    """As much as an acknowledgement may bring."""
    return {"results": [deleted(event, evidence={"proof": "x" * 15_900}) for event in events()]}


@app.post("/evidence-umlauts")
def evidence_umlauts() -> ResponseReturnValue:
    """As much again, in letters that Flask writes as six bytes each, and UTF-8 as two."""
    return {"results": [deleted(event, evidence={"proof": "ü" * 7_950}) for event in events()]}


@app.post("/nan")
def nan() -> ResponseReturnValue:
    return jsonify(results=[deleted(event, evidence={"confidence": float("nan")}) for event in events()])


@app.post("/str")
def printed() -> ResponseReturnValue:
    return str({"results": [deleted(event) for event in events()]})


@app.post("/echo")
def echo() -> ResponseReturnValue:
    return jsonify(request.get_json())


@app.post("/status-ok")
def status_ok() -> ResponseReturnValue:
    return {"status": "ok", "received": len(events())}


@app.post("/ok")
def ok() -> ResponseReturnValue:
    """Without a look at what came."""
    return "OK"


@app.post("/nothing")
def nothing() -> ResponseReturnValue:
    return "", 204


@app.post("/page")
def page() -> ResponseReturnValue:
    return "<!doctype html><title>Thank you</title><p>We have got it."


@app.post("/slash/")
def slash() -> ResponseReturnValue:
    return "OK"


@app.get("/only-get")
def only_get() -> ResponseReturnValue:
    return "OK"


@app.post("/crash")
def crash() -> ResponseReturnValue:
    raise RuntimeError("the database is away")


@app.post("/busy")
def busy() -> ResponseReturnValue:
    return Response("busy", status=503, headers={"Retry-After": "2.5"})
