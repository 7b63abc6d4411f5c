"""Help teaches by examples, and an example that would fail teaches nothing. What prints data prints JSON, too."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from rescind import cli
from rescind.examples import EXAMPLES, EXIT_CODES
from tests.unit.cli.conftest import Run

ROOT: Any = typer.main.get_command(cli.commands())
#: They run until they are stopped, or print what has a form of its own.
NO_DATA = {"up", "worker", "gateway", "ledger", "demo", "report", "gate", "ledger rebuild", "ledger export"}


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    yield " ".join(words), command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*words, name))


COMMANDS = dict(commands(ROOT))


def parse(line: str) -> tuple[str, list[str]]:
    """Have a command read a line; what it does not know raises. Which command, and what it was given."""
    command, *_ = re.split(r" \|\|? | > ", line)
    words = shlex.split(command, comments=True)
    while re.fullmatch(r"RESCIND_[A-Z_]+=\S+", words[0]):
        words.pop(0)
    assert words.pop(0) == "rescind"
    found, path = ROOT, list[str]()
    while words and words[0] in getattr(found, "commands", {}):
        path.append(words.pop(0))
        found = found.commands[path[-1]]
    found.make_context(" ".join(path), list(words))
    return " ".join(path), words


def test_every_command_has_examples() -> None:
    assert set(EXAMPLES) == set(COMMANDS)
    assert all(EXAMPLES.values())


@pytest.mark.parametrize("word", cli.COMMANDS)
def test_a_command_alone_is_what_it_is_among_all(word: str) -> None:
    alone: Any = typer.main.get_command(cli.commands([word]))
    assert list(alone.commands) == [word]
    for words, command in commands(alone):
        among = COMMANDS[words]
        seen = [(each.name, each.opts, each.help) for each in command.params if hasattr(each, "help")]
        assert seen == [(each.name, each.opts, each.help) for each in among.params if hasattr(each, "help")]
        assert (command.help, command.epilog) == (among.help, among.epilog)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_is_understood(name: str) -> None:
    for line in EXAMPLES[name]:
        found, _ = parse(line)
        assert found == name or not name or found.startswith(f"{name} "), line


@pytest.mark.parametrize("line", ["rescind status --nonsense", "rescind toggle a:b ai maybe", "rescind keys revoke"])
def test_an_example_that_is_wrong_would_be_found(line: str) -> None:
    with pytest.raises(Exception, match=r"option|not one of|Missing"):
        parse(line)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_help_shows_them(run: Run, name: str) -> None:
    shown = " ".join(run(*name.split(), "--help").out.split())
    for line in EXAMPLES[name]:
        assert " ".join(line.split()) in shown
    assert "Example" in shown


def test_exit_codes_are_told(run: Run) -> None:
    assert EXIT_CODES in " ".join(run("--help").out.split())


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - NO_DATA))
def test_what_prints_data_prints_json(name: str) -> None:
    command = COMMANDS[name]
    if not hasattr(command, "commands"):
        assert "--json" in {option for each in command.params for option in each.opts}


def test_shells_complete_commands_and_options(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))
    ran = run("--show-completion")
    assert (ran.code, ran.err) == (0, "")
    assert "complete -o default -F _rescind_completion rescind" in ran.out
    monkeypatch.setenv("_RESCIND_COMPLETE", "complete_bash")
    for words, place, expected in (("rescind part", 1, "partners"), ("rescind status --wa", 2, "--watch")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(place))
        assert run().out.split() == [expected]
