"""How the stateful test reaches the gate: by its verbs, or by the API.

Both drivers answer in the ledger's words, so that a machine need not know which of the
two it drives.
"""

from dataclasses import dataclass, replace
from datetime import datetime

import orjson

from billing.models import BillingUser, UserStatus
from config.kernel.clock import now
from config.kernel.errors import DomainError, Forbidden
from config.tenancy.services.service_keys import create_service_key
from gating.answers import Admission
from gating.facts import Ask as GateAsk
from gating.services.admissions import AuthorizeRequest
from gating.services.authorize import authorize_as, preflight_as
from gating.services.batches import authorize_batch, commit_batch
from gating.services.commits import CommitRequest, commit_as
from gating.services.leases import cancel_lease, expire_leases
from gating.services.subjects import Subject
from gating.services.usage import MeterUse
from tests.gating.terms import Line
from tests.tools.client import SignedClient


@dataclass(frozen=True)
class Told:
    """What came back: in the ledger's words, for which lease or rating, and as it was.

    `wire` are the bytes of an answer over HTTP, where it was not one of a batch.
    """

    outcome: dict
    reference: str | None = None
    raw: bytes = b""
    wire: bytes = b""


def when(text):
    return datetime.fromisoformat(text)


def hints_of(hints):
    """Return hints with numbers as numbers and instants as instants."""

    def value(name, given):
        if name in {"until", "expires_at"}:
            return when(given)
        return int(given) if isinstance(given, str) and given.isdigit() else given

    return [{name: value(name, given) for name, given in h.items()} for h in hints]


def success(data, hints, read, *, again):
    raw = orjson.dumps([data, list(hints)], option=orjson.OPT_SORT_KEYS)
    reference = data.get("lease") or data.get("commit_id")
    return Told(read(data, hints, again=again), reference, raw)


def admission(data, hints, *, again):
    window = [int(when(data[f"window_{end}"]).timestamp()) for end in ("start", "end")]
    return {
        "o": "admitted",
        "again": again,
        "window": tuple(window),
        "hints": hints_of(hints),
        **({"expires": when(data["expires_at"])} if "expires_at" in data else {}),
    }


def commitment(data, hints, *, again):
    numbers = "quantity_minor", "amount_xusd", "cost_xusd"
    return {
        "o": "committed",
        "again": again,
        "status": data["application_status"],
        "reasons": list(data["reason_codes"]),
        "amount": int(data["amount_xusd"]),
        "cost": int(data["cost_xusd"]),
        "hints": hints_of(hints),
        "lines": [
            Line(
                line["meter_code"],
                line["rating_status"],
                *(int(line[n]) for n in numbers),
            )
            for line in data["lines"]
        ],
    }


def ended(*, canceled, released, again=False):
    return {
        "o": "canceled",
        "again": again,
        "canceled": canceled,
        "released": int(released),
    }


def refusal(status, code, reason, hints, kind, field):
    told = {"o": "refused", "status": status, "code": code}
    if reason is not None:
        return Told(told | {"o": "denied", "reason": reason, "hints": hints_of(hints)})
    return Told(told | ({"type": kind} if kind else {}) | {"field": field})


class Verbs:
    """The gate's verbs, called for a user known by name, at an instant of the test's."""

    in_time = True
    """Whether the test says what time it is."""

    def __init__(self, realm, people, by):
        self.realm, self.people, self.by = realm, people, by

    def subject(self, user):
        """Return the user as the edge hands one on: looked up where the gate asks."""

        def bind():
            found = BillingUser.objects.select_related("account__realm").get(
                realm=self.realm, business_user_id=user
            )
            if found.status != UserStatus.ACTIVE:
                raise Forbidden("Disabled.", code="AUTH.BILLING_USER_DISABLED")
            return found.account, found

        return Subject(self.realm.pk, self.people[user], user, bind)

    def asked(self, verb, read, *args, **named):
        try:
            answer = verb(*args, **named)
        except DomainError as error:
            answer = error
        return self.told(answer, read)

    def told(self, answer, read):
        if isinstance(answer, Admission):
            return success(answer.data, answer.hints, read, again=answer.replayed)
        return refusal(
            answer.status,
            answer.code,
            answer.meta.get("reason"),
            answer.hints,
            answer.error_type,
            answer.field,
        )

    def authorize(self, user, ask, key, at):
        return self.asked(
            authorize_as,
            admission,
            self.subject(user),
            request=_request(ask),
            idempotency_key=key,
            at=at,
            by=self.by,
        )

    def preflight(self, user, ask, at):
        asked = GateAsk(ask.feature, estimate_minor=ask.estimate)
        return self.asked(preflight_as, admission, self.subject(user), ask=asked, at=at)

    def commit(self, user, use, key, at):
        return self.asked(
            commit_as,
            commitment,
            self.subject(user),
            request=_used(use),
            idempotency_key=key,
            at=at,
            by=self.by,
        )

    def authorize_batch(self, user, items, at):
        requests = [(_request(ask), key) for ask, key in items]
        return self.batch(authorize_batch, user, requests, admission, at)

    def commit_batch(self, user, items, at):
        requests = [(_used(use), key) for use, key in items]
        return self.batch(commit_batch, user, requests, commitment, at)

    def batch(self, verb, user, requests, read, at):
        try:
            found = verb(self.subject(user), requests, at=at, by=self.by)
        except DomainError as error:
            found = [error] * len(requests)
        return [self.told(answer, read) for answer in found]

    def cancel(self, user, reference, key, at):
        """End a lease; the verb has no key, so that a repeat finds the lease ended."""
        try:
            account, row = self.subject(user).bind()
            end = cancel_lease(
                account=account, user=row, reference=reference, at=at, by=self.by
            )
        except DomainError as error:
            return self.told(error, None)
        return Told(ended(canceled=end.canceled, released=end.released_minor))

    def expire(self, at):
        return expire_leases(at=at)


def _request(ask):
    asked = GateAsk(ask.feature, estimate_minor=ask.estimate)
    return AuthorizeRequest(asked, ask.name)


def _used(use):
    meters = [MeterUse(code, quantity) for code, quantity in use.meters]
    return CommitRequest(use.lease, use.feature, use.quantity, meters)


class Api:
    """The same over HTTP: signed requests through the whole stack, at the real time."""

    in_time = False

    def __init__(self, realm, people, by):
        key = create_service_key(realm=realm, at=now(), by=by)
        self.people, self.client = people, SignedClient(realm, key)

    def post(self, user, path, document, key):
        caller = self.client.bound(principal_id=self.people[user], user_id=user)
        return caller.post(f"gate/{path}", document, key=key)

    def told(self, response, read):
        body = response.json()
        hints, meta = body.get("hints", []), body.get("meta") or {}
        if response.status_code != 200:
            kind, field = body["error"]["type"], meta.get("field")
            given = response.status_code, body["code"], meta.get("reason")
            return _timeless(refusal(*given, hints, kind, field))
        # A repeat of authorize or commit is told with the trace id of the first.
        again = body["trace_id"] != response["X-Trace-Id"]
        told = success(body["data"], hints, read, again=again)
        return replace(_timeless(told), wire=response.content)

    def authorize(self, user, ask, key, at):
        return self.told(self.post(user, "authorize", _asking(ask), key), admission)

    def preflight(self, user, ask, at):
        answer = self.post(user, "preflight", _asking(ask), None)
        return self.told(answer, admission)

    def commit(self, user, use, key, at):
        return self.told(self.post(user, "commits", _using(use), key), commitment)

    def cancel(self, user, reference, key, at):
        return self.told(self.post(user, "cancel", {"lease": reference}, key), _ended)

    def authorize_batch(self, user, items, at):
        return self.batch(user, "authorize", _asking, items, admission)

    def commit_batch(self, user, items, at):
        return self.batch(user, "commits", _using, items, commitment)

    def batch(self, user, path, written, items, read):
        documents = [written(body) | {"idempotency_key": key} for body, key in items]
        response = self.post(user, f"{path}/batch", {"items": documents}, None)
        if response.status_code != 200:
            return [self.told(response, read)] * len(items)
        found = response.json()["data"]["items"]
        assert [item["index"] for item in found] == list(range(len(items)))
        return [_item(item, read) for item in found]


def _timeless(told):
    """Return an answer without what depends on the very instant it was given."""
    for hint in told.outcome.get("hints", ()):
        hint.pop("seconds", None)
    told.outcome.pop("expires", None)
    return told


def _asking(ask):
    document = {"feature_code": ask.feature}
    if ask.estimate is not None:
        document["estimated_quantity_minor"] = str(ask.estimate)
    return document | ({} if ask.name is None else {"lease": ask.name})


def _using(use):
    document = {
        "lease": use.lease,
        "feature_code": use.feature,
        "quantity_minor": str(use.quantity),
    }
    meters = [{"meter_code": m, "quantity_minor": str(q)} for m, q in use.meters]
    return document | ({"meters": meters} if meters else {})


def _ended(data, hints, *, again):
    return ended(canceled=data["cancelled"], released=data["released_cap"], again=again)


def _item(item, read):
    """Return one outcome of a batch, which has neither a status nor a reason."""
    error = item.get("error")
    if error is None:
        data = item.get("authorization") or item["commit"]
        again = item["status"] == "duplicate"
        return _timeless(success(data, item.get("hints", []), read, again=again))
    if item["status"] == "denied":
        hints = hints_of(error.get("hints", []))
        return _timeless(Told({"o": "denied", "code": error["code"], "hints": hints}))
    named = {"type": error["type"], "field": error.get("field")}
    return Told({"o": "refused", "code": error["code"], **named})
