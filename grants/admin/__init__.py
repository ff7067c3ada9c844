"""The screens of what is given."""

from grants.admin import budgets

__all__ = ["budgets"]
