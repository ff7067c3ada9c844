"""Lists as CSV or XLSX."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from django.db import models
from django.http import HttpRequest
from import_export.formats.base_formats import CSV, XLSX
from import_export.resources import ModelResource
from unfold.contrib.import_export.forms import ExportForm

from config.admin.untyped import Column, Exporter, resource_of


class ExportableAdmin(Exporter):  # type: ignore[misc]
    """An admin list with an Export button: what is filtered is what is exported.

    Attributes:
        export_fields: the columns, in order; None is every column but binary ones.
        export_texts: columns that are stored nowhere: by name, what returns a row's
            text. They stand where `export_fields` names them, else after these.
        export_labels: what a column is headed by, where its name does not say it
            plainly: by name.

    """

    export_fields: ClassVar[Sequence[str] | None] = None
    export_texts: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    export_labels: ClassVar[Mapping[str, str]] = {}
    export_form_class = ExportForm
    formats = [CSV, XLSX]

    def has_export_permission(self, request: HttpRequest) -> bool:
        """Return whether this member of staff may take the list away."""
        opts = self.opts
        return bool(request.user.has_perm(f"{opts.app_label}.export_{opts.model_name}"))

    def get_export_resource_classes(
        self, request: HttpRequest
    ) -> list[type[ModelResource]]:
        """Return what is exported: binary columns (salts, hashes) never are."""
        fields = self.export_fields or [
            field.name
            for field in self.opts.concrete_fields
            if not isinstance(field, models.BinaryField)
        ]
        order = list(dict.fromkeys([*fields, *self.export_texts]))
        resource: Any = resource_of(
            self.model,
            meta_options={"fields": order, "export_order": order},
            custom_fields={
                name: Column(column_name=name) for name in self.export_texts
            },
            dehydrate_methods=dict(self.export_texts),
        )
        for name, label in self.export_labels.items():
            resource.fields[name].column_name = label
        return [resource]
