"""What is printed: right in a pipe, and shown as it is whatever it holds."""

from __future__ import annotations

import io
import json
import sys

import pytest
from rich.text import Text

from rescind import output

ROWS = [["acme", "1", "[red]x[/red] [/y] :smile:"], ["日本", "12345", "plain"]]


def test_a_table_in_a_pipe_is_aligned_not_cut_and_not_padded(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_table(output.table(["partner", "open", "name"], [*ROWS, ["z", "7", "w" * 20_000]], right=["open"]))
    lines = capsys.readouterr().out.split("\n")
    assert lines == [
        "partner   open  name",
        "acme         1  [red]x[/red] [/y] :smile:",
        "日本     12345  plain",
        "z            7  " + "w" * 20_000,
        "",
    ]


def test_an_empty_table_still_says_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_table(output.table(["key", "role"], []))
    assert capsys.readouterr().out == "key  role\n"


def test_a_table_on_a_terminal_shows_markup_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    terminal = type(output.out)(file=screen, force_terminal=True, width=80, color_system=None, soft_wrap=True)
    monkeypatch.setattr(output, "out", terminal)
    output.show_table(output.table(["a", "b"], [[output.state("STALL"), "[red]x[/y]\x1b[2J"]]))
    assert "[red]x[/y]\\x1b[2J" in screen.getvalue()
    assert "STALL" in screen.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\n\tc", "a b c"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x9b2J", "\\x9b2J"),
        ("\u2028", ""),
        ("é 日 \U0001f600", "é 日 \U0001f600"),
        ("[red]x[/red]", "[red]x[/red]"),
        ("\udcff", "\udcff"),
    ],
)
def test_one_line_holds_no_control_characters(text: str, shown: str) -> None:
    assert output.one_line(text) == shown


def test_lines_show_markup_and_emoji_codes_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    output.say("[red]x[/y] :dog:")
    output.complain("[red]x[/y] :dog:" + "w" * 300)
    shown = capsys.readouterr()
    assert shown.out == "[red]x[/y] :dog:\n"
    assert shown.err == "[red]x[/y] :dog:" + "w" * 300 + "\n"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_json_is_valid_in_any_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
    value = {"name": "日本 \U0001f600 é \x1b", "n": None}
    output.print_json(value)
    assert json.loads(raw.getvalue().decode(encoding)) == value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0, "0.0 s"),
        (1.25, "1.2 s"),
        (59.9, "59.9 s"),
        (59.96, "1 min 0 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (86_399, "23 h 59 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_spans(value: float | None, shown: str) -> None:
    assert output.seconds(value) == shown


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        (None, "-"),
        ("2026-01-01T12:00:00Z", "2026-01-01 12:00:00Z"),
        ("2026-01-01T13:30:00.5+01:30", "2026-01-01 12:00:00Z"),
        ("soon", "soon"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
    ],
)
def test_times_are_shown_in_utc(time: str | None, shown: str) -> None:
    assert output.local(time) == shown


def test_states_have_their_colours() -> None:
    assert output.state("STOP") == Text("STOP", "red")
    assert output.state("[odd]").plain == "[odd]"
