"""The screens of what is given."""

from grants.admin import balances, budgets, entries

__all__ = ["balances", "budgets", "entries"]
