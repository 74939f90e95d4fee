"""The pages of tenancy. They read; what changes something is an endpoint of `api.py`.

Two are forms of their own, because they change the session: switching the tenant, and following an invitation.
"""

from collections import Counter

from allauth.account.adapter import get_adapter
from django.conf import settings
from django.db import IntegrityError
from django.http import Http404
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from tenants import invitations
from tenants.accounts import JoinForm
from tenants.actors import SESSION_TENANT
from tenants.addresses import client_address
from tenants.filters import ApiKeyFilter, AuditFilter, InvitationFilter, MemberFilter, TenantFilter
from tenants.models import ApiKey, AuditEntry, Invitation, Membership, Site, Tenant
from tenants.pages import operators_only, requires, signed_in
from tenants.pagination import page_of
from tenants.permissions import Permission, Role
from tenants.scope import system_scope

UNDECIDED = {Invitation.State.OPEN, Invitation.State.EXPIRED}  # what can still be taken back


def roles_for(actor) -> list[tuple[str, str]]:
    """The roles that this actor may hand out, least first."""
    return [(role.value, role.label) for role in reversed(Role) if actor.may_hand_out(role)]


@requires(Permission.READ)
def members(request):
    """The list, newest first, or only its table where htmx asks."""
    actor = request.actor
    wanted = MemberFilter(request.GET, Membership.objects.filter(tenant=actor.tenant).select_related("user"))
    page = page_of(wanted.qs, request)
    makers = ApiKey.objects.live().filter(tenant=actor.tenant, created_by__in=[row.user_id for row in page.rows])
    key_counts = Counter(makers.values_list("created_by", flat=True))
    for row in page.rows:
        row.key_count = key_counts[row.user_id]
        row.is_me = row.user_id == request.user.pk
        row.dialog, row.field = f"role-{row.pk.hex}", f"f-role-{row.pk.hex}"
        row.within_reach = actor.can(Permission.MANAGE_MEMBERS) and actor.may_hand_out(row.role)
    context = _people(request, page, wanted)
    return _list(request, "tenants/_member_table.html" if request.htmx else "tenants/member_list.html", context)


@requires(Permission.MANAGE_MEMBERS)
def members_invitations(request):
    """The open invitations; those that ended pile up, so they are shown only when asked for."""
    asked = request.GET.copy()
    if asked.get("state") not in Invitation.State.values:
        asked["state"] = Invitation.State.OPEN
    invited = Invitation.objects.filter(tenant=request.actor.tenant).select_related("invited_by")
    wanted = InvitationFilter(asked, invited)
    page = page_of(wanted.qs, request)
    for row in page.rows:
        row.within_reach = row.state in UNDECIDED and request.actor.may_hand_out(row.role)
    context = _people(request, page, wanted) | {"states": Invitation.State.choices, "state": asked["state"]}
    template = "tenants/_invitation_table.html" if request.htmx else "tenants/invitation_list.html"
    return _list(request, template, context)


def _people(request, page, wanted) -> dict:
    """What both lists of people need. A part that htmx fetches draws no tabs."""
    context = {
        "page": page,
        "active": any(request.GET.get(name) for name in wanted.filters),
        "roles": roles_for(request.actor),
        "all_roles": Role.choices,
    }
    if not request.htmx and request.actor.can(Permission.MANAGE_MEMBERS):
        is_open = Invitation.objects.open().filter(tenant=request.actor.tenant).count()
        tabs = [("Members", reverse("members"), None), ("Invitations", reverse("members_invitations"), is_open or None)]
        context["tabs"] = [{"label": n, "url": u, "count": c, "current": u == request.path} for n, u, c in tabs]
    return context


@requires(Permission.MANAGE_KEYS)
def api_keys(request):
    """The list, newest first, or only its table where htmx asks."""
    wanted = ApiKeyFilter(request.GET, ApiKey.objects.filter(tenant=request.actor.tenant).select_related("created_by"))
    page = page_of(wanted.qs, request)
    for key in page.rows:
        key.within_reach = request.actor.may_hand_out(key.role)
    context = {
        "page": page,
        "active": any(request.GET.get(name) for name in wanted.filters),
        "roles": roles_for(request.actor),
        "all_roles": Role.choices,
        "portal_url": settings.PORTAL_URL,
    }
    return _list(request, "tenants/_api_key_table.html" if request.htmx else "tenants/api_key_list.html", context)


@requires(Permission.READ_AUDIT)
def audit(request):
    entries = AuditEntry.objects.filter(tenant=request.actor.tenant)
    wanted = AuditFilter(request.GET, queryset=entries)
    page = {
        "entries": page_of(wanted.qs if wanted.is_valid() else entries.none(), request),
        "active": any(request.GET.get(name) for name in wanted.filters),
        "mistakes": [error for errors in wanted.errors.values() for error in errors],
        "object_types": list(entries.order_by("object_type").values_list("object_type", flat=True).distinct()),
        "members": Membership.objects.filter(tenant=request.actor.tenant).select_related("user"),
    }
    return _list(request, "tenants/_audit_table.html" if request.htmx else "tenants/audit_list.html", page)


@requires(Permission.READ)
def settings_page(request):
    sites = list(Site.objects.filter(tenant=request.actor.tenant))
    for site in sites:
        site.dialog = f"site-{site.pk.hex}"
        site.name_field, site.slug_field = f"{site.dialog}-name", f"{site.dialog}-slug"
    page = {
        "sites": sites,
        "longest_retention": settings.RETENTION_DAYS,
        "retention_help": f"At most {settings.RETENTION_DAYS}, which is what empty means.",
    }
    return render(request, "tenants/settings.html", page)


@operators_only
def operators_tenants(request):
    with system_scope():
        wanted = TenantFilter(request.GET, queryset=Tenant.objects.with_activity())
        page = page_of(wanted.qs if wanted.is_valid() else Tenant.objects.none(), request)
    for tenant in page.rows:
        tenant.dialog, tenant.field = f"rename-{tenant.pk.hex}", f"rename-{tenant.pk.hex}-name"
    active = any(request.GET.get(name) for name in wanted.filters)
    context = {"page": page, "statuses": Tenant.Status.choices, "active": active}
    return _list(request, "tenants/_tenant_table.html" if request.htmx else "tenants/tenant_list.html", context)


def _list(request, template: str, context: dict):
    response = render(request, template, context)
    patch_vary_headers(response, ["HX-Request", "HX-Target"])
    return response


@require_POST
@signed_in
def switch_tenant(request):
    """Choose one of one's own tenants. The dashboard follows: what was open belongs to the other one."""
    wanted = request.POST.get("tenant", "")
    if wanted not in {str(membership.tenant_id) for membership in request.memberships}:
        raise Http404
    request.session[SESSION_TENANT] = wanted
    return redirect("dashboard")


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request, token: str):
    """Join a tenant. Who has an account signs in first; a new person makes one here, in one form."""
    with system_scope():
        found = Invitation.objects.by_token(token).select_related("tenant", "invited_by").first()
    if found is None:
        return render(request, "tenants/invitation_over.html", {"state": "unknown"}, status=404)
    if found.state != "open" or not found.tenant.is_active:
        state = found.state if found.state != "open" else "suspended"
        return render(request, "tenants/invitation_over.html", {"state": state}, status=410)
    page = {"invitation": found}
    if request.user.is_authenticated and not invitations.is_for(found, request.user):
        return render(request, "tenants/invitation_other.html", page)
    if request.user.is_authenticated:
        return _join(request, found) if request.method == "POST" else render(request, "tenants/invitation.html", page)
    if invitations.account_of(found.email) is not None:
        return render(request, "tenants/invitation_sign_in.html", page)
    form = JoinForm(request.POST or None, email=found.email)
    if request.method == "POST" and form.is_valid():
        return _register(request, found, form)
    return render(request, "tenants/invitation.html", page | {"form": form})


def _join(request, found: Invitation):
    with system_scope():
        membership = invitations.join(found, request.user, address=client_address(request))
    return _enter(request, membership)


def _register(request, found: Invitation, form: JoinForm):
    try:
        with system_scope():
            membership = invitations.register(found, address=client_address(request), **form.cleaned_data)
            if membership is None:
                raise _UsedMeanwhile
    except (_UsedMeanwhile, IntegrityError):  # the other of two clicks was first; its page is what is true now
        return redirect(request.path)
    get_adapter(request).login(request, membership.user)
    return _enter(request, membership)


class _UsedMeanwhile(Exception):
    """Undoes the account that was made for a link which somebody else has just used."""


def _enter(request, membership: Membership | None):
    if membership is None:
        return redirect(request.path)
    request.session[SESSION_TENANT] = str(membership.tenant_id)
    return redirect("dashboard")
