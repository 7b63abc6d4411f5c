"""Imports run one way: rescind -> gateway, agents -> ledger -> streams."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What each room may import of the others.
ALLOWED = {
    "streams": set(),
    "ledger": {"streams"},
    "agents": {"streams", "ledger"},
    "gateway": {"streams", "ledger"},
    "rescind": {"streams", "ledger", "agents", "gateway"},
}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield (node.module or "").partition(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_lies_below(room: str) -> None:
    for path in sorted((ROOT / room).rglob("*.py")):
        others = (set(imported(path)) & set(ALLOWED)) - {room}
        assert others <= ALLOWED[room], path.relative_to(ROOT)
