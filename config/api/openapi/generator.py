"""All operations, described together, so that no two models fight over a name."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import TypeAdapter

from config.api.openapi.components import REFERENCE, PlainJsonSchema, Schema
from config.api.openapi.schema import operation_of
from config.api.openapi.untyped import Component, Generator
from config.api.operations import Operation
from config.api.views import TokenView

Slot = Literal["body", "answer", "line"]


class Shapes:
    """The JSON schemas of every body (as accepted) and answer (as written).

    One run of pydantic over all of them: a model that reads differently in the two
    directions gets two names, and so do two models of the same name.
    """

    def __init__(self, methods: Iterable[tuple[type, str]]) -> None:
        declared = [
            (view, spec)
            for view, method in methods
            if (spec := operation_of(view, method)) is not None
        ]
        self._uses = Counter(spec.name for _view, spec in declared)
        inputs: list[Any] = []
        for view, spec in declared:
            name = self.id_of(view, spec)
            if spec.body is not None:
                inputs.append(((name, "body"), "validation", TypeAdapter(spec.body)))
            for slot, written in (("answer", spec.answer), ("line", spec.line)):
                if written is not None:
                    adapter = TypeAdapter(written)
                    inputs.append(((name, slot), "serialization", adapter))
        found, shared = TypeAdapter.json_schemas(
            inputs, ref_template=REFERENCE, schema_generator=PlainJsonSchema
        )
        self._found: dict[Any, Schema] = {
            key: shape for (key, _), shape in found.items()
        }
        self.components: dict[str, Schema] = shared.get("$defs", {})

    def id_of(self, view: type, spec: Operation) -> str:
        """Return the operation's id: its name, told apart where both planes have it."""
        both = self._uses[spec.name] > 1 and issubclass(view, TokenView)
        return f"{spec.name}_by_token" if both else spec.name

    def of(self, operation_id: str, slot: Slot) -> Schema:
        """Return the schema of a body, answer or line; any value where undeclared."""
        return self._found.get((operation_id, slot), {})


class OperationsGenerator(Generator):  # type: ignore[misc]
    """Describes the operations of all addresses."""

    def parse(self, input_request: Any, public: bool) -> Any:
        """Return the paths."""
        self._initialise_endpoints()
        shapes = Shapes(
            (callback.cls, method) for _path, _regex, method, callback in self.endpoints
        )
        self.registry.shapes = shapes
        for name, schema in shapes.components.items():
            self.registry.register_on_missing(
                Component(name=name, type=Component.SCHEMA, object=name, schema=schema)
            )
        return super().parse(input_request, public)
