"""What an attack found: a table as it goes, and one JSON object at its end."""

import json
import re
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Report:
    """`check` counts a case. A case that is not `shown` stands in the table only where it failed."""

    cases: int = 0
    false_accepts: int = 0
    http_500: int = 0
    failed: list[str] = field(default_factory=list)
    sections: Counter[str] = field(default_factory=Counter)

    def begin(self, section: str) -> None:
        self.section = section
        print(f"\n{section.upper()}")
        print(f"  {'case':<58} {'required':<34} seen")

    def check(
        self, case: str, required: str, seen: str, ok: bool, *, false_accept: bool = False, shown: bool = True
    ) -> None:
        self.cases += 1
        self.sections[self.section] += 1
        if false_accept:
            self.false_accepts += 1
        if re.search(r"\b50[024]\b", seen):
            self.http_500 += 1
            ok = False
        if not ok or false_accept:
            self.failed.append(f"{self.section}: {case}: required {required}, seen {seen}")
        if shown or not ok or false_accept:
            self.line(case, required, seen if ok else f"{seen}  FAILED")

    def line(self, case: str, required: str, seen: str) -> None:
        print(f"  {case[:58]:<58} {required[:34]:<34} {seen}", flush=True)

    def as_json(self) -> str:
        return json.dumps(
            {
                "cases": self.cases,
                "false_accepts": self.false_accepts,
                "http_500": self.http_500,
                "failed": self.failed,
            }
        )
