"""What a user may choose, and what a notice asks. Apart from the events, so that a command is quick to start."""

from __future__ import annotations

from enum import StrEnum


class Choice(StrEnum):
    OPT_OUT = "opt_out"
    OPT_IN = "opt_in"


class Action(StrEnum):
    """What a notice asks of a partner."""

    STOP = "stop"  #: use nothing of the subject from now on
    ERASE = "erase"  #: stop, and delete what is held already
    RESUME = "resume"  #: the subject allows it again
