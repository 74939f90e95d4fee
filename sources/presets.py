"""Senders that many people have, as data over the methods (spec B3).

A preset fills a new source in: the method and its settings, where type, id and other things stand
in a post, and how the sender asks whether the URL is right. After that the source is one like any
other; the preset stays with it for its handshake and its words. The facts are those of each
sender's own documentation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

SENDER, PORTAL = "sender", "portal"


@dataclass(frozen=True)
class Preset:
    """One kind of sender.

    ``config`` are settings of the method, ``reading`` those of ``sources.reading``. ``secret_from`` is who
    makes the secret: the ``sender`` (an admin types it) or the ``portal``; ``secret_after`` is true
    where the sender shows its secret only once it knows the URL; ``asks_for`` is what the sender
    calls it. ``steps`` are for the admin.
    ``handshake`` names one of ``sources.handshakes``, empty for none.
    """

    name: str
    title: str
    summary: str
    method: str
    config: Mapping[str, object]
    secret_from: str
    asks_for: str
    steps: tuple[str, ...]
    docs: str
    secret_after: bool = False
    reading: Mapping[str, str] = field(default_factory=dict)
    stream_type: str = "json"
    handshake: str = ""

    def config_with(self, overrides: Mapping[str, object]) -> dict[str, object]:
        """The settings, with an admin's own in place of the preset's."""
        return {**self.config, **overrides}


_STANDARD = {
    "encoding": "base64",
    "prefix": "v1,",
    "signatures": "space",
    "signed": "{id}.{timestamp}.{body}",
    "key_encoding": "base64",
}


def _standard_headers(start: str) -> dict[str, object]:
    return {
        **_STANDARD,
        "header": f"{start}-signature",
        "timestamp": f"header:{start}-timestamp",
        "id": f"header:{start}-id",
    }


_ALL = (
    Preset(
        name="github",
        title="GitHub",
        summary="Repository, organisation and app webhooks.",
        method="hmac",
        config={"header": "X-Hub-Signature-256", "prefix": "sha256="},
        secret_from=PORTAL,
        asks_for="Secret",
        steps=(
            "In the repository or organisation open Settings → Webhooks → Add webhook.",
            "Enter the URL as Payload URL and the secret as Secret; choose application/json.",
        ),
        docs="https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
        reading={"event_type": "{header:X-GitHub-Event}.{action}", "idempotency_key": "header:X-GitHub-Delivery"},
        stream_type="auto",
    ),
    Preset(
        name="gitlab",
        title="GitLab (secret token)",
        summary="Project, group and system hooks that send a secret token.",
        method="shared_secret",
        config={"header": "X-Gitlab-Token"},
        secret_from=PORTAL,
        asks_for="Secret token",
        steps=(
            "In the project or group open Settings → Webhooks → Add new webhook.",
            "Enter the URL, and the secret as Secret token.",
        ),
        docs="https://docs.gitlab.com/user/project/integrations/webhooks/",
        reading={"event_type": "header:X-Gitlab-Event", "idempotency_key": "header:Idempotency-Key"},
    ),
    Preset(
        name="gitlab_signed",
        title="GitLab (signing token)",
        summary="GitLab hooks that sign every post with a signing token.",
        method="hmac",
        config=_standard_headers("webhook"),
        secret_from=PORTAL,
        asks_for="Signing token",
        steps=(
            "In the project or group open Settings → Webhooks → Add new webhook.",
            "Enter the URL, and the secret as Signing token.",
        ),
        docs="https://docs.gitlab.com/user/project/integrations/webhooks/",
        reading={"event_type": "header:X-Gitlab-Event", "idempotency_key": "header:webhook-id"},
    ),
    Preset(
        name="bitbucket",
        title="Bitbucket",
        summary="Bitbucket Cloud and Data Center repository webhooks.",
        method="hmac",
        config={"header": "X-Hub-Signature", "prefix": "sha256="},
        secret_from=PORTAL,
        asks_for="Secret",
        steps=(
            "In the repository open Repository settings → Webhooks → Add webhook.",
            "Enter the URL, and the secret as Secret.",
        ),
        docs="https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/",
        reading={"event_type": "header:X-Event-Key", "idempotency_key": "header:X-Request-UUID"},
    ),
    Preset(
        name="stripe",
        title="Stripe",
        summary="Payments, subscriptions, payouts.",
        method="hmac",
        config={
            "header": "Stripe-Signature",
            "prefix": "v1=",
            "signatures": "comma",
            "timestamp": "element:t",
            "signed": "{timestamp}.{body}",
        },
        secret_from=SENDER,
        secret_after=True,
        asks_for="Signing secret (whsec_…)",
        steps=(
            "In the Dashboard open Developers → Webhooks → Add destination, and enter the URL.",
            "Copy the signing secret of the new destination, and enter it at the source: Rotate secret.",
        ),
        docs="https://docs.stripe.com/webhooks/signature",
        reading={"event_type": "type", "idempotency_key": "id", "occurred_at": "created"},
    ),
    Preset(
        name="shopify",
        title="Shopify",
        summary="Orders, products and customers of a shop or an app.",
        method="hmac",
        config={"header": "X-Shopify-Hmac-SHA256", "encoding": "base64"},
        secret_from=SENDER,
        asks_for="Client secret of the app, or the signing key under Notifications",
        steps=(
            "Copy the client secret of the app; for a shop Settings → Notifications → Webhooks shows the key.",
            "Create the webhook with the format JSON and the URL.",
        ),
        docs="https://shopify.dev/docs/apps/build/webhooks/verify-deliveries",
        reading={
            "event_type": "header:X-Shopify-Topic",
            "idempotency_key": "header:X-Shopify-Webhook-Id",
            "occurred_at": "header:X-Shopify-Triggered-At",
        },
    ),
    Preset(
        name="slack",
        title="Slack",
        summary="Events API, interactive messages and slash commands.",
        method="hmac",
        config={
            "header": "X-Slack-Signature",
            "prefix": "v0=",
            "timestamp": "header:X-Slack-Request-Timestamp",
            "signed": "v0:{timestamp}:{body}",
        },
        secret_from=SENDER,
        asks_for="Signing secret",
        steps=(
            "On api.slack.com/apps open the app: Basic Information → App Credentials has the signing secret.",
            "Under Event Subscriptions enter the URL as Request URL. Slack asks at once whether it answers; it does.",
        ),
        docs="https://docs.slack.dev/authentication/verifying-requests-from-slack/",
        reading={"event_type": "event.type", "idempotency_key": "event_id", "occurred_at": "event_time"},
        stream_type="auto",
        handshake="slack",
    ),
    Preset(
        name="zoom",
        title="Zoom",
        summary="Meetings, recordings and users.",
        method="hmac",
        config={
            "header": "x-zm-signature",
            "prefix": "v0=",
            "timestamp": "header:x-zm-request-timestamp",
            "signed": "v0:{timestamp}:{body}",
        },
        secret_from=SENDER,
        asks_for="Secret token",
        steps=(
            "In the App Marketplace open the app: Features → Access has the secret token.",
            "Add an event subscription with the URL and choose Validate. Zoom repeats that every 72 hours.",
        ),
        docs="https://developers.zoom.us/docs/api/webhooks/",
        reading={"event_type": "event", "occurred_at": "event_ts"},
        handshake="zoom",
    ),
    Preset(
        name="standard_webhooks",
        title="Standard Webhooks",
        summary="Whoever signs with webhook-id, webhook-timestamp and webhook-signature (v1).",
        method="hmac",
        config=_standard_headers("webhook"),
        secret_from=SENDER,
        secret_after=True,
        asks_for="Signing secret (whsec_…)",
        steps=(
            "Add an endpoint with the URL at the sender.",
            "Copy its signing secret, and enter it at the source: Rotate secret.",
        ),
        docs="https://www.standardwebhooks.com/",
        reading={"event_type": "type", "idempotency_key": "header:webhook-id", "occurred_at": "timestamp"},
    ),
    Preset(
        name="standard_webhooks_ed25519",
        title="Standard Webhooks (Ed25519)",
        summary="The same, signed with a private key (v1a).",
        method="ed25519",
        config={},
        secret_from=SENDER,
        secret_after=True,
        asks_for="Public key (whpk_…)",
        steps=(
            "Add an endpoint with the URL at the sender.",
            "Copy the public key, and enter it at the source: Rotate secret.",
        ),
        docs="https://www.standardwebhooks.com/",
        reading={"event_type": "type", "idempotency_key": "header:webhook-id", "occurred_at": "timestamp"},
    ),
    Preset(
        name="svix",
        title="Svix",
        summary="Senders that use Svix: Clerk, Resend and many more.",
        method="hmac",
        config=_standard_headers("svix"),
        secret_from=SENDER,
        secret_after=True,
        asks_for="Signing secret (whsec_…)",
        steps=(
            "In the sender's webhook settings add an endpoint with the URL.",
            "Copy its signing secret, and enter it at the source: Rotate secret.",
        ),
        docs="https://docs.svix.com/receiving/verifying-payloads/how-manual",
        reading={"event_type": "type", "idempotency_key": "header:svix-id"},
    ),
    Preset(
        name="twilio",
        title="Twilio",
        summary="Messages, calls and status callbacks.",
        method="hmac",
        config={
            "header": "X-Twilio-Signature",
            "algorithm": "sha1",
            "encoding": "base64",
            "signed": "{url}{form}",
        },
        secret_from=SENDER,
        asks_for="Auth token",
        steps=(
            "In the Console copy the auth token of the account.",
            "Enter the URL, exactly as it stands here, as the webhook or status callback with HTTP POST.",
        ),
        docs="https://www.twilio.com/docs/usage/webhooks/webhooks-security",
        reading={"idempotency_key": "header:I-Twilio-Idempotency-Token"},
        stream_type="auto",
    ),
    Preset(
        name="linear",
        title="Linear",
        summary="Issues, comments and projects.",
        method="hmac",
        config={"header": "Linear-Signature", "timestamp": "path:webhookTimestamp"},
        secret_from=SENDER,
        secret_after=True,
        asks_for="Signing secret (lin_wh_…)",
        steps=(
            "Open Settings → API → Webhooks → New webhook, and enter the URL.",
            "Copy the signing secret of the webhook, and enter it at the source: Rotate secret.",
        ),
        docs="https://linear.app/developers/webhooks",
        reading={
            "event_type": "{header:Linear-Event}.{action}",
            "idempotency_key": "header:Linear-Delivery",
            "occurred_at": "createdAt",
        },
    ),
    Preset(
        name="pagerduty",
        title="PagerDuty",
        summary="Incidents and services (webhooks v3).",
        method="hmac",
        config={"header": "X-PagerDuty-Signature", "prefix": "v1=", "signatures": "comma"},
        secret_from=SENDER,
        secret_after=True,
        asks_for="Webhook secret",
        steps=(
            "Open Integrations → Generic Webhooks (v3) → New Webhook, and enter the URL.",
            "PagerDuty shows the secret once, when the subscription is made: enter it at the source, Rotate secret.",
        ),
        docs="https://developer.pagerduty.com/docs/verifying-webhook-signatures",
        reading={
            "event_type": "event.event_type",
            "idempotency_key": "event.id",
            "occurred_at": "event.occurred_at",
            "title": "event.data.title",
        },
    ),
    Preset(
        name="okta",
        title="Okta",
        summary="Event hooks of an organisation.",
        method="shared_secret",
        config={"header": "Authorization"},
        secret_from=PORTAL,
        asks_for="Authentication secret",
        steps=(
            "Open Workflow → Event Hooks → Create Event Hook, and enter the URL.",
            "Enter Authorization as authentication field and the secret as authentication secret, then choose Verify.",
        ),
        docs="https://developer.okta.com/docs/concepts/event-hooks/",
        reading={
            "envelope": "data.events",
            "event_type": "eventType",
            "severity": "severity",
            "idempotency_key": "uuid",  # the event's own; a post of several has none (its eventId is no event's)
            "occurred_at": "published",
            "title": "displayMessage",
        },
        stream_type="json_array",
        handshake="okta",
    ),
    Preset(
        name="meta",
        title="Meta",
        summary="WhatsApp, Messenger, Instagram and pages.",
        method="hmac",
        config={"header": "X-Hub-Signature-256", "prefix": "sha256="},
        secret_from=SENDER,
        asks_for="App secret",
        steps=(
            "In the App Dashboard open App settings → Basic: it has the app secret.",
            "Under Webhooks enter the URL as callback URL and, as verify token, the part of the URL after /in/.",
        ),
        docs="https://developers.facebook.com/docs/graph-api/webhooks/getting-started",
        reading={"event_type": "object"},
        handshake="meta",
    ),
    Preset(
        name="intercom",
        title="Intercom",
        summary="Conversations, contacts and tickets.",
        method="hmac",
        config={"header": "X-Hub-Signature", "algorithm": "sha1", "prefix": "sha1="},
        secret_from=SENDER,
        asks_for="Client secret of the app",
        steps=(
            "In the Developer Hub open the app: Basic information has the client secret.",
            "Under Webhooks enter the URL and choose topics.",
        ),
        docs="https://developers.intercom.com/docs/webhooks/setting-up-webhooks",
        reading={"event_type": "topic", "idempotency_key": "id", "occurred_at": "created_at"},
    ),
    Preset(
        name="sentry",
        title="Sentry",
        summary="Issues, errors and alerts of an integration.",
        method="hmac",
        config={"header": "Sentry-Hook-Signature"},
        secret_from=SENDER,
        secret_after=True,
        asks_for="Client secret of the integration",
        steps=(
            "Open Settings → Custom Integrations → Create New Integration, and enter the URL as webhook URL.",
            "Copy the client secret of the integration, and enter it at the source: Rotate secret.",
        ),
        docs="https://docs.sentry.io/organization/integrations/integration-platform/webhooks/",
        reading={"event_type": "{header:Sentry-Hook-Resource}.{action}", "idempotency_key": "header:Request-ID"},
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _ALL})
