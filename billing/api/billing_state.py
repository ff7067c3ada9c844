"""What is effective for an account or user, at one instant."""

from datetime import datetime
from typing import Any

from billing.api.assignments import wire_source
from billing.api.context import TokenRuntimeView, account_in_realm
from billing.models import BillingAccount, BillingUser
from billing.policies.effective import AssignedPlan, bundle_key_of
from billing.selectors.contracts import ContractInForce
from billing.selectors.effective import BillingState, billing_state
from billing.selectors.users import user_of_account
from billing.selectors.wallets import wallet_balance
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.views import ServiceView
from config.api.wire import Instant, WireModel


class OwnStateQuery(WireModel):
    """At which instant, as known when.

    `as_of` is valid time and `known_at` the time by which it had been recorded; both
    default to now.
    """

    as_of: Instant | None = None
    known_at: Instant | None = None


class StateQuery(OwnStateQuery):
    """Whose state, at which instant, as known when; of the account, or of one user."""

    user_id: str | None = None
    billing_user_id: str | None = None


def _plan(plan: AssignedPlan) -> dict[str, Any]:
    item = plan.subscription_item_id
    return {
        "plan_id": str(plan.plan_id),
        "plan_code": plan.plan_code,
        "name": plan.plan_name,
        "kind": plan.kind,
        "priority": plan.priority,
        "assignment_id": str(plan.assignment_id),
        "assignment_scope": plan.scope,
        "window_start": plan.window_start,
        "window_end": plan.window_end,
        "gate_bundle_key": bundle_key_of(plan),
        "source": {
            "kind": wire_source(plan.source_kind),
            "kind_exact": plan.source_kind,
            "source_ref": plan.source_ref,
            "subscription_item_id": str(item) if item else None,
        },
    }


def _contract(contract: ContractInForce | None) -> dict[str, Any] | None:
    if contract is None:
        return None
    return {
        "contract_id": str(contract.contract_id),
        "name": contract.name,
        "effective_at": contract.window_start,
        "window_end": contract.window_end,
    }


def _setting(setting: Any) -> dict[str, Any]:
    source: dict[str, Any] = {"kind": setting.source}
    if setting.plan is not None:
        source["assignment_id"] = str(setting.plan.assignment_id)
        source["plan_id"] = str(setting.plan.plan_id)
        source["plan_code"] = setting.plan.plan_code
    return source


def state_document(state: BillingState, at: datetime) -> dict[str, Any]:
    """Return the wire form of a billing state; the wallet, as at `at`, for users."""
    user = state.user
    base = state.plans.base
    return {
        "as_of": state.as_of,
        "known_at": state.known_at,
        "view_scope": "user" if user else "account",
        "billing_account_id": str(state.account.pk),
        "billing_user_id": str(user.pk) if user else None,
        "user_id": user.business_user_id if user else None,
        "billing_mode": state.billing_mode.value,
        "billing_mode_source": _setting(state.billing_mode),
        "issue_anchor": state.issue_anchor.value,
        "issue_anchor_source": _setting(state.issue_anchor),
        "plans": {
            "base": _plan(base) if base else None,
            "add_ons": [_plan(plan) for plan in state.plans.add_ons],
            "promotions": [_plan(plan) for plan in state.plans.promotions],
        },
        "contract": _contract(state.contract),
        "subscriptions": [],
        "wallet_balance": wallet_balance(user_id=user.pk, at=at) if user else None,
        "next_change_at": state.next_change_at,
    }


def _answer(
    call: Call, account: BillingAccount, user: BillingUser | None, query: OwnStateQuery
) -> Answer:
    state = billing_state(
        account=account,
        user=user,
        as_of=query.as_of,
        known_at=query.known_at,
        at=call.at,
    )
    return Answer(state_document(state, call.at))


class AccountBillingState(ServiceView):
    """`/billing-accounts/{billing_account_id}/billing-state`."""

    @operation("get_billing_account_billing_state", query=StateQuery, answer=dict)
    def get(self, call: Call, billing_account_id: str, query: StateQuery) -> Answer:
        """Read the effective plans and settings of an account, or one of its users."""
        account = account_in_realm(call, billing_account_id)
        user = user_of_account(
            account, user_id=query.user_id, billing_user_id=query.billing_user_id
        )
        return _answer(call, account, user, query)


class OwnBillingState(TokenRuntimeView):
    """`/api/v1/billing-state`."""

    @operation(
        "get_current_billing_state",
        query=OwnStateQuery,
        answer=dict,
        scope="billing:read",
        guard="nonce",
    )
    def get(self, call: Call, query: OwnStateQuery) -> Answer:
        """Read the token's user's effective plans and settings."""
        return _answer(call, call.account, call.user, query)
