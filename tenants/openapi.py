"""What every operation of the API may answer, said once."""

import re
from http import HTTPStatus

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent, get_doc
from drf_spectacular.utils import OpenApiResponse

from tenants.problems import CONTENT_TYPE

_TEXT = {"type": "string"}
_MISTAKE = {
    "type": "object",
    "properties": {
        "field": {**_TEXT, "description": "Dotted path of the field; empty for the request as a whole."},
        "detail": _TEXT,
    },
    "required": ["field", "detail"],
}
_PROBLEM = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": {**_TEXT, "description": "What went wrong, and what to do about it."},
        "errors": {"type": "array", "items": _MISTAKE, "description": "With 400: what is wrong with which field."},
    },
    "required": ["type", "title", "status"],
}


TOO_MANY = {(429, CONTENT_TYPE): OpenApiResponse({"$ref": "#/components/schemas/Problem"}, HTTPStatus(429).phrase)}
_SUMMARIES = {
    "list": "List {many}",
    "create": "Create {a_one}",
    "retrieve": "Read {a_one}",
    "partial_update": "Change {a_one}",
    "destroy": "Delete {a_one}",
}
_DESCRIPTIONS = {
    "retrieve": "404 unless there is one with this id that the tenant owns.",
    "partial_update": "What is left out stays as it is.",
    "destroy": "It is gone when this answers 204.",
}
_HOOKS = {"create": "perform_create", "partial_update": "perform_update", "destroy": "perform_destroy"}


class ProblemSchema(AutoSchema):
    """Says of each operation what it is, in which room, and how it refuses.

    An action's docstring describes it, or that of the hook it is made of; the class's describes the list.
    """

    def get_tags(self) -> list[str]:
        return [type(self.view).__module__.partition(".")[0]]

    def get_summary(self) -> str:
        meta = self.view.get_queryset().model._meta
        one, many = (str(name).replace("api ", "API ") for name in (meta.verbose_name, meta.verbose_name_plural))
        a_one = f"an {one}" if one[0] in "aeiouA" else f"a {one}"
        action = self.view.action
        verb, _, rest = action.replace("url", "URL").partition("_")
        other = f"{verb.capitalize()} the {rest} of {{a_one}}" if rest else f"{verb.capitalize()} {{a_one}}"
        return _SUMMARIES.get(action, other).format(one=one, many=many, a_one=a_one)

    def get_description(self) -> str:
        action = self.view.action
        own = get_doc(getattr(self.view, action)) or get_doc(getattr(self.view, _HOOKS.get(action, ""), None))
        text = own or (get_doc(type(self.view)) if action == "list" else _DESCRIPTIONS.get(action, ""))
        return re.sub(r"\s+", " ", text)

    def _get_response_bodies(self, direction="response"):
        bodies = super()._get_response_bodies(direction)
        if direction != "response":
            return bodies
        problem = self._problem()
        for code in self._refusals():
            content = {CONTENT_TYPE: {"schema": problem}}
            bodies.setdefault(str(code), {"description": HTTPStatus(code).phrase, "content": content})
        return dict(sorted(bodies.items()))

    def _refusals(self) -> list[int]:
        codes = [401, 403]
        if self.method in ("POST", "PATCH") or self._is_list_view():
            codes.append(400)
        if "{" in self.path or self._is_list_view():
            codes.append(404)
        if self.method != "GET":
            codes.append(409)
        if self.method in ("POST", "PATCH"):
            codes.append(415)
        return codes

    def _problem(self) -> dict:
        component = ResolvedComponent("Problem", ResolvedComponent.SCHEMA, schema=_PROBLEM, object="Problem")
        self.registry.register_on_missing(component)
        return component.ref
