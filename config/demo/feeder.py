"""The demo's senders: sets Northwind up, sends a burst, then goes on at the pace of a small company."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.demo import company, events
from config.demo.memory import Memory
from config.demo.portal import Api, Refused, request
from config.demo.senders import Sender
from config.demo.setup import Setup, wait_for

READY_WITHIN = 60  # seconds
BURST = 70  # events
PAUSE = (1.0, 3.0)  # seconds between events
SITES = ("", "", "", *(name.lower() for name in company.SITES))

_any = random.Random()  # noqa: S311 (nothing secret is drawn from it)


@dataclass(frozen=True)
class Place:
    """Where things are. `base` is the portal's address as it can be reached from here, `shown` as people know it."""

    base: str
    shown: str
    folder: Path
    manage: Path
    good_receiver: str
    difficult_receivers: str

    @property
    def secret_file(self) -> Path:
        return self.folder / "receiver.secrets"


def run(place: Place) -> None:
    """Until it is ended. Raises TimeoutError or Refused where the portal does not do what it should."""
    wait_for(lambda: is_ready(place.base), "the portal is ready", READY_WITHIN)
    memory = Memory(place.folder / "demo.json")
    create_tenant(place, memory)
    api = Api(place.base, memory["owner"]["api_key"])
    receivers = {name: f"{place.difficult_receivers}/{name}" for name in ("flaky", "slow", "busy", "gone", "silent")}
    receivers["good"] = f"{place.good_receiver}/hook"
    senders = Setup(api, memory, receivers, place.secret_file).run()
    for _ in range(BURST):
        send_one(api, senders)
    print(welcome(place, memory), flush=True)
    while True:
        time.sleep(_any.uniform(*PAUSE))
        try:
            send_one(api, senders)
        except (OSError, Refused) as error:  # the portal is being restarted: senders try again later
            print(
                f"demo: the portal does not answer as it should ({error}); trying again.", file=sys.stderr, flush=True
            )
            time.sleep(3)


def is_ready(base: str) -> bool:
    try:
        return request(f"{base}/readyz")[0] == 200
    except OSError:
        return False


def create_tenant(place: Place, memory: Memory) -> None:
    """As a script would: `manage.py create_tenant … --json` beside the running portal."""
    if memory["owner"]:
        return
    made = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, str(place.manage), "create_tenant", company.NAME, "--owner", company.OWNER, "--json"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    memory["owner"].update(json.loads(made.stdout))
    if memory["owner"]["password"] is None:
        raise SystemExit(
            f"demo: {memory.path} is missing, and with it the password of {company.OWNER}: restore it, or remove "
            f"{place.folder} to start anew."
        )
    memory.save()


def send_one(api: Api, senders: Mapping[str, Sender]) -> None:
    """One event of some kind; about one in seven is refused."""
    chance = _any.random()
    if chance < 0.14:
        _any.choice(MISHAPS)(senders)
        return
    if chance < 0.18:
        api.post("events/", {"type": "backup.completed", "payload": events.backup()})
        return
    weights = [weight for _, _, weight in events.KINDS]
    source, make, _ = _any.choices(events.KINDS, weights)[0]
    body, content_type = events.as_body(make(), source.stream_type)
    senders[source.name].send(body, content_type=content_type, site=_any.choice(SITES))


def _sign_in() -> bytes:
    return json.dumps(events.sign_in()).encode()


MISHAPS = (
    lambda senders: senders[company.SIGN_INS.name].send_with_wrong_secret(_sign_in()),
    lambda senders: senders[company.ENDPOINTS.name].send_without_proof(json.dumps(events.alert()).encode()),
    lambda senders: senders[company.GITHUB.name].send_with_changed_body(
        json.dumps(events.push(), separators=(",", ":")).encode()
    ),
    lambda senders: senders[company.PAYMENTS.name].send_with_slow_clock(json.dumps(events.payment()).encode()),
    lambda senders: senders[company.SCANNER.name].send_with_wrong_secret(json.dumps(events.flaws()).encode()),
    lambda senders: senders[company.SERVICE_DESK.name].send_broken_json(json.dumps(events.incident()).encode()),
    lambda senders: senders[company.SIGN_INS.name].send_to_unknown_site(_sign_in()),
    lambda senders: senders[company.OLD_CI.name].send(json.dumps(events.build()).encode()),
)


def welcome(place: Place, memory: Memory) -> str:
    owner = memory["owner"]
    roles = ", ".join(email for email, _, _ in company.COLLEAGUES)
    return f"""
  {company.NAME} is at work. Open

    {place.shown}/

    email      {owner["owner"]}
    password   {owner["password"]}

  The same password signs in {roles}.
  API key    {owner["api_key"]}

  Events come in every few seconds, some refused; what the example receiver gets is in
  {place.folder / "receiver.log"}. Ctrl-C stops everything; the data stays in {place.folder}.
"""
