"""The counters that a lease names, as they stand."""

from uuid import UUID

from gating.models import Counter, Lease
from gating.settle import HeldWindow


def held_windows(lease: Lease) -> list[HeldWindow]:
    """Return the lease's quota counters with what it holds and what is used now."""
    documents = {UUID(window["counter_id"]): window for window in lease.windows}
    counters = Counter.objects.in_realm(lease.realm_id).filter(pk__in=documents)
    return [
        HeldWindow(
            counter_id=counter.pk,
            limit=_integer(documents[counter.pk]["limit"]),
            held_minor=lease.reserved_minor if documents[counter.pk]["held"] else 0,
            used_minor=counter.used_minor,
            reserved_minor=counter.reserved_minor,
        )
        for counter in counters.order_by("pk")
    ]


def _integer(text: str | None) -> int | None:
    return None if text is None else int(text)
