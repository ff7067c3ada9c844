"""Answers given before, to requests on a feature that the realm no longer has.

The gate's functions look a key up where they know what governs the feature. Where there
is no such feature, nothing governs; a first answer stands all the same.
"""

from collections.abc import Mapping
from typing import Any

from billing.models import BillingUser
from config.kernel.windows import format_instant
from gating.models import Lease, RatingKey

Document = dict[str, Any]
KEY_REUSED: Document = {"o": "key_reused"}


def admitted_before(user: BillingUser, item: Mapping[str, Any]) -> Document | None:
    """Return what `gate_authorize` tells of an item with a key that the user has used.

    None where the key is new.
    """
    lease = (
        Lease.objects.in_realm(user.realm_id)
        .filter(user=user, idempotency_key=item["key"])
        .first()
    )
    if lease is None:
        return None
    if bytes(lease.request_hash).hex() != item["hash"]:
        return KEY_REUSED
    return {
        "o": "replayed",
        "account": str(lease.account_id),
        "user": str(lease.user_id),
        "id": str(lease.pk),
        "lease": lease.lease,
        "at": format_instant(lease.authorized_at),
        "expires": format_instant(lease.expires_at),
        "trace": lease.trace_id,
        "rules": str(lease.rule_set_id),
        "first": lease.seen_first,
        "second": lease.seen_second,
        "available": lease.available_xusd,
    }


def committed_before(user: BillingUser, item: Mapping[str, Any]) -> Document | None:
    """Return what `gate_commit` tells of an item with a key that the user has used.

    None where the key is new.
    """
    key = (
        RatingKey.objects.in_realm(user.realm_id)
        .filter(user=user, operation=item["operation"], idempotency_key=item["key"])
        .first()
    )
    if key is None:
        return None
    if bytes(key.request_hash).hex() != item["hash"]:
        return KEY_REUSED
    rating = {"rating": str(key.rating_id), "rated_at": format_instant(key.rated_at)}
    return {"o": "replayed", **rating}
