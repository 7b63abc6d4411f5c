"""Which notices a later choice of the user's reverses: SQL over two notices, `n` and `newer`.

A notice is *reversed* if a later one to the same partner, about the same subject and purpose, asks for the opposite:
whoever had forgotten everything would take the old word for the last one. Sent now, it would undo a user's choice.
"""

from __future__ import annotations

# Ranks say which choice is the newer one, and what comes from no choice takes back none. What has no rank itself is
# taken back by what is issued later: within a lane the order is that of the choices, and clocks are asked only where a
# partner's lanes have changed. Rows of one pack were inserted in its order.
_LATER = """(CASE
    WHEN n.rank IS NOT NULL THEN COALESCE(newer.rank, '') > n.rank
    WHEN newer.lane = n.lane THEN (newer.offset, newer.rowid) > (n.offset, n.rowid)
    ELSE newer.issued_at > n.issued_at END)"""
OPPOSITE = f"""newer.subject = n.subject AND newer.partner = n.partner AND newer.purpose = n.purpose
    AND (newer.action = 'resume') <> (n.action = 'resume') AND {_LATER}"""
REVERSED = f"EXISTS (SELECT 1 FROM notices AS newer WHERE {OPPOSITE})"
#: When the first of those that reverse it was issued.
REVERSED_AT = f"(SELECT MIN(newer.issued_at) FROM notices AS newer WHERE {OPPOSITE})"
