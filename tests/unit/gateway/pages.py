"""What tests read in pages."""

from __future__ import annotations

from html.parser import HTMLParser


class Outline(HTMLParser):
    """Tags and text; fails on a tag that is closed out of order, and on a script or a style within the page."""

    _VOID = frozenset({"meta", "br", "link", "input"})
    _DRAWN = frozenset({"circle", "path", "rect", "use", "polygon", "polyline"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name == "style"]
        assert tag != "script" or dict(attrs).get("src")
        if tag not in self._VOID:
            assert tag not in self._DRAWN, f"<{tag}> must be closed"
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())
