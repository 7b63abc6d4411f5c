"""Derived ids are UUIDv5, and parts stay apart."""

from __future__ import annotations

from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from streams import ids

text = st.text(st.characters(codec="utf-8"), max_size=8)


@given(kind=text, causes=st.lists(text, max_size=4))
def test_an_id_is_the_uuid5_of_its_causes(kind: str, causes: list[str]) -> None:
    name = kind + "".join(f"|{len(part)}:{part}" for part in causes)
    assert ids.derive(kind, *causes) == str(uuid5(ids.NAMESPACE, name))
    assert UUID(ids.derive(kind, *causes)).version == 5


@given(first=st.lists(text, max_size=3), second=st.lists(text, max_size=3))
def test_other_causes_give_another_id(first: list[str], second: list[str]) -> None:
    assert (ids.derive("k", *first) == ids.derive("k", *second)) == (first == second)


def test_ids_never_change() -> None:
    """They are in logs and with partners: another algorithm would ask everybody everything again."""
    assert ids.notice_id(ids.deletion_id("t1"), "acme") == "7646585a-6640-5261-a9bc-7df5a1f6ca71"
