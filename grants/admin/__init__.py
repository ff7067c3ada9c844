"""The screens of what is given."""

from grants.admin import budgets, lots, postings, wallets

__all__ = ["budgets", "lots", "postings", "wallets"]
