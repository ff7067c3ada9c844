"""The screens of accounts, users, plans and assignments."""

from billing.admin import accounts, assignments, plans, tokens, users

__all__ = ["accounts", "assignments", "plans", "tokens", "users"]
