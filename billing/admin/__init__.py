"""The screens of accounts, users, plans and assignments."""

from billing.admin import (
    accounts,
    assignments,
    contracts,
    figures,
    plans,
    tokens,
    users,
)

__all__ = [
    "accounts",
    "assignments",
    "contracts",
    "figures",
    "plans",
    "tokens",
    "users",
]
