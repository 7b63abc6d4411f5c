"""What is wrong with data, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from streams.names import MEANINGS


def explain(error: ValidationError) -> str:
    """A pydantic error in one line."""
    parts = []
    for problem in error.errors(include_url=False)[:5]:
        where = ".".join(str(step) for step in problem["loc"])
        parts.append(f"{where}: {in_words(problem)}" if where else in_words(problem))
    return "; ".join(parts)


def in_words(problem: Mapping[str, Any]) -> str:
    """One of pydantic's errors, for people: what a name looks like, and not the pattern that says so."""
    context = problem.get("ctx", {})
    if problem["type"] == "value_error":
        return str(context["error"])
    return MEANINGS.get(context.get("pattern", ""), str(problem["msg"]))
