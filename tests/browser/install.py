"""Find or install a Chromium for the browser tests. Never fails: says loudly what will be missed.

Order: $CHROMIUM; an installed Chromium or Chrome; Playwright's own download; apt-get as root.
The tests ask `find()` for the executable (None: they are skipped).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find() -> str | None:
    """The path of a Chromium that is there now."""
    if given := os.environ.get("CHROMIUM"):
        return shutil.which(given)
    for name in NAMES:
        if path := shutil.which(name):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        downloaded = Path(playwright.chromium.executable_path)
    return str(downloaded) if downloaded.exists() else None


def main() -> None:
    if find():
        return
    attempts = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        attempts += [["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "chromium"]]
    for command in attempts:
        print("No Chromium found; trying:", *command, flush=True)
        try:
            subprocess.run(command, check=False, timeout=600, capture_output=True)
        except (OSError, subprocess.TimeoutExpired) as error:
            print(f"  {error}")
        if find():
            return
    line = "!" * 88
    print(
        f"{line}\nNO CHROMIUM: the browser tests will be SKIPPED. Install chromium, or set CHROMIUM "
        f"to its path.\n{line}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
