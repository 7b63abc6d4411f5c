"""`rescind topics`: a Kafka cluster's topics, made, grown and compared with what they should be."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from rescind.options import Json, settings
from rescind.output import print_json, say, show_table, table
from streams.provisioning import Choices, TopicReport

app = typer.Typer(
    help="Make the topics on Kafka, or check them. RESCIND_LOG and RESCIND_KAFKA_... say where and how.",
    no_args_is_help=True,
)
#: Kafka adds no more to a topic at once.
_MOST_PARTITIONS = 10_000
Partitions = Annotated[
    int | None,
    typer.Option(
        help="Over how many partitions subjects are spread; 8 for new topics by default.", min=1, max=_MOST_PARTITIONS
    ),
]
Lanes = Annotated[
    int | None,
    typer.Option(help="How many partners there can be at once; at least 32 by default.", min=1, max=_MOST_PARTITIONS),
]
Replication = Annotated[
    int | None, typer.Option(help="Copies of everything; at least 3 by default, or one a broker.", min=1, max=1000)
]
MinInsync = Annotated[
    int | None,
    typer.Option(help="Copies that a record is in before it counts; 2 of 3 or more by default.", min=1, max=1000),
]


@app.command()
def apply(
    partitions: Partitions = None,
    lanes: Lanes = None,
    replication: Replication = None,
    min_insync: MinInsync = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: Json = False,
) -> None:
    """Make the topics that are missing, and change those that are not as they should be. Repeating it does nothing.

    It never takes a topic or a partition away. Records go by RESCIND_RETENTION_DAYS; toggles and notices never.

    Exit code 1 if something differs that only an operator can change.
    """
    words = ("to create", "to change") if dry_run else ("created", "changed")
    reports = _provision(
        Choices(partitions, lanes, replication, min_insync), words, change=not dry_run, as_json=as_json
    )
    if any(report.left for report in reports):
        raise typer.Exit(1)


@app.command()
def check(
    partitions: Partitions = None,
    lanes: Lanes = None,
    replication: Replication = None,
    min_insync: MinInsync = None,
    as_json: Json = False,
) -> None:
    """Compare the topics with what `rescind topics apply` would make with the same options. Changes nothing.

    Exit code 0 if all is as it should be, 1 if something is missing or differs, 2 if the cluster does not answer.
    """
    words = ("missing", "differs")
    reports = _provision(Choices(partitions, lanes, replication, min_insync), words, change=False, as_json=as_json)
    if not all(report.fine for report in reports):
        raise typer.Exit(1)


def _provision(choices: Choices, words: tuple[str, str], *, change: bool, as_json: bool) -> list[TopicReport]:
    """Do so, and show it. `words` are for a topic that there was not, and for a change."""
    from streams.log import provision  # noqa: PLC0415 - Faust is slow to import

    reports = provision(settings(), choices, change=change)
    if as_json:
        print_json({"topics": [_plain(report, words) for report in reports or ()]})
    elif reports is None:
        say("The embedded log makes its topics by itself.")
    else:
        columns = ["topic", "partitions", "replicas", "state", "what"]
        rows = [row for report in reports for row in _rows(report, words)]
        show_table(table(columns, rows, right=["partitions", "replicas"]))
        if all(report.fine for report in reports):
            say("Nothing to do.")
    return reports or []


def _plain(report: TopicReport, words: tuple[str, str]) -> dict[str, Any]:
    return asdict(report) | {"state": _states(report, words)[0][0]}


def _rows(report: TopicReport, words: tuple[str, str]) -> list[list[str]]:
    return [
        [report.topic, str(report.partitions), str(report.replicas), state, what]
        for state, what in _states(report, words)
    ]


def _states(report: TopicReport, words: tuple[str, str]) -> list[tuple[str, str]]:
    """The most telling one first."""
    made, changed = words
    return [
        *(("differs", what) for what in report.left),
        *([(made, "")] if report.created else []),
        *((changed, what) for what in report.changes),
    ] or [("fine", "")]
