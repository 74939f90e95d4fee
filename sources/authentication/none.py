"""No authentication at all (spec P9): whoever knows the URL is believed."""

from collections.abc import Mapping, Sequence

from sources.authentication.contract import InboundRequest, LiveSecret, Method, Verdict


class NoAuthentication(Method):
    name = "none"
    title = "None"
    summary = "Accept every request. Only for senders that can do nothing else."
    warning = "Anyone who learns the URL can post events that look real. Choose another method if the sender allows it."
    has_secret = False

    def _prove(
        self,
        config: Mapping[str, object],
        secrets: Sequence[LiveSecret],
        request: InboundRequest,
    ) -> Verdict:
        return Verdict(True)
