"""Query parameters of the lists here, for the API and the pages alike."""

import django_filters
from django.db.models import Q

from tenants.models import ApiKey, AuditEntry, Invitation, Membership, Tenant
from tenants.permissions import Role


class MemberFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="by_words", help_text="Words in the person's name or email address.")
    role = django_filters.ChoiceFilter(choices=Role.choices)

    class Meta:
        model = Membership
        fields = []

    def by_words(self, queryset, name, value):
        for word in value.split():
            queryset = queryset.filter(Q(user__name__icontains=word) | Q(user__email__icontains=word))
        return queryset


class InvitationFilter(django_filters.FilterSet):
    q = django_filters.CharFilter("email", "icontains", help_text="Part of the email address.")
    role = django_filters.ChoiceFilter(choices=Role.choices)
    state = django_filters.ChoiceFilter(method="by_state", choices=Invitation.State.choices)

    class Meta:
        model = Invitation
        fields = []

    def by_state(self, queryset, name, value):
        return queryset.in_state(value)


class AuditFilter(django_filters.FilterSet):
    actor = django_filters.UUIDFilter("actor_id")
    action = django_filters.CharFilter(
        method="by_action", help_text='An action, or its beginning: "source" or "source.created".'
    )
    object_type = django_filters.CharFilter()
    object = django_filters.UUIDFilter("object_id")
    since = django_filters.IsoDateTimeFilter("at", "gte")
    until = django_filters.IsoDateTimeFilter("at", "lt")
    q = django_filters.CharFilter(
        method="by_words", help_text="Words in the names of the actor, the object or the action."
    )

    class Meta:
        model = AuditEntry
        fields = []

    def by_action(self, queryset, name, value):
        return queryset.filter(Q(action=value) | Q(action__startswith=f"{value.removesuffix('.')}."))

    def by_words(self, queryset, name, value):
        for word in value.split():
            queryset = queryset.filter(
                Q(actor_label__icontains=word) | Q(object_label__icontains=word) | Q(action__icontains=word)
            )
        return queryset


class ApiKeyFilter(django_filters.FilterSet):
    q = django_filters.CharFilter("name", "icontains", help_text="Part of the name.")
    role = django_filters.ChoiceFilter(choices=Role.choices)
    live = django_filters.BooleanFilter(
        method="by_life", help_text="Only keys that work now, or only those that do not."
    )

    class Meta:
        model = ApiKey
        fields = []

    def by_life(self, queryset, name, value):
        live = ApiKey.objects.live().values("pk")
        return queryset.filter(pk__in=live) if value else queryset.exclude(pk__in=live)


class TenantFilter(django_filters.FilterSet):
    q = django_filters.CharFilter("name", "icontains")
    status = django_filters.ChoiceFilter(choices=Tenant.Status.choices)

    class Meta:
        model = Tenant
        fields = []
