"""One operation, described."""

import re
from typing import Any

from config.api.openapi.components import (
    CONTEXT,
    ENVELOPES,
    PARAMETERS,
    PLATFORM_TOKEN,
    REFERENCE,
    RESPONSES,
    SECURITY,
    SERVICE_KEY,
    SUCCESS,
    PlainJsonSchema,
    Schema,
    content,
)
from config.api.openapi.untyped import Component, MethodSchema
from config.api.operations import Operation
from config.api.streams import NDJSON
from config.api.views import TokenView

_PATH_ID = re.compile(r"<(?:(?P<kind>\w+):)?(?P<name>\w+)>")
_PATH_SCHEMAS: dict[str, Schema] = {
    "uuid": {"type": "string", "format": "uuid"},
    "int": {"type": "integer", "minimum": 0},
}
_READS = frozenset({"GET", "HEAD"})


class OperationSchema(MethodSchema):  # type: ignore[misc]
    """Describes a view method from its `@operation`; leaves out one without."""

    @property
    def operation(self) -> Operation | None:
        """The declaration of the method that is being described."""
        return operation_of(type(self.view), self.method)

    def is_excluded(self) -> bool:
        """Return whether nothing is declared."""
        return self.operation is None

    def get_operation(
        self,
        path: str,
        path_regex: str,
        path_prefix: str,
        method: str,
        registry: Any,
    ) -> Schema | None:
        """Return the operation object, None where nothing is declared."""
        self.registry, self.method = registry, method.upper()
        self.path, self.path_regex, self.path_prefix = path, path_regex, path_prefix
        spec = self.operation
        if spec is None:
            return None
        operation_id = registry.shapes.id_of(type(self.view), spec)
        described: Schema = {
            "operationId": operation_id,
            "summary": self._summary(spec),
            "description": self._about(spec),
            "tags": [self._tag()],
            "parameters": [*self._headers(), *self._ids(), *self._query(spec)],
            "security": [{self._scheme(): []}],
            "responses": self._responses(spec, operation_id),
        }
        if spec.body is not None:
            schema = registry.shapes.of(operation_id, "body")
            described["requestBody"] = {"required": True, "content": content(schema)}
        return described

    def _summary(self, spec: Operation) -> str:
        prose = spec.summary or (self._method_doc().partition("\n")[0])
        return prose.strip().rstrip(".") or spec.name.replace("_", " ").capitalize()

    def _about(self, spec: Operation) -> str:
        _, _, rest = self._method_doc().partition("\n")
        needs = f"Needs the scope `{spec.scope}`."
        return "\n\n".join(part for part in (_unindented(rest), needs) if part)

    def _method_doc(self) -> str:
        method = getattr(self.view, self.method.lower())
        return (method.__doc__ or "").strip()

    def _tag(self) -> str:
        below = re.sub(rf"^{self.path_prefix}", "", self.path, count=1)
        noun = below.strip("/").split("/")[0]
        return noun.replace("-", " ").capitalize()

    def _headers(self) -> list[Schema]:
        context = () if isinstance(self.view, TokenView) else CONTEXT
        key = () if self.method in _READS else ("IdempotencyKey",)
        return [
            self._shared(Component.PARAMETER, name, PARAMETERS)
            for name in ("RealmId", *context, *key)
        ]

    def _ids(self) -> list[Schema]:
        return [
            {
                "in": "path",
                "name": found["name"],
                "required": True,
                "schema": _PATH_SCHEMAS.get(
                    found["kind"] or "str", {"type": "string", "minLength": 1}
                ),
            }
            for found in _PATH_ID.finditer(self.path_regex)
        ]

    def _query(self, spec: Operation) -> list[Schema]:
        if spec.query is None:
            return []
        shape = spec.query.model_json_schema(
            mode="validation",
            ref_template=REFERENCE,
            schema_generator=PlainJsonSchema,
        )
        for name, definition in shape.get("$defs", {}).items():
            self._register(name, definition, Component.SCHEMA)
        required = shape.get("required", [])
        return [
            _parameter(name, schema, required=name in required)
            for name, schema in shape.get("properties", {}).items()
        ]

    def _scheme(self) -> str:
        name = PLATFORM_TOKEN if isinstance(self.view, TokenView) else SERVICE_KEY
        self._register(name, SECURITY[name], Component.SECURITY_SCHEMA)
        return name

    def _responses(self, spec: Operation, operation_id: str) -> Schema:
        for name, schema in ENVELOPES.items():
            self._register(name, schema, Component.SCHEMA)
        answer = {
            "allOf": [
                {"$ref": REFERENCE.format(model=SUCCESS)},
                {
                    "type": "object",
                    "required": ["data"],
                    "properties": {
                        "data": self.registry.shapes.of(operation_id, "answer")
                    },
                },
            ]
        }
        written = content(answer)
        if spec.line is not None:
            lines = self.registry.shapes.of(operation_id, "line")
            written[NDJSON] = {"schema": lines}
        responses: Schema = {
            str(status): {"description": "Done.", "content": written}
            for status in sorted(spec.statuses)
        }
        for status, name in (("4XX", "Refused"), ("5XX", "Failed")):
            responses[status] = self._shared(Component.RESPONSE, name, RESPONSES)
        return responses

    def _shared(self, kind: str, name: str, parts: dict[str, Schema]) -> Schema:
        self._register(name, parts[name], kind)
        return {"$ref": f"#/components/{kind}/{name}"}

    def _register(self, name: str, schema: Schema, kind: str) -> None:
        self.registry.register_on_missing(
            Component(name=name, type=kind, object=name, schema=schema)
        )


def operation_of(view: type, method: str) -> Operation | None:
    """Return the declaration of a view's HTTP method, or None."""
    found: Operation | None = getattr(
        getattr(view, method.lower(), None), "operation", None
    )
    return found


def _parameter(name: str, schema: Schema, *, required: bool) -> Schema:
    """Return a query parameter; one that may be left out is never sent as null."""
    options = [
        option for option in schema.get("anyOf", ()) if option != {"type": "null"}
    ]
    shown = {
        key: value
        for key, value in schema.items()
        if key not in {"anyOf", "title", "default", "description"}
    }
    if len(options) == 1:
        shown |= options[0]
    elif options:
        shown["anyOf"] = options
    parameter: Schema = {"in": "query", "name": name, "required": required}
    if "description" in schema:
        parameter["description"] = schema["description"]
    return {**parameter, "schema": shown}


def _unindented(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())
