"""Committing: usage becomes a rating, counted and paid, once per lease."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import structlog

from billing.models import BillingAccount, BillingUser
from catalog.services.registration import RegistryFull
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid, Refused
from config.kernel.ids import new_id
from gating.answers import Admission, Committed, commit_answer, commit_facts
from gating.options import options
from gating.rules import Rules
from gating.selectors.ratings import stored_commit
from gating.selectors.repeats import committed_before
from gating.selectors.rules import stored_rules
from gating.services.admissions import KeyReused, as_uuid, digest_of
from gating.services.closing import commit_items
from gating.services.coalescing import commit_together
from gating.services.functions import Document, Function, gate_commit
from gating.services.leases import LeaseUnknown, lease_of
from gating.services.registry import registered_feature, registered_meters
from gating.services.subjects import Subject
from gating.services.usage import MeterUse, committed_of
from gating.settle import settle

log = structlog.get_logger("plangate.gate")

OPERATION = "commit"


class OtherFeature(Refused):
    """The lease is for another feature, or for one that is gone (422)."""

    def __init__(self, reference: str, of: str, feature_code: str) -> None:
        sentence = f"The lease {reference} is for {of}, not for {feature_code}."
        if of == feature_code:
            sentence = (
                f"The feature {feature_code} that the lease {reference} is for no "
                "longer exists, so its use cannot be rated. Cancel the lease."
            )
        super().__init__(
            sentence,
            field="feature_code",
            error_type="feature_mismatch",
        )


class MeterNotAllowed(Refused):
    """Usage on a meter that the feature does not have, in strict mode (422)."""

    default_code = "VALIDATION.INVALID_INPUT"

    def __init__(self, feature_code: str, meters: Sequence[str]) -> None:
        super().__init__(
            f"meter_not_allowed_for_feature: {feature_code} has no activity meter "
            f"{', '.join(meters)}.",
            field="meters",
            hints=[
                {
                    "type": "feature.meter_not_allowed",
                    "feature_code": feature_code,
                    "meters": list(meters),
                }
            ],
            error_type="meter_not_allowed_for_feature",
        )


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """What was used: the feature's quantity, and where given each meter's.

    `reference` names the lease. Without `meters` the feature's primary meter counts
    the whole quantity; with them, they alone are priced. `operation` is whose keys the
    idempotency key is among: one key may stand once for each.
    """

    reference: str
    feature_code: str
    quantity_minor: int
    meters: Sequence[MeterUse] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    operation: str = OPERATION

    @property
    def uses(self) -> Sequence[MeterUse]:
        """Return what to rate: the meters given, else the primary one."""
        return self.meters or (MeterUse(self.feature_code, self.quantity_minor),)

    @property
    def digest(self) -> bytes:
        """Return what makes two requests with one key the same request."""
        return digest_of(
            [
                self.operation,
                self.reference,
                self.feature_code,
                str(self.quantity_minor),
                [use.document for use in self.meters],
                dict(self.labels),
            ]
        )


def commit_lease(
    *,
    account: BillingAccount,
    user: BillingUser,
    request: CommitRequest,
    idempotency_key: str,
    at: datetime,
    by: AuditContext,
) -> Admission:
    """Rate what was used under a lease, settle it (`gating.settle`), close the lease.

    The first answer to a key is given again; the key with another body is refused
    (`KeyReused`). A second commit under another key is kept as quarantined usage.
    Refuses an unknown lease (`LeaseUnknown`), another feature's (`OtherFeature`), an
    amount beyond 64 bits (`Invalid`) and, where strict, a foreign meter
    (`MeterNotAllowed`).
    """
    return commit_as(
        Subject.of(account, user),
        request=request,
        idempotency_key=idempotency_key,
        at=at,
        by=by,
    )


def commit_as(
    subject: Subject,
    *,
    request: CommitRequest,
    idempotency_key: str,
    at: datetime,
    by: AuditContext,
) -> Admission:
    """Do what `commit_lease` does for a user known by name only."""
    asked = item_of(request, idempotency_key, by)
    function = commit_together if subject.together else commit_items
    (answer,) = asked_of(subject, function, [request], [asked], at=at, by=by)
    if answer is None:
        raise of_other_feature(subject, request)
    item = subject.item(request.feature_code) | asked
    return settled(answer, item, request, at=answer.get("sent_at", at))


def asked_of(
    subject: Subject,
    function: Function,
    requests: Sequence[CommitRequest],
    asked: Sequence[Document],
    *,
    at: datetime,
    by: AuditContext,
) -> list[Document | None]:
    """Return the function's answer to each request, as `Subject.asked`.

    Where the realm does not have the feature, a repeat is answered as before. Else,
    where uses may register, what a commit names and the catalog lacks is registered,
    and the commit asked again, after the others.
    """
    features = [request.feature_code for request in requests]
    answers = [
        answer or committed_before(subject.bind()[1], item)
        for answer, item in zip(
            subject.asked(function, features, asked, at=at), asked, strict=True
        )
    ]
    again = [
        place
        for place, answer in enumerate(answers)
        if options().auto_register
        and _to_ask_again(subject, answer, requests[place], at=at, by=by)
    ]
    if again:
        told = subject.asked(
            partial(gate_commit, strict=options().strict_meters),
            [features[place] for place in again],
            [asked[place] for place in again],
            at=at,
        )
        for place, answer in zip(again, told, strict=True):
            answers[place] = answer
    return answers


def _to_ask_again(
    subject: Subject,
    answer: Document | None,
    request: CommitRequest,
    *,
    at: datetime,
    by: AuditContext,
) -> bool:
    """Register what is missing; return whether the answer may now be another.

    A feature only where the lease is for it, and a meter only once all else was found
    in order: a commit that is refused registers nothing. Where no more is registered,
    the usage is kept as it is without.
    """
    code = request.feature_code
    why: dict[str, Any] = {"source": OPERATION, "at": at, "by": by}
    try:
        if answer is None:
            lease = lease_of(subject.bind()[1], request.reference)
            is_leased = lease.feature_code == code
            return is_leased and registered_feature(subject, code, **why)
        if answer["o"] != "meter_not_allowed":
            return False
        linked = registered_meters(subject, code, answer["meters"], **why)
    except (LeaseUnknown, RegistryFull):
        linked = []
    return bool(linked) or (answer is not None and not options().strict_meters)


def of_other_feature(subject: Subject, request: CommitRequest) -> OtherFeature:
    """Return the refusal of a commit on a feature that the realm does not have.

    Its lease is of another one, if there is such a lease (else `LeaseUnknown`).
    """
    lease = lease_of(subject.bind()[1], request.reference)
    return OtherFeature(request.reference, lease.feature_code, request.feature_code)


def item_of(request: CommitRequest, idempotency_key: str, by: AuditContext) -> Document:
    """Return the request as the gate's function takes it, without its subject."""
    return {
        "lease": request.reference,
        "quantity": request.quantity_minor,
        "key": idempotency_key,
        "hash": request.digest.hex(),
        "id": str(new_id()),
        "operation": request.operation,
        "labels": dict(request.labels),
        "trace": by.trace_id,
        "entry": str(new_id()),
        "uses": [use.item(new_id()) for use in request.uses],
    }


def settled(
    answer: Document, item: Document, request: CommitRequest, *, at: datetime
) -> Admission:
    """Return the answer to a commit that the function told, or raise its refusal."""
    match answer["o"]:
        case "committed":
            rules = stored_rules(as_uuid(answer["rules"]))
            data, hints = told(rules, committed_of(answer, item, rules, at))
            return Admission(data, hints)
        case "replayed":
            rules, committed, trace_id = stored_commit(
                item["realm"], answer["rating"], answer["rated_at"]
            )
            data, hints = told(rules, committed)
            return Admission(data, hints, replayed=True, trace_id=trace_id)
        case "key_reused":
            raise KeyReused
        case "lease_unknown":
            raise LeaseUnknown(request.reference)
        case "other_feature":
            raise OtherFeature(
                request.reference, answer["feature"], request.feature_code
            )
        case "meter_not_allowed":
            raise MeterNotAllowed(request.feature_code, answer["meters"])
        case _:
            raise Invalid(
                f"{answer['field']} must fit 64 bits; this usage comes to more.",
                field=answer["field"],
            )


def told(
    rules: Rules, committed: Committed
) -> tuple[Mapping[str, object], Sequence[Mapping[str, object]]]:
    """Return data and hints of a rating, in the words of the specification."""
    settlement = settle(commit_facts(rules, committed))
    applied = (settlement.status, settlement.quantity_minor, settlement.amount_xusd)
    stored = (committed.status, committed.applied_minor, committed.applied_xusd)
    if applied != stored:
        log.critical(
            "settlement diverges from its specification",
            rating=str(committed.rating_id),
            stored=stored,
            specified=applied,
        )
    return commit_answer(rules, committed, settlement)
