"""The endpoints of sources.

Each parses, calls one verb of the model, notes it in the audit log and presents.
"""

from django.db.models import Prefetch
from django.http import Http404
from django.utils.functional import cached_property
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiExample, extend_schema, inline_serializer
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.response import Response
from rest_framework.settings import api_settings

from sources.authentication import METHODS, ConfigError
from sources.models import JWT, Source, SourceCredential
from sources.presets import PRESETS
from sources.serializers import (
    HeldSecretSerializer,
    RevealedSourceSerializer,
    RotatedSourceSerializer,
    SourceCreateSerializer,
    SourceOverlapEndedSerializer,
    SourcePresetSerializer,
    SourceRotationSerializer,
    SourceSerializer,
    SourceUpdateSerializer,
    in_problem_terms,
    snippets_for,
)
from tenants.models import Site
from tenants.permissions import Permission
from tenants.problems import Conflict
from tenants.viewsets import TenantViewSet, changes
from vault.keyring import KeyringError

NOT_KEPT = {"Cache-Control": "no-store"}


class SourceFilter(filters.FilterSet):
    """The same for the API and the page."""

    status = filters.ChoiceFilter(choices=Source.Status.choices)
    method = filters.ChoiceFilter(
        field_name="auth_method",
        choices=[(method.name, method.title) for method in METHODS.values()],
    )
    search = filters.CharFilter(field_name="name", lookup_expr="icontains", label="Part of the name")

    class Meta:
        model = Source
        fields = ["status", "method", "search"]


def _beyond_the_usual(source: Source) -> dict:
    """What the audit log says of a new source beside name and method: preset, who may see it, and its secret."""
    said = {
        "preset": [None, source.preset] if source.preset else None,
        "assigned_to": [None, str(source.assigned_to)] if source.assigned_to else None,
        "visibility": [None, source.visibility] if source.visibility != Source.Visibility.EVERYONE else None,
        "rules": [None, source.rules] if source.rules else None,
        "reveal": [None, source.reveal] if source.reveal != Source.Reveal.ONCE else None,
    }
    return {field: change for field, change in said.items() if change}


class SourceViewSet(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    mixins.DestroyModelMixin,
    TenantViewSet,
):
    """Who may send, and how they prove it."""

    model = Source
    serializer_class = SourceSerializer
    filterset_class = SourceFilter
    lookup_value_converter = "uuid"
    http_method_names = ["get", "post", "patch", "delete", "head", "options"]
    permissions = {
        "create": Permission.CONFIGURE,
        "partial_update": Permission.CONFIGURE,
        "destroy": Permission.CONFIGURE,
        "rotate_secret": Permission.CONFIGURE,
        "end_overlap": Permission.CONFIGURE,
        "regenerate_url": Permission.CONFIGURE,
        "pause": Permission.CONFIGURE,
        "resume": Permission.CONFIGURE,
        "reveal_secret": Permission.READ,  # and more: `Source.obstacle_to_reveal`
    }

    def get_queryset(self):
        # A live secret's value is of no use to a reader, so it is not even loaded.
        live = SourceCredential.objects.live().defer("value", "digest")
        present = super().get_queryset().present()
        if not getattr(self, "swagger_fake_view", False):  # nobody acts while the API is described
            present = present.visible_to(self.actor)
        return present.prefetch_related(Prefetch("credentials", queryset=live, to_attr="live_credentials"))

    def get_serializer_class(self):
        return SourceUpdateSerializer if self.action == "partial_update" else super().get_serializer_class()

    @cached_property
    def site_slugs(self) -> list[str]:
        return list(Site.objects.filter(tenant=self.tenant).values_list("slug", flat=True))

    @extend_schema(
        request=SourceCreateSerializer,
        responses={201: RevealedSourceSerializer},
        examples=[
            OpenApiExample(
                "HMAC over the body",
                {"name": "Identity provider", "auth": {"method": "hmac"}, "event_type": "login.event"},
                request_only=True,
            ),
            OpenApiExample(
                "A sender that the portal knows",
                {"name": "Code", "preset": "github"},
                request_only=True,
            ),
            OpenApiExample(
                "A JSON array of events, with a bearer token",
                {"name": "Scanner", "auth": {"method": "bearer"}, "stream_type": "json_array"},
                request_only=True,
            ),
        ],
    )
    def create(self, request):
        """Create a source. The answer is the only one that holds its secret."""
        serializer = SourceCreateSerializer(data=request.data, context=self.get_serializer_context())
        serializer.is_valid(raise_exception=True)
        fields = serializer.validated_data
        try:
            source, secret = Source.objects.create_with_secret(
                self.tenant,
                self.actor.user,
                method=fields.pop("auth_method"),
                config=fields.pop("auth_config"),
                **fields,
            )
        except ConfigError as error:
            raise serializers.ValidationError(in_problem_terms(error)) from None
        self.audit(
            "source.created",
            source,
            {"name": [None, source.name], "method": [None, source.auth_method]} | _beyond_the_usual(source),
        )
        source = self.get_queryset().get(pk=source.pk)
        key_id = self._current_key_id(source)
        source.secret, source.snippets = secret, snippets_for(source, secret, key_id)
        source.key_id = key_id if source.auth_method == "jwt" else None
        revealed = RevealedSourceSerializer(source, context=self.get_serializer_context())
        return Response(revealed.data, status=status.HTTP_201_CREATED, headers=NOT_KEPT)

    @extend_schema(request=SourceUpdateSerializer, responses=SourceSerializer)
    def partial_update(self, request, *args, **kwargs):
        """Change the name, the types or settings of the method.

        Settings count from the next request on.
        """
        return super().partial_update(request, *args, **kwargs)

    def perform_update(self, serializer):
        change = changes(serializer.instance, serializer.validated_data)
        serializer.save()
        if change:
            self.audit("source.updated", serializer.instance, change)

    def perform_destroy(self, source):
        """Its URL stops working and its secrets are destroyed; what came in through it is kept."""
        if source.delete():
            self.audit("source.deleted", source)

    @extend_schema(
        request=SourceRotationSerializer,
        responses=RotatedSourceSerializer,
        examples=[OpenApiExample("With a day to change over", {"overlap_seconds": 86400}, request_only=True)],
    )
    @action(detail=True, methods=["post"], url_path="rotate-secret")
    def rotate_secret(self, request, pk=None):
        """Make a new secret. The previous one is accepted as well until the overlap ends."""
        source = self.get_object()
        if not source.method.has_secret:
            raise Conflict("This source has no secret to rotate: its method is “none”.")
        serializer = SourceRotationSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        overlap, typed = (
            serializer.validated_data["overlap_seconds"],
            serializer.validated_data.get("secret"),
        )
        previous = self._current_key_id(source)
        try:
            secret, valid_until = source.rotate_secret(overlap, typed)
        except ConfigError as error:
            raise serializers.ValidationError(in_problem_terms(error)) from None
        except Source.DoesNotExist:
            raise Http404 from None
        key_id = self._current_key_id(self.get_object())
        self.audit(
            "source.secret_rotated",
            source,
            {"key": [previous, key_id], "overlap_seconds": int(overlap.total_seconds())},
        )
        rotated = {
            "secret": secret,
            "key_id": key_id if source.auth_method == "jwt" else None,
            "previous_valid_until": valid_until,
            "snippets": snippets_for(source, secret, key_id),
        }
        return Response(RotatedSourceSerializer(rotated).data, headers=NOT_KEPT)

    @extend_schema(request=None, responses=HeldSecretSerializer)
    @action(detail=True, methods=["post"], url_path="reveal-secret")
    def reveal_secret(self, request, pk=None):
        """Look at the current secret again, where the source was made so (`reveal`: `holders`).

        For its creator and its assigned user alone, signed in; each look is in the audit log.
        """
        source = self.get_object()
        if obstacle := source.obstacle_to_reveal(self.actor):
            raise PermissionDenied(obstacle)
        try:
            found = source.current_secret()
        except KeyringError:
            raise Conflict("The secret cannot be opened with the portal's keyring.") from None
        if found is None:
            raise Conflict("The secret was not kept. Rotate it to have one that was.")
        secret, key_id = found
        self.audit("source.secret_revealed", source, {"key": key_id})
        told = {"secret": secret, "key_id": key_id if source.auth_method == JWT else None}
        return Response(HeldSecretSerializer(told).data, headers=NOT_KEPT)

    @extend_schema(request=None, responses=SourceOverlapEndedSerializer)
    @action(detail=True, methods=["post"], url_path="end-overlap")
    def end_overlap(self, request, pk=None):
        """Accept only the current secret from now on."""
        source = self.get_object()
        ended = source.end_overlap()
        if ended:
            self.audit("source.overlap_ended", source, {"ended": ended})
        return Response({"ended": ended})

    @extend_schema(request=None, responses=SourceSerializer)
    @action(detail=True, methods=["post"], url_path="regenerate-url")
    def regenerate_url(self, request, pk=None):
        """Give the source another URL. The old one stops working at once."""
        source = self.get_object()
        try:
            source.regenerate_url()
        except Source.DoesNotExist:
            raise Http404 from None
        self.audit("source.url_regenerated", source)
        return self._present(source)

    @extend_schema(request=None, responses=SourceSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request, pk=None):
        """Refuse what is sent to the source until it is resumed.

        Pausing a paused source changes nothing.
        """
        source = self.get_object()
        if source.pause():
            self.audit("source.paused", source)
        return self._present(source)

    @extend_schema(request=None, responses=SourceSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request, pk=None):
        """Accept what is sent to the source again."""
        source = self.get_object()
        if source.resume():
            self.audit("source.resumed", source)
        return self._present(source)

    def _present(self, source):
        return Response(self.get_serializer(source).data)

    @staticmethod
    def _current_key_id(source) -> str | None:
        return next((one.key_id for one in source.live_credentials if one.is_current), None)


class SourcePresetViewSet(TenantViewSet):
    """Senders that the portal knows. The same for every tenant, and few: there are no pages."""

    model = Source
    serializer_class = SourcePresetSerializer
    pagination_class = None

    @extend_schema(responses=inline_serializer("SourcePresets", {"results": SourcePresetSerializer(many=True)}))
    def catalogue(self, request):
        """What `preset` takes when a source is created, and what each stands for."""
        if unknown := sorted(set(request.query_params) - {api_settings.URL_FORMAT_OVERRIDE}):
            raise serializers.ValidationError({name: ["There is no such parameter."] for name in unknown})
        return Response({"results": self.get_serializer(PRESETS.values(), many=True).data})
