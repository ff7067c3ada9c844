"""The screens of what is given."""

from grants.admin import (
    assignments,
    budgets,
    campaigns,
    lots,
    plans,
    postings,
    programs,
    wallets,
)

__all__ = [
    "assignments",
    "budgets",
    "campaigns",
    "lots",
    "plans",
    "postings",
    "programs",
    "wallets",
]
