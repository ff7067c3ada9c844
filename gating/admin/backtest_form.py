"""The form of a back-test: which period, and what of the bundle's policies to draft."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminBigIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldBooleanSwitchWidget,
)

from billing.models import BillingAccount
from config.admin.bases import UtcDateTimeField
from config.admin.widgets import dress
from gating.admin.words import feature_text, limit_text
from gating.models import EnforcementMode, GatePolicy, GatePolicyBundle, PolicyKind
from gating.selectors.recorded import Span
from gating.services.drafts import BundleDraft, PolicyDraft, draft_of_bundle
from gating.simulation import Draft

_PERIOD = timedelta(days=7)
_MODES = [
    ("replay", "Carry the draft's own use on from the start of the period"),
    ("independent", "Judge each decision on the numbers it saw"),
]


@dataclass(frozen=True, slots=True)
class PolicyLine:
    """One policy in the form: what it is called and allows, and its fields."""

    policy: GatePolicy
    feature: str
    allows: str
    limit: forms.BoundField
    window: forms.BoundField
    enforcement: forms.BoundField | None
    left_out: forms.BoundField

    @property
    def unit(self) -> str:
        """Return what the limit counts."""
        return {"rate": "calls", "seats": "seats"}.get(
            self.policy.kind, f"in the unit {self.policy.unit}"
        )


class BackTestForm(forms.Form):
    """The period, and each policy's limit, window and enforcement under the draft."""

    start = UtcDateTimeField(label="From", help_text="Date and time in UTC.")
    end = UtcDateTimeField(label="To", help_text="Up to, and not including (UTC).")
    principal = forms.CharField(
        label="Account",
        required=False,
        max_length=255,
        help_text="The account's principal. Empty: all accounts.",
    )
    feature_code = forms.CharField(
        label="Feature",
        required=False,
        max_length=128,
        help_text="The feature's code. Empty: all features.",
    )
    mode = forms.ChoiceField(
        label="How",
        choices=_MODES,
        help_text="Carried on, a lower limit denies what no longer fits, and not all.",
    )
    replaced_by = forms.ModelChoiceField(
        GatePolicyBundle.objects.none(),
        label="Compare with",
        required=False,
        empty_label="This bundle, as changed below",
        help_text="Another bundle in the place of this one, as it stands today.",
    )

    def __init__(
        self, bundle: GatePolicyBundle, *args: Any, at: datetime, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.bundle, self.at = bundle, at
        self.initial.update(start=(at - _PERIOD).replace(second=0), end=at)
        others = GatePolicyBundle.objects.in_realm(bundle.realm_id)
        self.fields["replaced_by"].queryset = others.exclude(pk=bundle.pk).order_by(  # type: ignore[attr-defined]
            "bundle_key"
        )
        policies = GatePolicy.objects.filter(realm=bundle.realm_id, bundle=bundle)
        self.policies = list(policies.order_by("feature_code", "kind", "name"))
        for number, policy in enumerate(self.policies):
            self._add(f"p{number}", policy)
        self.shown_by = {
            f"p{number}.{name}": f"p{number}_{field}"
            for number in range(len(self.policies))
            for name, field in (
                ("limit_minor", "limit"),
                ("limit_count", "limit"),
                ("window_sec", "window"),
                ("enforcement_mode", "enforcement"),
            )
        }
        dress(self)

    def _add(self, name: str, policy: GatePolicy) -> None:
        label = policy.name
        self.fields[f"{name}_limit"] = forms.IntegerField(
            label=f"Limit of {label}",
            required=policy.kind == PolicyKind.RATE,
            min_value=0,
            initial=policy.limit,
            widget=UnfoldAdminBigIntegerFieldWidget(),
        )
        self.fields[f"{name}_window"] = forms.IntegerField(
            label=f"Window of {label} in seconds",
            min_value=0,
            initial=policy.window_sec,
            widget=UnfoldAdminBigIntegerFieldWidget(),
        )
        if policy.kind == PolicyKind.QUOTA:
            self.fields[f"{name}_enforcement"] = forms.ChoiceField(
                label=f"Enforcement of {label}",
                choices=[("reserve", "Holds"), ("optimistic", "Counts at commit")],
                initial=policy.enforcement_mode or EnforcementMode.RESERVE,
                widget=UnfoldAdminSelectWidget(),
            )
        self.fields[f"{name}_left_out"] = forms.BooleanField(
            label=f"Leave {label} out",
            required=False,
            widget=UnfoldBooleanSwitchWidget(),
        )

    def lines(self) -> list[PolicyLine]:
        """Return the policies, each with its fields."""
        return [
            PolicyLine(
                policy=policy,
                feature=feature_text(policy.feature_code),
                allows=limit_text(policy),
                limit=self[f"p{number}_limit"],
                window=self[f"p{number}_window"],
                enforcement=self[f"p{number}_enforcement"]
                if policy.kind == PolicyKind.QUOTA
                else None,
                left_out=self[f"p{number}_left_out"],
            )
            for number, policy in enumerate(self.policies)
        ]

    def asked(self) -> list[forms.BoundField]:
        """Return the fields of the period."""
        names = ("start", "end", "principal", "feature_code", "mode", "replaced_by")
        return [self[name] for name in names]

    def clean_principal(self) -> BillingAccount | None:
        """Return the account. Refuses a principal that the realm does not have."""
        principal = self.cleaned_data["principal"].strip()
        if not principal:
            return None
        accounts = BillingAccount.objects.in_realm(self.bundle.realm_id)
        account = accounts.filter(billing_principal_id=principal).first()
        if account is None:
            raise forms.ValidationError(f"No account has the principal {principal}.")
        return account

    def span(self) -> Span:
        """Return the decisions asked for, from the valid form."""
        answers = self.cleaned_data
        account: BillingAccount | None = answers["principal"]
        return Span(
            realm_id=self.bundle.realm_id,
            start=answers["start"],
            end=answers["end"],
            account_id=account.pk if account else None,
            feature_code=answers["feature_code"].strip().lower() or None,
        )

    def draft(self) -> Draft:
        """Return the draft, from the valid form. Refuses what saving it would."""
        replaced_by = self.cleaned_data["replaced_by"]
        if replaced_by is not None:
            drafted = BundleDraft(replaced_by=replaced_by)
        else:
            drafted = BundleDraft(self._changes(), self._left_out())
        return draft_of_bundle(self.bundle, drafted, at=self.at)

    def _left_out(self) -> list[Any]:
        answers = self.cleaned_data
        return [
            policy.pk
            for number, policy in enumerate(self.policies)
            if answers[f"p{number}_left_out"]
        ]

    def _changes(self) -> list[PolicyDraft]:
        found = []
        for number, policy in enumerate(self.policies):
            name, answers = f"p{number}", self.cleaned_data
            quota = policy.kind == PolicyKind.QUOTA
            values: Any = {
                "limit_minor" if quota else "limit_count": answers[f"{name}_limit"],
                "window_sec": answers[f"{name}_window"],
            }
            if quota:
                values["enforcement_mode"] = answers[f"{name}_enforcement"]
            changed = {k: v for k, v in values.items() if v != getattr(policy, k)}
            if changed and not answers[f"{name}_left_out"]:
                found.append(PolicyDraft(changed, policy.pk, name))  # type: ignore[arg-type]
        return found
