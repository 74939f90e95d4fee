"""The query parameters that a list knows. What it does not know it refuses."""

from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import ValidationError
from rest_framework.settings import api_settings


class KnownParameters(DjangoFilterBackend):
    """DRF's filter backend: a list answers 400 to a parameter it does not know.

    A mistyped filter (`?stauts=dead`) would otherwise answer everything, as if it all were what was asked for.
    """

    def filter_queryset(self, request, queryset, view):
        if view.action == "list":
            known = self._known(queryset, view)
            unknown = sorted(set(request.query_params) - known)
            if unknown:
                sentence = f"This list knows no such parameter. It knows {', '.join(sorted(known))}."
                raise ValidationError({name: [sentence] for name in unknown})
        return super().filter_queryset(request, queryset, view)

    def _known(self, queryset, view) -> set[str]:
        filterset = self.get_filterset_class(view, queryset)
        paginator = view.paginator
        return {
            *(filterset.base_filters if filterset else ()),
            *((paginator.cursor_query_param, paginator.page_size_query_param) if paginator else ()),
            api_settings.URL_FORMAT_OVERRIDE,
        }
