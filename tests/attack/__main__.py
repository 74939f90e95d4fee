"""`make attack-intake`: the intake under attack, at the real server. QUICK=1 takes a sample, in under a minute.

    python -m tests.attack [section …]

Prints what each case requires and what was seen, and last one JSON object. Exits with 1 where anything failed.
"""

import os
import sys
import time

from tests.attack import hostile, proofs
from tests.attack.framing import attack_framing
from tests.attack.report import Report
from tests.attack.server import attacked
from tests.attack.slow import attack_slowly

SECTIONS = {
    "verification": proofs.attack_methods,
    "timing": proofs.time_the_unknown,
    "framing": attack_framing,
    "bombs": hostile.attack_with_bombs,
    "bodies": hostile.attack_with_bodies,
    "slow": attack_slowly,
}


def main(wanted: list[str]) -> int:
    unknown = set(wanted) - set(SECTIONS)
    if unknown:
        sys.exit(f"There is no section {', '.join(sorted(unknown))}. Choose among {', '.join(SECTIONS)}.")
    quick = os.environ.get("QUICK") == "1"
    report = Report()
    with attacked() as target:
        for name in wanted or SECTIONS:
            begun = time.monotonic()
            SECTIONS[name](target, report, quick=quick)
            report.line("", "", f"({time.monotonic() - begun:.0f} s)")
            if not target.is_alive():
                report.check("the server answers afterwards", "200", "dead", False)
                break
        report.begin("log")
        log = target.server.log.read_text(errors="replace")
        errors = log.count("Traceback")
        report.check("tracebacks in the server's log", "0", str(errors), not errors)
        if errors:
            print(log[:5000])
    print()
    for section, number in report.sections.items():
        print(f"  {number:>5} cases  {section}")
    print(report.as_json())
    return 1 if report.failed or report.false_accepts or report.http_500 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
