"""The forms of names that travel, as plain patterns, for whoever has not pydantic."""

from __future__ import annotations

SUBJECT = r"^[a-z][a-z0-9_-]{0,31}:[^\s\x00-\x1f\x7f]{1,255}$"
PURPOSE = r"^[a-z0-9][a-z0-9._-]{0,63}$"
EVENT_ID = r"^[\x21-\x7e]{1,128}$"
