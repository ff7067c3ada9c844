"""drf-spectacular's classes that ours build on, taken as they are: as Any.

The library is half typed, and wrong where a subclass does what it is meant for.
"""

from typing import Any

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.renderers import OpenApiYamlRenderer

Component: Any = ResolvedComponent
Generator: Any = SchemaGenerator
MethodSchema: Any = AutoSchema
YamlRenderer: Any = OpenApiYamlRenderer
