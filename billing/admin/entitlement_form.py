"""The form of a plan's entitlements: boxes for all, families, features."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from django import forms

from billing.models import Effect, Plan, PlanEntitlement
from billing.services.entitlements import (
    Target,
    allow_everything,
    append_entitlements,
    remove_entitlement,
    replace_entitlements,
)
from catalog.models import Feature, FeatureFamily
from catalog.services.rows import locked
from config.admin.bases import CommandForm
from config.admin.versions import ChangedMeanwhile
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid


def _box_per(model: Any, label: str) -> Any:
    # A list to choose several from loses them all by one click without a key held.
    return forms.ModelMultipleChoiceField(
        model.objects.none(),
        label=label,
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )


class EntitlementForm(CommandForm):
    """What a plan allows and denies: the boxes that are ticked, and nothing else.

    `seen` tells the rules that the page was made from: it is refused where somebody
    else changed them since.
    """

    allow_all = forms.BooleanField(
        label="Allow everything",
        required=False,
        help_text="Every feature that the plan does not deny below, now and later.",
    )
    allow_families = _box_per(FeatureFamily, "Allow families")
    allow_features = _box_per(Feature, "Allow features")
    deny_families = _box_per(FeatureFamily, "Deny families")
    deny_features = _box_per(Feature, "Deny features")
    seen = forms.CharField(required=False, widget=forms.HiddenInput)
    fieldsets = (
        (None, {"fields": ("allow_all",)}),
        ("Allow", {"fields": ("allow_families", "allow_features")}),
        ("Deny", {"fields": ("deny_families", "deny_features")}),
    )
    _FIELDS: ClassVar[dict[str, tuple[str, str]]] = {
        "allow_families": ("feature_family", Effect.ALLOW),
        "allow_features": ("feature", Effect.ALLOW),
        "deny_families": ("feature_family", Effect.DENY),
        "deny_features": ("feature", Effect.DENY),
    }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        realm = self.subject.realm_id
        rules = list(self.subject.entitlements.order_by("pk"))
        self.initial["allow_all"] = any(map(_allows_all, rules))
        self.initial["seen"] = _mark(rules)
        for name, (target, effect) in self._FIELDS.items():
            field: Any = self.fields[name]
            model = Feature if target == "feature" else FeatureFamily
            code = f"{target}_code"
            field.queryset = model.objects.in_realm(realm).order_by(code)
            if not field.queryset.exists():
                field.help_text = "The realm has none yet."
            self.initial[name] = [
                getattr(rule, f"{target}_id")
                for rule in rules
                if rule.effect == effect and getattr(rule, f"{target}_id")
            ]

    def targets(self) -> list[Target]:
        """Return the chosen rules. Refuses one both allowed and denied (`Invalid`)."""
        chosen: dict[tuple[str, str], str] = {}
        for name, (target, effect) in self._FIELDS.items():
            for row in self.cleaned_data[name]:
                key = (f"{target}_code", getattr(row, f"{target}_code"))
                if key in chosen:
                    raise Invalid(f"{key[1]} is both allowed and denied.", field=name)
                chosen[key] = effect
        return [
            Target(effect, **{kind: code}) for (kind, code), effect in chosen.items()
        ]

    def perform(self, *, at: datetime, by: AuditContext) -> None:
        """Make the chosen rules the plan's only ones; rules that stay are untouched.

        Refuses (`ChangedMeanwhile`) rules that are no longer as they were shown, and
        what `targets` refuses.
        """
        plan = locked(Plan.objects.all(), self.subject)
        rules = list(
            plan.entitlements.select_related(
                "plan", "feature", "feature_family"
            ).order_by("pk")
        )
        if self.cleaned_data["seen"] not in {"", _mark(rules)}:
            raise ChangedMeanwhile(
                f"Somebody else changed the entitlements of {plan} after you opened "
                "the page. Nothing of yours is saved. Open the page again to see them "
                "as they are now."
            )
        targets = self.targets()
        if not self.cleaned_data["allow_all"]:
            replace_entitlements(plan=plan, targets=targets, at=at, by=by)
            return
        wanted = {(item.feature_family_code, item.feature_code) for item in targets}
        for rule in rules:
            if not _allows_all(rule) and _codes(rule) not in wanted:
                remove_entitlement(entitlement=rule, at=at, by=by)
        append_entitlements(plan=plan, targets=targets, at=at, by=by)
        allow_everything(plan=plan, at=at, by=by)


def _allows_all(rule: PlanEntitlement) -> bool:
    named = rule.feature_id or rule.feature_family_id
    return named is None and rule.effect == Effect.ALLOW


def _codes(rule: PlanEntitlement) -> tuple[str | None, str | None]:
    family, feature = rule.feature_family, rule.feature
    return (
        family.feature_family_code if family else None,
        feature.feature_code if feature else None,
    )


def _mark(rules: Sequence[PlanEntitlement]) -> str:
    """Return a mark of a plan's rules, which another set of rules does not have."""
    told = [f"{rule.pk} {rule.effect}" for rule in rules]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()
