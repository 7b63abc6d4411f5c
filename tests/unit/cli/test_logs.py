"""What is written to standard error: everything of ours, and of whoever repeats itself only now and then."""

from __future__ import annotations

import logging

from rescind.logs import Seldom


def record(name: str) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "x.py", 1, "said", None, None)


def test_who_repeats_itself_is_heard_now_and_then() -> None:
    now = 100.0
    seldom = Seldom("aiokafka", 10.0, lambda: now)
    assert seldom.filter(record("aiokafka"))
    assert not seldom.filter(record("aiokafka"))
    # Each of its parts has something else to say.
    assert seldom.filter(record("aiokafka.consumer.fetcher"))
    for _ in range(3):
        assert seldom.filter(record("rescind"))
        assert seldom.filter(record("aiokafkaesque"))
    now = 109.9
    assert not seldom.filter(record("aiokafka"))
    now = 110.0
    assert seldom.filter(record("aiokafka"))
    assert not seldom.filter(record("aiokafka"))
