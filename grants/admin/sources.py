"""Where a credit entry comes from, as people follow it.

A source that names a row of an app above is shown as a link to it: that app says how,
because this one may not import it.
"""

from collections.abc import Callable

from django.utils.safestring import SafeString

Linker = Callable[[str], SafeString | str]

_linkers: dict[str, Linker] = {}


def register_source(prefix: str, linker: Linker) -> None:
    """Let `linker` show the sources that begin with `prefix`, given the rest."""
    _linkers[prefix] = linker


def source_text(source_ref: str) -> SafeString | str:
    """Return a source as people read it: a link where an app knows it, else itself."""
    for prefix, linker in _linkers.items():
        if source_ref.startswith(prefix):
            return linker(source_ref.removeprefix(prefix))
    return source_ref
