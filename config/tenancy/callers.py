"""Who is calling, once it has proved it."""

from dataclasses import dataclass, field
from typing import Literal

from config.kernel.errors import Forbidden
from config.tenancy.models import Realm, Scope


@dataclass(frozen=True, slots=True)
class Bindings:
    """The account and user a request names, as its signed headers or token say.

    None where absent. `principal_id` and `user_id` are the integrator's own ids;
    the other two are ours, and are never trusted without the server-side mapping.
    """

    principal_id: str | None = None
    user_id: str | None = None
    billing_account_id: str | None = None
    billing_user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller of the API.

    `identifier` is the service key id or the token's subject; `scopes` what it may
    do; `allowed_accounts` the billing account ids it is limited to (empty: any);
    `version`, where not None, must still be that of all credentials.
    """

    kind: Literal["service_key", "token"]
    identifier: str
    realm: Realm
    scopes: frozenset[str]
    bindings: Bindings
    allowed_accounts: frozenset[str] = field(default_factory=frozenset)
    nonce: str | None = None
    version: int | None = None

    is_authenticated = True
    """Read by the framework."""

    def require(self, scope: str) -> None:
        """Refuse (`Forbidden`, AUTH.INSUFFICIENT_SCOPE) a caller without `scope`.

        A key that manages the realm may do everything a lesser key may.
        """
        if scope in self.scopes or Scope.REALM_ADMIN in self.scopes:
            return
        raise Forbidden(
            f"This call needs the scope {scope}.",
            meta={"required_scope": scope},
        )

    def may_use_account(self, account_id: object) -> bool:
        """Return whether the key is not limited to other accounts."""
        return not self.allowed_accounts or str(account_id) in self.allowed_accounts
