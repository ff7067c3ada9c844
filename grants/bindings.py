"""Grant bindings: what an object gives, merged and told apart. Pure."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config.kernel.metadata import GrantBinding

_LONGEST_KEY = 128
"""A longer template key stands in the binding's source ref as its hash."""


def merge_bindings(
    product_grants: Sequence[GrantBinding], price_grants: Sequence[GrantBinding]
) -> tuple[GrantBinding, ...]:
    """Return what a purchase gives: the product's bindings and the price's.

    Of a program that both name, the fields that the price sets override the product's.
    In the product's order, then the price's.
    """
    merged = {grant.grant_program_code: grant for grant in product_grants}
    for grant in price_grants:
        code = grant.grant_program_code
        base = merged.get(code, grant)
        said = {name: value for name, value in grant if value is not None}
        merged[code] = base.model_copy(update=said)
    return tuple(merged.values())


@dataclass(frozen=True, slots=True)
class Template:
    """A grant of a plan, and the id that its bindings are known by for good."""

    id: str
    grant: GrantBinding

    @property
    def gives(self) -> bool:
        """Return whether it gives anything: `deny` suppresses it."""
        return self.grant.effect != "deny"


def terms_of_binding(grant: GrantBinding) -> dict[str, Any]:
    """Return a binding as a JSON object: `metadata.grant_override` of an assignment."""
    return grant.model_dump(mode="json", exclude_none=True)


def templates_of(
    grants: Iterable[GrantBinding], *, before: Iterable[Template] = ()
) -> tuple[Template, ...]:
    """Return a plan's grants as templates.

    One that names a program of `before` keeps that template's id, so that those who are
    bound to the program stay bound, on the new terms.
    """
    known = {old.grant.grant_program_code: old.id for old in before}
    return tuple(
        Template(known.get(grant.grant_program_code) or _template_id(grant), grant)
        for grant in grants
    )


def _template_id(grant: GrantBinding) -> str:
    key = grant.template_key
    if key is not None:
        short = key if len(key) <= _LONGEST_KEY else fingerprint_of(key)
        return f"key:{short}"
    return f"hash:{fingerprint_of(terms_of_binding(grant))}"


def stored_templates(templates: Iterable[Template]) -> list[dict[str, Any]]:
    """Return templates as they are kept: objects of `id` and `grant`."""
    return [
        {"id": each.id, "grant": terms_of_binding(each.grant)} for each in templates
    ]


def read_templates(stored: Iterable[Mapping[str, Any]]) -> tuple[Template, ...]:
    """Return the templates that `stored_templates` wrote."""
    return tuple(
        Template(each["id"], GrantBinding.model_validate(each["grant"]))
        for each in stored
    )


def fingerprint_of(value: Any) -> str:
    """Return the SHA-256 of a JSON value's canonical text, as 64 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
