"""What a grant, use or movement comes from, as people follow it.

A source is named by a reference: of a person (`INV-9001`), or made by the system
(`gate_rating:<id>`). One that names a row is shown as a link to it. For rows of apps
above, those apps say how, because this one may not import them.
"""

from collections.abc import Callable

from django.urls import reverse
from django.utils.html import format_html, strip_tags
from django.utils.safestring import SafeString

Linker = Callable[[str], SafeString | str]

_linkers: dict[str, Linker] = {}


def register_source(prefix: str, linker: Linker) -> None:
    """Let `linker` show the sources that begin with `prefix`, given the rest."""
    _linkers[prefix] = linker


def source_text(source_ref: str) -> SafeString | str:
    """Return a source as people read it: a link where an app knows it, else itself."""
    for prefix, linker in _linkers.items():
        rest = source_ref.removeprefix(prefix)
        # A person may type a prefix alone.
        if rest not in {source_ref, ""}:
            return linker(rest)
    return source_ref


def source_words(source_ref: str) -> str:
    """Return the same without the link, for what is a link itself."""
    return strip_tags(source_text(source_ref))


def _linker(url_name: str, text: str) -> Linker:
    """Return what links the row whose id is the rest of a source, up to a colon."""

    def link(rest: str) -> SafeString:
        address = reverse(url_name, args=[rest.partition(":")[0]])
        return format_html('<a href="{}" class="text-link">{}</a>', address, text)

    return link


register_source("bpa:", _linker("admin:billing_planassignment_change", "Plan"))
register_source("grant_lot:", _linker("admin:grants_grantlot_change", "Grant"))
register_source("outstanding:", _linker("admin:grants_grantlot_change", "Overage"))
register_source("settle:", lambda _rest: "Uses since the last booking")
register_source("overage:", lambda _rest: "Billing period")
register_source("adjustment:", lambda key: key)
register_source("consume:", lambda key: key)
