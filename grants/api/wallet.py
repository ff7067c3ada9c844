"""Wallets on the wire: what users may spend, and of which grants."""

from typing import Literal, cast

from billing.api.context import RuntimeView, TokenRuntimeView, user_in_realm
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.views import ServiceView
from config.api.wire import Instant, QueryFlag, SignedInt, WireModel
from config.tenancy.models import Scope
from grants.models import GrantLot, GrantSource, LotStatus
from grants.selectors.wallets import Wallet, wallet_of
from grants.services.refresh import refresh_user

USD_PER_XUSD = "0.000001"
READ_SCOPE = "billing:read"

Policy = Literal["never", "apply_to_outstanding"]
Standing = Literal["active", "expired", "pending_close", "canceled"]
Origin = Literal["subscription", "bonus", "topup", "adjustment", "other"]

_ORIGINS: dict[str, Origin] = {
    GrantSource.SUBSCRIPTION: "subscription",
    GrantSource.SUBSCRIPTION_ITEM: "subscription",
    GrantSource.PLAN: "subscription",
    GrantSource.ONE_TIME: "topup",
    GrantSource.BILLING_PAYMENT: "topup",
    GrantSource.WALLET_CASH: "topup",
    GrantSource.CAMPAIGN: "bonus",
    GrantSource.CATALOG: "bonus",
    GrantSource.MANUAL: "adjustment",
}


class Amounts(WireModel):
    """An amount, in 10^-6 USD, as decimal digits."""

    xusd: SignedInt


class Conversion(WireModel):
    """What an amount is worth in US dollars."""

    as_of: Instant
    usd_per_xusd: str


class WalletQuery(WireModel):
    """What a reader of wallets may ask for.

    `refresh_grants` first binds the user to what plans bring, and issues what is due,
    also of lazy programs.
    """

    refresh_grants: QueryFlag | None = None


class GrantAmounts(WireModel):
    """What a grant was given, and what became of it.

    `consumed` is what stands in the ledger, `reserved` what leases hold and what was
    used and does not stand there yet.
    """

    issued: Amounts
    remaining: Amounts
    available: Amounts
    consumed: Amounts
    reserved: Amounts

    @staticmethod
    def amounts_of(lot: GrantLot) -> dict[str, Amounts]:
        """Return the amounts of a lot by their names."""
        pending = lot.consumed_xusd - lot.settled_xusd
        return {
            "issued": Amounts(xusd=lot.amount_xusd),
            "remaining": Amounts(xusd=lot.remaining_xusd),
            "available": Amounts(xusd=lot.available_xusd),
            "consumed": Amounts(xusd=lot.settled_xusd),
            "reserved": Amounts(xusd=lot.reserved_xusd + pending),
        }


class GrantOut(GrantAmounts):
    """A grant as its user sees it."""

    grant_id: str
    grant_program_code: str
    name: str
    origin: Origin
    on_ledger: bool
    outstanding_application_policy: Policy
    priority: int
    status: Standing
    window_start: Instant
    window_end: Instant | None

    @classmethod
    def of(cls, lot: GrantLot, wallet: Wallet) -> "GrantOut":
        """Return the wire form of a lot of a wallet."""
        ended = lot.window_end is not None and lot.window_end <= wallet.as_of
        status: Standing = "expired" if ended else "active"
        if lot.status == LotStatus.PENDING_CLOSE:
            status = "pending_close"
        return cls(
            grant_id=str(lot.pk),
            grant_program_code=lot.program.program_code,
            name=str(lot.program),
            origin=_ORIGINS[lot.source_kind],
            on_ledger=lot.on_ledger,
            outstanding_application_policy=cast("Policy", lot.outstanding_policy),
            priority=lot.priority,
            status=status,
            window_start=lot.window_start,
            window_end=lot.window_end,
            **cls.amounts_of(lot),
        )


class WalletOut(WireModel):
    """A user's wallet as the wire shows it, the sums behind it, and its grants.

    Suspended grants are left out: they pay for nothing until they are resumed.
    """

    billing_account_id: str
    billing_user_id: str
    as_of: Instant
    available_balance: Amounts
    outstanding_balance: Amounts
    granted: Amounts
    spent: Amounts
    reserved: Amounts
    conversion: Conversion
    grants: list[GrantOut]

    @classmethod
    def of(cls, wallet: Wallet) -> "WalletOut":
        """Return the wire form of a wallet."""
        return cls(
            billing_account_id=str(wallet.account_id),
            billing_user_id=str(wallet.user_id),
            as_of=wallet.as_of,
            available_balance=Amounts(xusd=wallet.available_xusd),
            outstanding_balance=Amounts(xusd=wallet.outstanding_xusd),
            granted=Amounts(xusd=wallet.granted_xusd),
            spent=Amounts(xusd=wallet.spent_xusd),
            reserved=Amounts(xusd=wallet.reserved_xusd),
            conversion=Conversion(as_of=wallet.as_of, usd_per_xusd=USD_PER_XUSD),
            grants=[
                GrantOut.of(lot, wallet)
                for lot in wallet.lots
                if lot.status != LotStatus.SUSPENDED
            ],
        )


class AdminGrantOut(GrantAmounts):
    """A grant of a user as its administrators see it."""

    grant_id: str
    grant_program_code: str
    kind: str
    status: str
    on_ledger: bool
    outstanding_application_policy: Policy
    priority: int
    window_start: Instant
    window_end: Instant | None

    @classmethod
    def of(cls, lot: GrantLot) -> "AdminGrantOut":
        """Return the wire form of a lot."""
        return cls(
            grant_id=str(lot.pk),
            grant_program_code=lot.program.program_code,
            kind=lot.kind,
            status=lot.status,
            on_ledger=lot.on_ledger,
            outstanding_application_policy=cast("Policy", lot.outstanding_policy),
            priority=lot.priority,
            window_start=lot.window_start,
            window_end=lot.window_end,
            **cls.amounts_of(lot),
        )


class UserWalletOut(WireModel):
    """A user's wallet as the administrators of the account see it."""

    billing_user_id: str
    billing_account_id: str
    as_of: Instant
    available_balance: Amounts
    outstanding_balance: Amounts
    ledger_balance: Amounts
    grant_total: Amounts
    grant_remaining: Amounts
    conversion: Conversion
    grants: list[AdminGrantOut]

    @classmethod
    def of(cls, wallet: Wallet) -> "UserWalletOut":
        """Return the wire form of a wallet."""
        left = sum(lot.remaining_xusd for lot in wallet.lots)
        return cls(
            billing_user_id=str(wallet.user_id),
            billing_account_id=str(wallet.account_id),
            as_of=wallet.as_of,
            available_balance=Amounts(xusd=wallet.available_xusd),
            outstanding_balance=Amounts(xusd=wallet.outstanding_xusd),
            ledger_balance=Amounts(xusd=wallet.ledger_xusd),
            grant_total=Amounts(xusd=wallet.granted_xusd),
            grant_remaining=Amounts(xusd=left),
            conversion=Conversion(as_of=wallet.as_of, usd_per_xusd=USD_PER_XUSD),
            grants=[AdminGrantOut.of(lot) for lot in wallet.lots],
        )


class RuntimeWallet(RuntimeView):
    """`/mgt/v1/wallet/balance`, for a bound user."""

    @operation(
        "get_credit_balance", query=WalletQuery, answer=WalletOut, scope=Scope.RUNTIME
    )
    def get(self, call: Call, query: WalletQuery) -> Answer:
        """Read the bound user's balance; changes nothing unless told to refresh."""
        if query.refresh_grants:
            refresh_user(user=call.user, at=call.at, by=call.by)
        return Answer(WalletOut.of(wallet_of(user=call.user, at=call.at)))


class TokenWallet(TokenRuntimeView):
    """`/api/v1/wallet/balance`, for the token's user."""

    @operation("get_credit_balance", answer=WalletOut, scope=READ_SCOPE)
    def get(self, call: Call) -> Answer:
        """Read one's own balance; changes nothing."""
        return Answer(WalletOut.of(wallet_of(user=call.user, at=call.at)))


class UserWallet(ServiceView):
    """`/mgt/v1/billing-users/{billing_user_id}/wallet`."""

    @operation("get_billing_user_wallet", query=WalletQuery, answer=UserWalletOut)
    def get(self, call: Call, billing_user_id: str, query: WalletQuery) -> Answer:
        """Read a user's wallet, with every open grant; refreshed where told to."""
        user = user_in_realm(call, billing_user_id)
        if query.refresh_grants:
            refresh_user(user=user, at=call.at, by=call.by)
        return Answer(UserWalletOut.of(wallet_of(user=user, at=call.at)))
