"""All operations, described together, so that no two models fight over a name."""

from collections.abc import Iterable
from typing import Any, Literal

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.plumbing import ResolvedComponent
from pydantic import TypeAdapter

from config.api.openapi.components import REFERENCE, PlainJsonSchema, Schema
from config.api.openapi.schema import operation_of
from config.api.operations import Operation

Slot = Literal["body", "answer"]


class Shapes:
    """The JSON schemas of every body (as accepted) and answer (as written).

    One run of pydantic over all of them: a model that reads differently in the two
    directions gets two names, and so do two models of the same name.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        inputs: list[Any] = []
        for spec in operations:
            if spec.body is not None:
                adapter = TypeAdapter(spec.body)
                inputs.append(((spec.name, "body"), "validation", adapter))
            if spec.answer is not None:
                adapter = TypeAdapter(spec.answer)
                inputs.append(((spec.name, "answer"), "serialization", adapter))
        found, shared = TypeAdapter.json_schemas(
            inputs, ref_template=REFERENCE, schema_generator=PlainJsonSchema
        )
        self._found: dict[Any, Schema] = {
            key: shape for (key, _), shape in found.items()
        }
        self.components: dict[str, Schema] = shared.get("$defs", {})

    def of(self, name: str, slot: Slot) -> Schema:
        """Return the schema of a body or answer; any value where undeclared."""
        return self._found.get((name, slot), {})


class OperationsGenerator(SchemaGenerator):  # type: ignore[misc]
    """Describes the operations of all addresses."""

    def parse(self, input_request: Any, public: bool) -> Any:
        """Return the paths."""
        self._initialise_endpoints()
        declared = (
            operation_of(callback.cls, method)
            for _path, _regex, method, callback in self.endpoints
        )
        shapes = Shapes(spec for spec in declared if spec is not None)
        self.registry.shapes = shapes
        for name, schema in shapes.components.items():
            self.registry.register_on_missing(
                ResolvedComponent(
                    name=name, type=ResolvedComponent.SCHEMA, object=name, schema=schema
                )
            )
        return super().parse(input_request, public)
