"""What the help of each command teaches by: commands as somebody would type them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

#: By the command's words.
EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "": (
        "rescind up",
        "rescind toggle blog:staff.example.com ai-training opt_out",
        "rescind partners add acme --to https://acme.example/rescind --purpose ai-training",
        "rescind status --watch",
    ),
    "up": ("rescind up --data /var/lib/rescind", "RESCIND_ALLOW_PRIVATE_PARTNERS=1 rescind up --port 0"),
    "worker": (
        "RESCIND_LOG=kafka://broker:9092 RESCIND_SEALING_KEY=... rescind worker --data /var/lib/rescind/worker-1",
    ),
    "ledger": ("RESCIND_LOG=kafka://broker:9092 rescind ledger --data /var/lib/rescind/site-1",),
    "ledger rebuild": ("rescind ledger rebuild --data /var/lib/rescind/site-1",),
    "ledger export": ("rescind ledger export --out ledger.ndjson", "rescind ledger export | sha256sum"),
    "ledger archives": ("rescind ledger archives --json", "rescind ledger archives --verify || echo one is damaged"),
    "gateway": (
        "RESCIND_LOG=kafka://broker:9092 RESCIND_SEALING_KEY=... rescind gateway --data /var/lib/rescind/site-1",
    ),
    "demo": ("rescind demo", "rescind demo --stay --port 8321"),
    "toggle": (
        "rescind toggle blog:staff.example.com ai-training opt_out",
        "rescind toggle user:123 ai-training opt_in --id evt-7 --at 2026-01-01T12:00:00Z",
    ),
    "import": ("rescind import choices.csv", "rescind import choices.ndjson --on-error stop --json"),
    "trace": ("rescind trace user:123", "rescind trace blog:staff.example.com --json"),
    "status": (
        "rescind status",
        "rescind status --watch",
        "rescind status --partner acme",
        "rescind status --window 7d --json",
        "rescind status || echo somebody stands still",
    ),
    "notices": (
        "rescind notices --partner acme --overdue",
        "rescind notices --status refused --status undeliverable --from 2026-01-01T00:00:00Z --json",
    ),
    "report": (
        "rescind report --partner acme --from 2026-01-01 --to 2026-02-01 --format html --out acme.html",
        "rescind report --partner acme --from 2026-01-01 --format json",
    ),
    "lag": ("rescind lag", "RESCIND_LOG=kafka://broker:9092 rescind lag --at-most 1000"),
    "doctor": ("rescind doctor", "rescind doctor --data /var/lib/rescind --json"),
    "gate": (
        "rescind gate --partner acme --purpose ai-training --dataset posts --version 2026-01 --subject-column blog"
        " --input posts.ndjson --output out.ndjson",
    ),
    "manifest": ("rescind manifest verify out.ndjson.manifest.json",),
    "manifest verify": ("rescind manifest verify out.ndjson.manifest.json --data out.ndjson --key signing.pub",),
    "exports": ("rescind exports list",),
    "exports list": ("rescind exports list --partner acme", "rescind exports list --dataset posts --json"),
    "exports show": ("rescind exports show 0b0f5a52-8c43-5d5e-9a29-4f0c5c1d2a11",),
    "disclosures": ("rescind disclosures user:123",),
    "disclosures of": ("rescind disclosures of user:123 --json",),
    "disclosures import": (
        "rescind disclosures import users.csv --partner acme --dataset posts --version 2024-06"
        " --exported-at 2024-06-30T00:00:00Z",
    ),
    "actions": ("rescind actions --partner acme",),
    "partners": ("rescind partners list", "rescind partners test acme"),
    "partners add": (
        "rescind partners add acme --to https://acme.example/rescind --purpose ai-training",
        "rescind partners add acme --to https://acme.example/rescind --purpose ai-training --json > acme.json",
        "rescind partners add wide --to https://wide.example/ --purpose ads --purpose ai-training --lanes 4 --gzip",
    ),
    "partners list": ("rescind partners list", "rescind partners list --json"),
    "partners show": ("rescind partners show acme",),
    "partners rotate-secret": (
        "rescind partners rotate-secret acme --overlap 3600",
        "rescind partners rotate-secret acme --overlap 0",
    ),
    "partners clocks": (
        "rescind partners clocks acme --receive-within PT12H",
        "rescind partners clocks acme --for erase --complete-within P1M --extension P2M --time-zone Europe/Dublin",
        "rescind partners clocks acme --for stop --complete-within '15 business days' --calendar US-CA",
        "rescind partners clocks acme --for stop --complete-within '15 business days' --week mon-sat --calendar US-CA",
        "rescind partners clocks acme --for erase --complete-within P45D --inclusive --since occurred_at"
        " --time-zone America/Los_Angeles",
    ),
    "partners answers": ("rescind partners answers acme --suppression completes",),
    "partners replies": ("rescind partners replies acme", "rescind partners replies acme --seen"),
    "partners exports": ("rescind partners exports acme --when-overdue suspend",),
    "partners remove": ("rescind partners remove acme",),
    "partners pause": ('rescind partners pause acme --reason "maintenance until Monday"',),
    "partners resume": ("rescind partners resume acme",),
    "partners suspend": ('rescind partners suspend acme --reason "refuses everything since its update"',),
    "partners drain": ("rescind partners drain acme", "rescind partners drain acme --undo"),
    "partners replay": (
        "rescind partners replay acme --from 2026-01-01T00:00:00Z --dry-run",
        "rescind partners replay acme --from 2026-01-01T00:00:00Z --to 2026-01-02T00:00:00Z",
    ),
    "partners try": ("rescind partners try acme",),
    "partners test": ("rescind partners test acme",),
    "dead-letters": ("rescind dead-letters list",),
    "dead-letters list": ("rescind dead-letters list --theirs --partner acme", "rescind dead-letters list --ours"),
    "dead-letters redrive": (
        "rescind dead-letters redrive --theirs --partner acme --all",
        "rescind dead-letters redrive --ours 0b0f5a52-8c43-5d5e-9a29-4f0c5c1d2a11",
    ),
    "dead-letters discard": (
        "rescind dead-letters discard 0b0f5a52-8c43-5d5e-9a29-4f0c5c1d2a11",
        'rescind dead-letters discard --theirs --partner acme --all --reason "the contract ended in May"',
    ),
    "keys": ("rescind keys list",),
    "keys create": (
        'rescind keys create --role operator --label "on-call laptop"',
        "rescind keys create --role partner --partner acme",
    ),
    "keys list": ("rescind keys list --data /var/lib/rescind",),
    "keys revoke": ("rescind keys revoke 3f9c2a7b",),
    "topics": ("RESCIND_LOG=kafka://one:9092,two:9092 rescind topics apply",),
    "topics apply": (
        "RESCIND_LOG=kafka://one:9092,two:9092 rescind topics apply --dry-run",
        "rescind topics apply --partitions 24  # to begin with; later that would take new topics",
        "rescind topics apply --lanes 256  # also while everything runs, which sees it within 30 s",
    ),
    "topics check": ("rescind topics check --lanes 256 || echo somebody has been here",),
}

EXIT_CODES = (
    "Exit codes: 0 done. 1 done, and there is something to look at: the help of each command says what. 2 bad input, no"
    " answer, or it could not be done; one line on standard error says why. 130 interrupted. 141 whoever read the"
    " output went away."
)


def teach(app: typer.Typer) -> None:
    """Put the examples under the help of every command of an app, and the exit codes under the app's own."""
    _teach_group(app.info, app, "")
    app.info.epilog = f"{app.info.epilog}\n\n{EXIT_CODES}"


def _teach_group(info: Any, app: typer.Typer, words: str) -> None:
    info.epilog = _epilog(words)
    for command in app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "")
        command.epilog = _epilog(f"{words} {name}".strip())
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _teach_group(group, group.typer_instance, f"{words} {group.name}".strip())


def _epilog(words: str) -> str | None:
    lines = EXAMPLES.get(words, ())
    return "\n\n".join([f"Example{'s' * (len(lines) > 1)}:", *lines]) if lines else None
