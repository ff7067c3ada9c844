"""The screens of what is given."""

from grants.admin import balances, entries

__all__ = ["balances", "entries"]
