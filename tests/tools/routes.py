"""Every address of the API, read from the URL configuration."""

import re
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, get_resolver

METHODS = ("get", "post", "put", "patch", "delete")
PREFIXES = ("mgt/v1/", "api/v1/")


@dataclass(frozen=True)
class Route:
    """One method of one address, and its declaration."""

    template: str
    method: str
    operation: Any

    @property
    def name(self):
        return f"{self.method} /{self.template}"

    @property
    def parameters(self):
        """Return the names of the ids in the address."""
        return re.findall(r"<(?:\w+:)?(\w+)>", self.template)

    @property
    def is_management(self):
        return self.template.startswith("mgt/")

    def path(self, **ids):
        """Return the address with ids in it."""
        return "/" + re.sub(
            r"<(?:\w+:)?(\w+)>", lambda found: str(ids[found[1]]), self.template
        )


def _flattened(patterns, prefix=""):
    for pattern in patterns:
        text = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield text, pattern.callback
        else:
            yield from _flattened(pattern.url_patterns, text)


def service_views():
    """Return (template, view) of every address below the service prefixes."""
    return [
        (text, view)
        for text, view in _flattened(get_resolver().url_patterns)
        if text.startswith(PREFIXES)
    ]


def routes():
    """Return every operation that is served, in a stable order."""
    found = []
    for template, view in service_views():
        for method in METHODS:
            handler = getattr(view.cls, method, None)
            if handler is not None:
                found.append(Route(template, method.upper(), handler.operation))
    return sorted(found, key=lambda route: (route.template, route.method))
