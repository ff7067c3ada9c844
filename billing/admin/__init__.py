"""The screens of accounts, users, plans and assignments."""

from billing.admin import accounts, assignments, figures, plans, tokens, users

__all__ = ["accounts", "assignments", "figures", "plans", "tokens", "users"]
