"""`/wallet/balance`: what the bound user may spend."""

from billing.api.context import RuntimeView, TokenRuntimeView
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.wire import Instant, JsonObject, SignedInt, WireModel
from config.tenancy.models import Scope
from grants.selectors.wallets import Wallet, wallet_of

USD_PER_XUSD = "0.000001"
READ_SCOPE = "billing:read"


class Amounts(WireModel):
    """An amount, in 10^-6 USD, as decimal digits."""

    xusd: SignedInt


class Conversion(WireModel):
    """What an amount is worth in US dollars."""

    as_of: Instant
    usd_per_xusd: str


class WalletOut(WireModel):
    """A user's wallet as the wire shows it, and the three sums behind it."""

    billing_account_id: str
    billing_user_id: str
    as_of: Instant
    available_balance: Amounts
    outstanding_balance: Amounts
    granted: Amounts
    spent: Amounts
    reserved: Amounts
    conversion: Conversion
    grants: list[JsonObject]

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
            grants=[],
        )


class RuntimeWallet(RuntimeView):
    """`/mgt/v1/wallet/balance`, for a bound user."""

    @operation("get_credit_balance", answer=WalletOut, scope=Scope.RUNTIME)
    def get(self, call: Call) -> Answer:
        """Read the bound user's balance; changes nothing."""
        return Answer(WalletOut.of(wallet_of(user=call.user, at=call.at)))


class TokenWallet(TokenRuntimeView):
    """`/api/v1/wallet/balance`, for the token's user."""

    @operation("get_credit_balance", answer=WalletOut, scope=READ_SCOPE)
    def get(self, call: Call) -> Answer:
        """Read one's own balance; changes nothing."""
        return Answer(WalletOut.of(wallet_of(user=call.user, at=call.at)))
