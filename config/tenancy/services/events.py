"""Domain events: how news travels from a lower app to those above it."""

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Any

from config.kernel.audit import AuditContext
from config.tenancy.models import DomainEvent, Realm

Subscriber = Callable[..., None]
_subscribers: dict[str, list[Subscriber]] = defaultdict(list)
_of_every_kind: list[Subscriber] = []


def subscribe(kind: str, subscriber: Subscriber) -> None:
    """Call `subscriber(event=, subject=, at=, by=)` in the transaction of each event.

    For `AppConfig.ready()` of apps above the one that records `kind`. A subscriber
    that raises undoes the change it reacts to. Subscribing twice has no effect.
    """
    if subscriber not in _subscribers[kind]:
        _subscribers[kind].append(subscriber)


def subscribe_to_all(subscriber: Subscriber) -> None:
    """Call `subscriber` as `subscribe` does, for events of every kind.

    After the subscribers of the kind itself. It runs at every event, also at those it
    has no use for: it must find out cheaply.
    """
    if subscriber not in _of_every_kind:
        _of_every_kind.append(subscriber)


def record_event(
    *,
    realm: Realm,
    kind: str,
    subject: Any,
    payload: dict[str, Any] | None = None,
    at: datetime,
    by: AuditContext,
) -> DomainEvent:
    """Append the event `kind` about the row `subject`, then tell its subscribers.

    `payload` is a JSON object of facts for readers of the log; `at` is aware UTC.
    Returns the stored event.
    """
    event = DomainEvent.objects.create(
        realm=realm,
        kind=kind,
        subject_id=str(subject.pk),
        payload=payload or {},
        occurred_at=at,
        trace_id=by.trace_id,
    )
    for subscriber in (*_subscribers[kind], *_of_every_kind):
        subscriber(event=event, subject=subject, at=at, by=by)
    return event
