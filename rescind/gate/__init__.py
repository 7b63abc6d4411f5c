"""The gate: what of an export may go out, and the record of whom it discloses.

For programs it is `Gate`; `rescind gate` does the same for files. It needs neither Faust nor the service's own
dependencies.
"""

from rescind.gate.deciding import Column, Consents, Layout, Reason, Refused, Regime, Verdict, judge
from rescind.gate.handing import Handed, Patience, Unsettled
from rescind.gate.program import Gate

__all__ = [
    "Column",
    "Consents",
    "Gate",
    "Handed",
    "Layout",
    "Patience",
    "Reason",
    "Refused",
    "Regime",
    "Unsettled",
    "Verdict",
    "judge",
]
