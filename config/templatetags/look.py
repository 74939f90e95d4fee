"""The tags and filters that pages are made with; `docs/look.md` shows each in use.

Block tags render the template of the same name in `components/` with their inside as `body` and
see nothing else of the page, so a page's own `title` or `value` never leaks into a component.
"""

import json
from datetime import UTC, datetime

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from config import charts
from config.icons import ICONS
from config.payloads import SHOWN_BYTES, Shown, hexdump, present, reindent

register = template.Library()

STATUS_KINDS = frozenset({"ok", "warn", "bad", "idle", "busy"})
_AGES = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def describe_age(at: datetime, now: datetime) -> str:
    """“just now”, “12 s ago”, “in 3 h”; the date once it is 30 days away. `portal.js` says the
    same words.

    What is over counts whole units. What is to come is rounded, so that what lasts three days ends
    “in 3 d” when it has just been made.
    """
    seconds = int((now - at).total_seconds())
    distance = abs(seconds)
    if distance < 5:
        return "just now"
    if distance >= 30 * 86_400:
        return f"{at.day} {at:%b %Y}"
    if seconds > 0:
        size, unit = next((size, unit) for size, unit in _AGES if distance >= size)
        return f"{distance // size} {unit} ago"
    # A unit also counts where the next smaller one would round up to a whole of it: 59 min 40 s are 1 h.
    smaller = [size for size, _ in _AGES[1:]] + [0]
    size, unit = next(age for age, less in zip(_AGES, smaller, strict=True) if distance + less // 2 >= age[0])
    return f"in {(distance + size // 2) // size} {unit}"


@register.filter
def relative_time(at: datetime | None, empty: str = "never") -> SafeString:
    """A `<time>` in relative words, the exact UTC time on hover; naive times are taken as UTC."""
    if not at:
        return format_html('<span class="muted">{}</span>', empty)
    at = at.replace(tzinfo=UTC) if timezone.is_naive(at) else at.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{}" data-relative>{}</time>',
        at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC",
        describe_age(at, timezone.now()),
    )


@register.filter
def bytesize(size: int | None) -> str:
    """Bytes in decimal units, as networks count them: 999 B, 1.2 kB, 3.4 MB."""
    if size is None:
        return "–"
    if size < 1000:
        return f"{size} B"
    amount = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 999.95 or unit == "TB":
            return f"{amount:.1f} {unit}" if amount < 99.95 else f"{amount:.0f} {unit}"
    raise AssertionError("unreachable")


@register.filter
def milliseconds(duration: float | None) -> str:
    """A duration given in milliseconds: 84 ms, 1.2 s, 3.0 min."""
    if duration is None:
        return "–"
    if duration < 1000:
        return f"{duration:.0f} ms"
    return f"{duration / 1000:.1f} s" if duration < 60_000 else f"{duration / 60_000:.1f} min"


@register.filter
def short_id(identifier: object) -> SafeString:
    """The last eight characters, whole on hover: UUIDv7s of one minute share their beginning, not
    their end.
    """
    whole = str(identifier or "")
    if len(whole) <= 12:
        return format_html("<code>{}</code>", whole)
    return format_html('<code class="nowrap" title="{}">…{}</code>', whole, whole[-8:])


@register.filter
def prettyjson(value: object) -> str:
    """Indented JSON as plain text (the template escapes it), at most 64 KB of it."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError, TypeError):
        return str(value)[:SHOWN_BYTES]
    pretty, cut = reindent(text.encode("utf-8", "backslashreplace").decode())
    return f"{pretty}\n… (truncated)" if cut else pretty


@register.filter
def payload(body: object) -> Shown:
    """How to show a body: see `config.payloads.present`."""
    return present(body)


@register.filter(name="hexdump")
def dump(body: bytes) -> str:
    """The first 64 KB of anything, sixteen bytes a line."""
    return hexdump(bytes(body[:SHOWN_BYTES]))


@register.filter
def number(value: float | None) -> str:
    """12,345; an en dash for None."""
    if value is None or value == "":
        return "–"
    return f"{value:,}"


@register.simple_tag(takes_context=True)
def query_replace(context: template.Context, **changes: object) -> str:
    """The present query string with `changes` made; None or "" removes a key. A changed filter
    drops the cursor.
    """
    query = context["request"].GET.copy()
    if changes.keys() - {"cursor"}:
        query.pop("cursor", None)
    for key, value in changes.items():
        if value is None or value == "":
            query.pop(key, None)
        else:
            query[key] = str(value)
    return f"?{query.urlencode()}"


@register.simple_tag
def icon(name: str) -> SafeString:
    """One of the portal's own icons; an unknown name fails loudly in the page's test, not as a
    blank.
    """
    return format_html(
        '<svg class="icon" viewBox="0 0 16 16" width="16" height="16" fill="none" '
        'stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" '
        'aria-hidden="true" focusable="false">'
        "{}</svg>",
        mark_safe(ICONS[name]),  # noqa: S308 - our own constant
    )


@register.simple_tag
def status_dot(kind: str, word: str, title: str = "") -> SafeString:
    """A dot and a word; never the colour alone."""
    return format_html(
        '<span class="status status-{}"{}>{}</span>',
        kind if kind in STATUS_KINDS else "idle",
        format_html(' title="{}"', title) if title else "",
        word,
    )


@register.simple_tag
def sparkline(values: list, label: str = "Trend", kind: str = "accent") -> SafeString:
    return mark_safe(charts.sparkline(values or [], label=label, kind=kind))  # noqa: S308 - escaped there


@register.simple_tag
def bar_chart(series: list, labels: list | None = None, title: str = "Chart", height: int = 160) -> SafeString:
    drawn = charts.bar_chart(series or [], labels=labels or [], title=title, height=height)
    return mark_safe(drawn)  # noqa: S308 - escaped there


@register.simple_tag
def line_chart(
    series: list, labels: list | None = None, title: str = "Chart", height: int = 160, unit: str = ""
) -> SafeString:
    drawn = charts.line_chart(series or [], labels=labels or [], title=title, height=height, unit=unit)
    return mark_safe(drawn)  # noqa: S308 - escaped there


def _component(context: template.Context, component: str, /, **values: object) -> SafeString:
    """Renders `components/<component>.html` with `values` (and the request, for its own tags) and
    nothing else.
    """
    values.setdefault("request", context.get("request"))
    return context.template.engine.get_template(f"components/{component}.html").render(context.new(values))


@register.simple_block_tag(takes_context=True)
def field(context: template.Context, content: str, name: str, label: str, **values: object) -> SafeString:
    """A label, help and error slot around a control of the page's own."""
    return _component(context, "field", control=content, name=name, label=label, **values)


@register.simple_block_tag(takes_context=True)
def live(context: template.Context, content: str, id: str, **values: object) -> SafeString:
    """A region that the script can fetch again, below its live toggle."""
    return _component(context, "live", body=content, id=id, **values)


@register.simple_block_tag(takes_context=True)
def filters(context: template.Context, content: str, target: str, search: str = "", **values: object) -> SafeString:
    """A GET form whose choices stay in the URL and refresh `target` in place."""
    request = context.get("request")
    value = request.GET.get(search, "") if request and search else ""
    active = bool(request and any(v for k, v in request.GET.items() if k != "cursor"))
    return _component(
        context,
        "filters",
        body=content,
        target=target,
        search=search,
        value=value,
        active=active,
        **values,
    )


@register.simple_block_tag(takes_context=True)
def panel(context: template.Context, content: str, title: str, close: str, **values: object) -> SafeString:
    """What stands beside a list: a detail that has its own URL."""
    return _component(context, "panel", body=content, title=title, close=close, **values)


@register.simple_block_tag(takes_context=True)
def dialog(context: template.Context, content: str, id: str, title: str, **values: object) -> SafeString:
    """A native modal dialog, opened by `data-dialog="#id"`."""
    return _component(context, "dialog", body=content, id=id, title=title, **values)


@register.simple_block_tag(takes_context=True)
def reveal(context: template.Context, content: str, id: str, title: str, **values: object) -> SafeString:
    """The reveal-once panel; `content` stands under the secret."""
    return _component(context, "secret", body=content, id=id, title=title, **values)


@register.simple_tag(takes_context=True)
def nav_link(context: template.Context, name: str, label: str, icon_name: str) -> SafeString:
    """A navigation entry; current when the page's url name is `name`, or begins with it or its
    singular.
    """
    match = getattr(context.get("request"), "resolver_match", None)
    here = context.get("nav") or (match.url_name if match else "") or ""
    return format_html(
        '<li><a href="{}"{}>{}<span>{}</span></a></li>',
        reverse(name),
        mark_safe(' aria-current="page"') if _is_under(here, name) else "",
        icon(icon_name),
        label,
    )


def _is_under(here: str, name: str) -> bool:
    """`source_detail`, `source-new` and `sources_export` all stand under `sources`; `source` words
    end at - or _.
    """
    stems = {name, name.removesuffix("s"), name.removesuffix("ies") + "y"}
    return any(here == stem or here.startswith((f"{stem}_", f"{stem}-")) for stem in stems)
