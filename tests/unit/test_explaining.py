"""What is wrong with data, in words for people who never heard of pydantic."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import orjson
import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streams.explaining import explain
from streams.names import Purpose


class Colour(StrEnum):
    RED = "red"
    LIGHT_BLUE = "light_blue"


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int = 0


class Everything(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: Annotated[str, Field(min_length=2, max_length=3)] = "ab"
    purpose: Purpose = "ai"
    number: Annotated[int, Field(ge=1, lt=9)] = 1
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    flag: bool = True
    colour: Colour = Colour.RED
    action: Literal["stop", "erase"] = "stop"
    inner: Inner = Inner()
    names: Annotated[dict[str, int], Field(max_length=1)] = {}
    some: Annotated[list[int], Field(min_length=1, max_length=2)] = [1]
    pair: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tekst": 1}, "tekst: no such field"),
        ({"inner": {"y": 1}}, "inner.y: no such field"),
        ({"text": 5}, "text: not text"),
        ({"text": "a"}, "text: shorter than 2 characters"),
        ({"text": "abcd"}, "text: longer than 3 characters"),
        ({"purpose": "A B"}, "purpose: not a purpose, which is a slug of up to 64 characters, such as ai-training"),
        ({"number": "5"}, "number: not a whole number"),
        ({"number": 1.5}, "number: not a whole number"),
        ({"number": 0}, "number: less than 1"),
        ({"number": 9}, "number: not less than 9"),
        ({"share": "x"}, "share: not a number"),
        ({"share": 0}, "share: not greater than 0.0"),
        ({"share": 2}, "share: greater than 1.0"),
        ({"flag": "yes"}, "flag: neither true nor false"),
        ({"colour": "green"}, "colour: not one of red, light_blue"),
        ({"action": "resume"}, "action: not one of stop, erase"),
        ({"inner": 5}, "inner: not a JSON object"),
        ({"names": []}, "names: not a JSON object"),
        ({"names": {"a": 1, "b": 2}}, "names: more than 1 items"),
        ({"some": {}}, "some: not a list"),
        ({"some": []}, "some: fewer than 1 items"),
        ({"some": [1, 2, 3]}, "some: more than 2 items"),
        ({"pair": 5}, "pair: not a list"),
        ({"some": ["x", 1.5]}, "some.0: not a whole number; some.1: not a whole number"),
    ],
)
def test_what_is_wrong_is_told_plainly(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Everything.model_validate_json(orjson.dumps(given), strict=True)
    assert explain(raised.value) == words


def test_what_is_missing_is_told() -> None:
    class Needed(BaseModel):
        name: str

    with pytest.raises(ValidationError) as raised:
        Needed.model_validate({})
    assert explain(raised.value) == "name: missing"
