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
    if problem["type"] in _CHOICES:
        return "not one of " + str(context["expected"]).replace("'", "").replace(" or ", ", ")
    words = _WORDS.get(problem["type"]) or MEANINGS.get(context.get("pattern", ""))
    return str(problem["msg"]) if words is None else words.format_map(context)


_CHOICES = frozenset({"enum", "literal_error"})
#: By pydantic's types of errors (https://docs.pydantic.dev/latest/errors/validation_errors/), with its context.
_WORDS = {
    "missing": "missing",
    "extra_forbidden": "no such field",
    "string_type": "not text",
    "string_too_short": "shorter than {min_length} characters",
    "string_too_long": "longer than {max_length} characters",
    "int_type": "not a whole number",
    "int_from_float": "not a whole number",
    "int_parsing": "not a whole number",
    "float_type": "not a number",
    "float_parsing": "not a number",
    "bool_type": "neither true nor false",
    "bool_parsing": "neither true nor false",
    "dict_type": "not a JSON object",
    "model_type": "not a JSON object",
    "list_type": "not a list",
    "tuple_type": "not a list",
    "too_short": "fewer than {min_length} items",
    "too_long": "more than {max_length} items",
    "greater_than": "not greater than {gt}",
    "greater_than_equal": "less than {ge}",
    "less_than": "not less than {lt}",
    "less_than_equal": "greater than {le}",
}
