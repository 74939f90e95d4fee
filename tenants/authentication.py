"""DRF's view of the actor that `TenantScopeMiddleware` found."""

from django.contrib.auth.models import AnonymousUser
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer pk_…`."""

    def authenticate(self, request):
        if request._request.bad_token:
            raise AuthenticationFailed("This API key is unknown, expired or revoked.")
        actor = request._request.actor
        if actor is None or actor.kind != "api_key":
            return None
        return AnonymousUser(), actor.api_key

    def authenticate_header(self, request) -> str:
        return 'Bearer realm="api"'


class PortalSessionAuthentication(SessionAuthentication):
    """The portal's own pages: session cookie and CSRF token."""

    def authenticate_header(self, request) -> str:
        """So that nobody at all is 401 (sign in), not 403 (you may not)."""
        return 'Session realm="api"'


class ApiKeyScheme(OpenApiAuthenticationExtension):
    target_class = ApiKeyAuthentication
    name = "ApiKey"

    def get_security_definition(self, auto_schema):
        return {"type": "http", "scheme": "bearer", "bearerFormat": "pk_…"}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = PortalSessionAuthentication
    name = "Session"

    def get_security_definition(self, auto_schema):
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
