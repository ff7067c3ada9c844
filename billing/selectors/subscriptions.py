"""Where subscriptions come from: an app above, which registers its reader."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from billing.policies.periods import Subscription

SubscriptionReader = Callable[..., Sequence[Subscription]]
_readers: list[SubscriptionReader] = []


def register_subscription_reader(reader: SubscriptionReader) -> None:
    """Let `reader(account_id=, at=)` answer `subscriptions_of`; for `ready()`."""
    _readers[:] = [reader]


def subscriptions_of(*, account_id: UUID, at: datetime) -> Sequence[Subscription]:
    """Return an account's subscriptions as known at `at` (aware UTC).

    None of them where no app keeps subscriptions.
    """
    return _readers[0](account_id=account_id, at=at) if _readers else ()
