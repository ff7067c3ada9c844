"""Spending and adjusting wallets, and the proof of a balance."""

from dataclasses import replace

from billing.api.context import RuntimeView, user_in_realm
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.views import ServiceView
from config.api.wire import (
    Id,
    Instant,
    PosInt,
    Reason,
    SignedInt,
    WireModel,
    WriteModel,
)
from config.tenancy.models import Scope
from grants.models import Posting
from grants.selectors.balance_proof import BalanceProof, Line, LotProof, prove_balance
from grants.selectors.postings import posting_of
from grants.services.adjustments import adjust_wallet, reverse_adjustment
from grants.services.consumption import Consumption, consume


class ConsumeIn(WireModel):
    """An amount to spend (10^-6 USD)."""

    amount_xusd: PosInt


class TakenOut(WireModel):
    """How much was taken of one grant (10^-6 USD)."""

    grant_id: str
    amount_xusd: SignedInt


class ConsumptionOut(WireModel):
    """What a consumption took, and of which grants."""

    source_ref: str
    amount_xusd: SignedInt
    grants: list[TakenOut]

    @classmethod
    def of(cls, done: Consumption) -> "ConsumptionOut":
        """Return the wire form of a consumption."""
        return cls(
            source_ref=done.source_ref,
            amount_xusd=done.amount_xusd,
            grants=[
                TakenOut(grant_id=str(lot), amount_xusd=amount)
                for lot, amount in done.lots
            ],
        )


class AdjustIn(WriteModel):
    """An amount to give (above 0) or to take (below 0), in 10^-6 USD, and why."""

    billing_user_id: Id
    amount_xusd: SignedInt
    reason: Reason | None = None


class ReverseIn(WriteModel):
    """Why an adjustment is undone."""

    reason: Reason | None = None


class EntryOut(WireModel):
    """What one ledger account gained or lost by a posting (10^-6 USD)."""

    ledger_account: str
    grant_id: str | None
    amount_xusd: SignedInt
    balance_xusd: SignedInt


class PostingOut(WireModel):
    """A posting of a user's ledger, and its entries, which sum to zero."""

    posting_id: str
    billing_account_id: str
    billing_user_id: str
    reason: str
    source_ref: str
    reverses: str | None
    explanation: str
    operator: str
    ticket_id: str
    occurred_at: Instant
    entries: list[EntryOut]

    @classmethod
    def of(cls, posting: Posting) -> "PostingOut":
        """Return the wire form of a posting."""
        entries = posting.entries.select_related("ledger_account").order_by("id")
        return cls(
            posting_id=str(posting.pk),
            billing_account_id=str(posting.account_id),
            billing_user_id=str(posting.user_id),
            reason=posting.reason,
            source_ref=posting.source_ref,
            reverses=str(posting.reverses_id) if posting.reverses_id else None,
            explanation=posting.explanation,
            operator=posting.operator,
            ticket_id=posting.ticket_id,
            occurred_at=posting.occurred_at,
            entries=[
                EntryOut(
                    ledger_account=entry.ledger_account.kind,
                    grant_id=str(entry.lot_id) if entry.lot_id else None,
                    amount_xusd=entry.amount_xusd,
                    balance_xusd=entry.balance_xusd,
                )
                for entry in entries
            ],
        )


class LineOut(WireModel):
    """One thing that moved an amount of a grant (10^-6 USD)."""

    amount_xusd: SignedInt
    reason: str
    source_ref: str
    occurred_at: Instant
    entry_id: str | None
    posting_id: str | None

    @classmethod
    def of(cls, line: Line) -> "LineOut":
        """Return the wire form of a line."""
        return cls(
            amount_xusd=line.amount_xusd,
            reason=line.reason,
            source_ref=line.source_ref,
            occurred_at=line.occurred_at,
            entry_id=str(line.entry) if line.entry else None,
            posting_id=str(line.posting) if line.posting else None,
        )


class GrantProofOut(WireModel):
    """A grant beside what it rests on (10^-6 USD)."""

    grant_id: str
    status: str
    kind: str
    amount_xusd: SignedInt
    consumed_xusd: SignedInt
    reserved_xusd: SignedInt
    remaining_xusd: SignedInt
    expected_ledger_xusd: SignedInt
    ledger_xusd: SignedInt
    allocated_xusd: SignedInt
    holds: bool
    entries: list[LineOut]
    pending: list[LineOut]

    @classmethod
    def of(cls, proof: LotProof) -> "GrantProofOut":
        """Return the wire form of a lot's proof."""
        lot = proof.lot
        return cls(
            grant_id=str(lot.pk),
            status=lot.status,
            kind=lot.kind,
            amount_xusd=lot.amount_xusd,
            consumed_xusd=lot.consumed_xusd,
            reserved_xusd=lot.reserved_xusd,
            remaining_xusd=lot.remaining_xusd,
            expected_ledger_xusd=proof.expected_ledger_xusd,
            ledger_xusd=proof.ledger_xusd,
            allocated_xusd=proof.allocated_xusd,
            holds=proof.holds,
            entries=[LineOut.of(line) for line in proof.entries],
            pending=[LineOut.of(line) for line in proof.pending],
        )


class BalanceProofOut(WireModel):
    """A user's balance and everything that it rests on; whether all of it agrees."""

    billing_account_id: str
    billing_user_id: str
    as_of: Instant
    available_xusd: SignedInt
    outstanding_xusd: SignedInt
    counted_xusd: SignedInt
    ledger_xusd: SignedInt
    holds: bool
    grants: list[GrantProofOut]

    @classmethod
    def of(cls, proof: BalanceProof) -> "BalanceProofOut":
        """Return the wire form of a balance's proof."""
        return cls(
            billing_account_id=str(proof.wallet.account_id),
            billing_user_id=str(proof.wallet.user_id),
            as_of=proof.wallet.as_of,
            available_xusd=proof.wallet.available_xusd,
            outstanding_xusd=proof.wallet.outstanding_xusd,
            counted_xusd=proof.counted_xusd,
            ledger_xusd=proof.ledger_xusd,
            holds=proof.holds,
            grants=[GrantProofOut.of(each) for each in proof.lots],
        )


class Consume(RuntimeView):
    """`/mgt/v1/wallet/consume`, for a bound user."""

    @operation(
        "consume_wallet",
        body=ConsumeIn,
        answer=ConsumptionOut,
        statuses=(201, 200),
        scope=Scope.RUNTIME,
    )
    def post(self, call: Call, body: ConsumeIn) -> Answer:
        """Spend an amount of the bound user's grants, once per idempotency key."""
        done, created = consume(
            user=call.user,
            amount_xusd=body.amount_xusd,
            key=call.idempotency_key,
            at=call.at,
            by=call.by,
        )
        return Answer(ConsumptionOut.of(done), status=201 if created else 200)


class Adjustments(ServiceView):
    """`/mgt/v1/wallet/adjustments`."""

    @operation(
        "create_wallet_adjustment",
        body=AdjustIn,
        answer=PostingOut,
        statuses=(201, 200),
        of_account=True,
    )
    def post(self, call: Call, body: AdjustIn) -> Answer:
        """Give a user an amount, or take it, once per idempotency key."""
        posting, created = adjust_wallet(
            user=user_in_realm(call, body.billing_user_id),
            amount_xusd=body.amount_xusd,
            key=call.idempotency_key,
            at=call.at,
            by=replace(call.by, reason=body.reason) if body.reason else call.by,
        )
        return Answer(PostingOut.of(posting), status=201 if created else 200)


class AdjustmentReversal(ServiceView):
    """`/mgt/v1/billing-users/{billing_user_id}/adjustments/{posting_id}/reverse`."""

    @operation("reverse_wallet_adjustment", body=ReverseIn, answer=PostingOut)
    def post(
        self, call: Call, billing_user_id: str, posting_id: str, body: ReverseIn
    ) -> Answer:
        """Undo an adjustment of a user, and put its grants right."""
        user = user_in_realm(call, billing_user_id)
        undone = reverse_adjustment(
            posting=posting_of(user=user, posting_id=posting_id),
            at=call.at,
            by=replace(call.by, reason=body.reason) if body.reason else call.by,
        )
        return Answer(PostingOut.of(undone))


class UserBalanceProof(ServiceView):
    """`/mgt/v1/billing-users/{billing_user_id}/balance-proof`."""

    @operation("get_billing_user_balance_proof", answer=BalanceProofOut)
    def get(self, call: Call, billing_user_id: str) -> Answer:
        """Read a user's balance, its grants, and every entry they rest on."""
        user = user_in_realm(call, billing_user_id)
        return Answer(BalanceProofOut.of(prove_balance(user=user, at=call.at)))
