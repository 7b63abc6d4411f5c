"""A partner with Python's `http.server`, which speaks HTTP/1.0: `python http_server.py PORT`."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Webhook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        events = json.loads(self.rfile.read(int(self.headers["content-length"])))
        reply = {"results": [{"id": event["id"], "status": "completed"} for event in events]}
        match self.path:
            case "/results":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(reply).encode())
            case "/length":
                body = json.dumps(reply).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            case "/surrogate":
                # A name that no encoding could read, as `os.listdir` gives it.
                reply["results"][0]["detail"] = b"caf\xe9.txt".decode("utf-8", "surrogateescape")
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(reply).encode())
            case "/nothing":
                self.send_response(200)
                self.end_headers()
            case "/long-head":
                self.send_response(200)
                self.send_header("content-security-policy", "default-src " + "https://cdn.example.com " * 500)
                for number in range(300):
                    self.send_header("set-cookie", f"experiment-{number}=on; Path=/; HttpOnly")
                self.end_headers()
                self.wfile.write(json.dumps(reply).encode())
            case "/raises":
                raise RuntimeError("the database is away")
            case _:
                self.send_error(404)

    def log_message(self, *words: object) -> None:
        """Quiet."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Webhook).serve_forever()
