"""The door of every page: who may open it, and what those see who may not.

@requires(Permission.READ)
def sources(request): …
"""

from collections.abc import Callable
from functools import wraps

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_htmx.http import HttpResponseClientRedirect

from tenants.permissions import Permission

Page = Callable[..., HttpResponse]


def signed_in(page: Page) -> Page:
    """A signed-in person with a password of their own. Others are sent to sign in, or to change it.

    Nothing of it is cached: after signing out, "back" shows no tenant's data.
    """

    @wraps(page)
    def guarded(request: HttpRequest, *args, **kwargs) -> HttpResponse:
        if not request.user.is_authenticated:
            return _go(request, redirect_to_login(_page_url(request)))
        if request.user.must_change_password:
            return _go(request, redirect("account_change_password"))
        return page(request, *args, **kwargs)

    return never_cache(guarded)


def requires(permission: Permission, *, of_webhooks: bool = False) -> Callable[[Page], Page]:
    """A page of the acting tenant that needs `permission`. Pages only read: other methods are 405.

    No tenant is a 404 page that says so; a suspended one, a missing permission, and a page `of_webhooks` where an
    operator has switched them off (S1) are 403 pages.
    """

    def decorate(page: Page) -> Page:
        @wraps(page)
        def guarded(request: HttpRequest, *args, **kwargs) -> HttpResponse:
            actor = request.actor
            if actor.tenant is None and request.user.is_staff:
                return redirect("operators_tenants")
            if actor.tenant is None:
                return render(request, "tenants/no_tenant.html", status=404)
            if not actor.tenant.is_active:
                return render(request, "tenants/suspended.html", status=403)
            if of_webhooks and not actor.tenant.webhooks:
                return render(request, "tenants/webhooks_off.html", status=403)
            if not actor.can(permission):
                raise PermissionDenied
            return page(request, *args, **kwargs)

        return signed_in(require_safe(guarded))

    return decorate


def operators_only(page: Page) -> Page:
    """A page for those who look after the portal itself."""

    @wraps(page)
    def guarded(request: HttpRequest, *args, **kwargs) -> HttpResponse:
        if not request.user.is_staff:
            raise PermissionDenied
        return page(request, *args, **kwargs)

    return signed_in(require_safe(guarded))


def is_slot(request: HttpRequest) -> bool:
    """Does htmx load this list into a part of another page? Then it shows fewer rows, and no pager."""
    return bool(request.htmx) and (request.htmx.current_url_abs_path or "").partition("?")[0] != request.path


def _page_url(request: HttpRequest) -> str:
    """Where to return to: the page that asked, not the fragment of it that htmx fetched."""
    return (request.htmx and request.htmx.current_url_abs_path) or request.get_full_path()


def _go(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """A redirect of the whole page, also where htmx would follow it and swap the answer into a part."""
    return HttpResponseClientRedirect(response.url) if request.htmx else response
