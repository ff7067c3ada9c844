"""Where a user's money view comes from: an app above, which registers its reader."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

WalletReader = Callable[..., dict[str, Any]]
_readers: list[WalletReader] = []


def register_wallet_reader(reader: WalletReader) -> None:
    """Let `reader(user_id=, at=)` answer `wallet_balance`; for `AppConfig.ready()`."""
    _readers[:] = [reader]


def wallet_balance(*, user_id: UUID, at: datetime) -> dict[str, Any] | None:
    """Return a user's `{available_balance, outstanding_balance}`, None if unknown."""
    return _readers[0](user_id=user_id, at=at) if _readers else None
