"""Which bundles are there, and which of them governs: an app above keeps them.

A bundle may be made after the plan that names it, so nothing is refused. But until
then the plan's holders are, which is said.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from billing.policies.effective import (
    GOVERNING_KINDS,
    BundleProjection,
    bundle_key_of,
    project_bundles,
)
from billing.selectors.effective import BillingState

NO_BUNDLE = "none that is active: the gate refuses"


@dataclass(frozen=True, slots=True)
class BundleReader:
    """How to ask for bundles.

    Attributes:
        active_keys: returns, of a realm's id and keys, those that an active bundle has.
        default_key: the key of the bundle of those whose plans name none.

    """

    active_keys: Callable[[str, Collection[str]], set[str]]
    default_key: str


_readers: list[BundleReader] = []


def register_bundle_reader(reader: BundleReader) -> None:
    """Let `reader` answer for the bundles of every realm."""
    _readers[:] = [reader]


def bundle_doubts(realm_id: str, metadata: dict[str, Any]) -> list[str]:
    """Return a sentence where the bundle that a valid document names is not there."""
    key = metadata.get("gate_bundle_key")
    if not key or all(read.active_keys(realm_id, {key}) for read in _readers):
        return []
    sentence = (
        f"No active policy bundle is called {key}: until there is one, the gate "
        "refuses whoever has no other bundle."
    )
    return [sentence]


def bundle_text(state: BillingState) -> str:
    """Return which bundle the gate uses in a billing state, and which plan names it.

    By the bundles that are active now; one text per scope where they differ.
    """
    if not _readers:
        return NO_BUNDLE
    found = _projected(state, _readers[0])
    if found.account_key == found.user_key:
        return _named(state, found.account_key, found)
    return (
        f"for the account {_named(state, found.account_key, found)}; "
        f"for its users {_named(state, found.user_key, found)}"
    )


def _projected(state: BillingState, reader: BundleReader) -> BundleProjection:
    named = {key for plan in state.effective if (key := bundle_key_of(plan))}
    active = reader.active_keys(state.account.realm_id, named | {reader.default_key})
    return project_bundles(state.effective, active, default_key=reader.default_key)


def _named(state: BillingState, key: str | None, found: BundleProjection) -> str:
    if key is None:
        return NO_BUNDLE
    if found.is_default:
        return "the realm's default bundle"
    plan = next(
        plan
        for plan in state.effective
        if plan.kind in GOVERNING_KINDS and bundle_key_of(plan) == key
    )
    return f"{key} (named by {plan.plan_name})"
