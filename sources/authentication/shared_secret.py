"""A secret value in a header of the source's choice (spec P5, D1)."""

from collections.abc import Mapping, Sequence

from sources.authentication.contract import (
    InboundRequest,
    LiveSecret,
    Method,
    Refusal,
    Setting,
    Verdict,
    clean_header_name,
    clean_header_text,
    first_match,
)
from sources.authentication.diagnosis import comparison_hint


class SharedSecret(Method):
    name = "shared_secret"
    title = "Shared secret"
    summary = "The sender puts a secret value in a header. Works with almost every tool."
    prefix = "pcl_key_"
    settings = (
        Setting(
            "header",
            "Header name",
            "The header that carries the secret.",
            clean_header_name,
            default="X-Webhook-Key",
        ),
    )

    def _clean_typed(self, secret: str) -> str:
        return clean_header_text(secret)

    def _prove(
        self,
        config: Mapping[str, object],
        secrets: Sequence[LiveSecret],
        request: InboundRequest,
    ) -> Verdict:
        header = str(self.setting(config, "header"))
        presented = request.only(header)
        match = first_match(secrets, lambda secret: secret.matches(presented))
        if match is None:
            raise Refusal(
                "secret_mismatch",
                f"The value in {header} ({len(presented)} bytes) is not a valid secret.",
            )
        return Verdict(True, secret_id=match.id)

    def _evidence(
        self,
        config: Mapping[str, object],
        live: Sequence[LiveSecret],
        ended: Sequence[LiveSecret],
        request: InboundRequest,
        refusal: Refusal,
    ) -> dict[str, str | int]:
        header = str(self.setting(config, "header"))
        presented = request.header(header) or b""
        return {"header": header, **comparison_hint(presented, live, ended)}
