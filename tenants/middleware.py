"""Sets the scope of a request before anything looks at a row."""

from django.db import transaction

from tenants.actors import SESSION_TENANT, actor_for_token, actor_for_user
from tenants.addresses import client_address
from tenants.scope import tenant_scope

# The portal's pages say whose they are: two tabs of one session may show two tenants.
PAGE_TENANT = "X-Portal-Tenant"
# Here nobody acts, so no session is looked up.
NOBODYS = "/in/"


class TenantScopeMiddleware:
    """Finds the actor (API key or session), then runs the view inside one transaction that sees that tenant only.

    Sets `request.actor` (None for nobody), `request.memberships` and `request.bad_token`.
    An answer of 400 or more keeps nothing of what the request wrote. What somebody is answered is theirs, and may
    hold a secret, so no cache keeps it: after signing out, "back" shows nothing.
    Paths without a tenant (the ingest door, confirmation links) find an unset scope and set their own.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        request.actor, request.memberships, request.bad_token = None, [], False
        address = client_address(request)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if request.path_info.startswith("/api/") and scheme.lower() == "bearer":
            request.actor = actor_for_token(token.strip(), address)
            request.bad_token = request.actor is None
        elif not request.path_info.startswith(NOBODYS) and request.user.is_authenticated:
            request.actor, request.memberships = actor_for_user(
                request.user, request.session.get(SESSION_TENANT), address, request.headers.get(PAGE_TENANT)
            )
        response = self._in_scope(request)
        if request.actor is not None and not response.has_header("Cache-Control"):
            response["Cache-Control"] = "no-store"
        return response

    def _in_scope(self, request):
        if request.actor is None or request.actor.tenant is None:
            return self.get_response(request)
        with tenant_scope(request.actor.tenant.pk):
            response = self.get_response(request)
            if response.status_code >= 400:
                transaction.set_rollback(True)
        return response
