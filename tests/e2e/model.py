"""What must come of a file of real opt-outs, by the simplest program that says it. Shares nothing with
the service: no import of ours."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FILE = Path(__file__).parents[2] / "examples" / "ai-crawler-choices.csv"


@dataclass
class Model:
    rows: int = 0
    choices: dict[tuple[str, str], str] = field(default_factory=dict)
    #: (partner, subject, purpose, action, occurred_at) of every notice; none may come twice.
    notices: Counter[tuple[str, str, str, str, str]] = field(default_factory=Counter)

    def by_partner(self) -> Counter[str]:
        return Counter(notice[0] for notice in self.notices.elements())


def model_of(path: Path, purposes: Mapping[str, tuple[str, ...]]) -> Model:
    """`purposes` are each partner's. An absent earlier choice counts as allowed."""
    model = Model()
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            model.rows += 1
            key = (f"site:{row['site']}", row["agent"])
            if row["choice"] != model.choices.get(key, "opt_in"):
                action = "erase" if row["choice"] == "opt_out" else "resume"
                for partner, wanted in purposes.items():
                    if row["agent"] in wanted:
                        model.notices[partner, *key, action, row["occurred_at"]] += 1
            model.choices[key] = row["choice"]
    return model
