"""A token endpoint on a real socket: it gives token-1, token-2, … and keeps who asked how."""

import json
import threading
from urllib.parse import parse_qs

from tests.receiver import Answer, Posted, Receiver


class TokenServer(Receiver):
    """`answer` may be changed, as a Receiver's; `lifetime` is what it says of its tokens, None for nothing."""

    def __init__(self, lifetime: object = 3600, mark: str = "token") -> None:
        super().__init__(self._grant)
        self.lifetime = lifetime
        self._mark = mark
        self._given = 0
        self._lock = threading.Lock()

    @property
    def forms(self) -> list[dict[str, str]]:
        return [{name: values[0] for name, values in parse_qs(one.body.decode()).items()} for one in self.posted]

    def _grant(self, posted: Posted) -> Answer:
        with self._lock:
            self._given += 1
        document = {"access_token": f"{self._mark}-{self._given}", "token_type": "Bearer"}
        if self.lifetime is not None:
            document["expires_in"] = self.lifetime
        return Answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})
