"""Classes of untyped libraries that ours build on, taken as they are: as Any.

What a checker infers from their bodies is wrong: that an empty tuple stays empty, that
a class attribute may not be overridden, that a view returns one kind of response.
"""

from typing import Any

from import_export.admin import ExportMixin
from import_export.fields import Field
from import_export.resources import modelresource_factory
from unfold.admin import ModelAdmin
from unfold.forms import AdminForm
from unfold.sites import UnfoldAdminSite

Column: Any = Field
Exporter: Any = ExportMixin
resource_of: Any = modelresource_factory
GroupedForm: Any = AdminForm
ThemedAdmin: Any = ModelAdmin
ThemedSite: Any = UnfoldAdminSite
