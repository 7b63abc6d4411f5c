"""A whole partner, with nothing but the standard library and `rescind.partner`.

rescind partners add acme --to http://127.0.0.1:8322/ --purpose ai-training --json > acme.json
python examples/partner.py acme.json
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from rescind.partner import InvalidInput, InvalidSignature, LastWords, ReceivedNotice, completed, receive, reply

REGISTERED = json.loads(Path(sys.argv[1]).read_text())
#: What signatures are checked with: the secret for v1, the public key for v1a.
KEYS = [
    key for key in (REGISTERED["signing_secret"], *(key["public_key"] for key in REGISTERED["signing_keys"])) if key
]
#: In real life: a database. A webhook may come twice, which the notice's id tells; or late, which its rank tells.
DONE: set[str] = set()
WORDS = LastWords()


def obey(notice: ReceivedNotice) -> None:
    """Where a partner would delete, suppress or resume."""
    print(f"{notice.action} {notice.subject} for {notice.purpose}", flush=True)


def answer(notice: ReceivedNotice) -> dict[str, str]:
    """Do what is asked, once, unless a newer choice has replaced it: that was received, and not done."""
    if notice.id not in DONE:
        if not WORDS.take(notice):
            return {"id": notice.id, "status": "received"}
        obey(notice)
        DONE.add(notice.id)
    return {"id": notice.id, **completed(notice)}


class Webhook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            delivery = receive(KEYS, dict(self.headers), body, datetime.now(UTC))
        except InvalidSignature:
            self._answer(401, b"")
            return
        except InvalidInput:
            self._answer(400, b"")
            return
        self._answer(200, reply([answer(notice) for notice in delivery.notices]))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Quiet: what matters is printed above."""


if __name__ == "__main__":
    address = urlsplit(REGISTERED["url"])
    ThreadingHTTPServer((address.hostname or "127.0.0.1", address.port or 80), Webhook).serve_forever()
