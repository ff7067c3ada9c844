"""The form of a feature, and the filter of those that need attention."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Exists, OuterRef, Q, QuerySet
from unfold.widgets import UnfoldAdminSelect2Widget, UnfoldAdminSelectWidget

from catalog.admin.bases import CodeForm
from catalog.models import Feature, FeatureFamily, FeatureMeter, MeterPrice
from config.admin.bases import metadata_form
from config.kernel.clock import now
from config.kernel.codes import normalize_code
from config.kernel.metadata import FeatureMetadata

_PLAN_NEEDED = (
    ("", "As the family says"),
    ("True", "Yes: only users whose plan allows it"),
    ("False", "No: everyone"),
)


class FamilyChoice(forms.ModelChoiceField):  # type: ignore[type-arg]
    """A family out of a list that names the realm where several are possible."""

    def label_from_instance(self, obj: Any) -> str:
        """Return the family's code, name and realm."""
        return f"{obj.feature_family_code} · {obj.name} ({obj.realm_id})"


class FeatureForm(CodeForm, metadata_form(FeatureMetadata)):  # type: ignore[misc]
    """A feature's name and family, and whether it needs a plan."""

    code_name = "feature_code"
    normalize = normalize_code

    feature_family = FamilyChoice(
        FeatureFamily.objects.none(),
        label="Family",
        empty_label="Select value",
        widget=UnfoldAdminSelect2Widget(),
        help_text="Plans can allow or deny a whole family.",
    )
    entitlement_required = forms.NullBooleanField(
        label="A plan is needed",
        required=False,
        widget=UnfoldAdminSelectWidget(choices=_PLAN_NEEDED),
    )

    class Meta:
        model = Feature
        fields = (
            "realm", "feature_code", "feature_family", "name", "description", "unit",
            "active", "entitlement_required", "default_budget_strategy", "metadata",
        )  # fmt: skip
        labels = {
            "feature_code": "Code",
            "default_budget_strategy": "Budget check",
            "unit": "Counted in",
        }
        help_texts = {
            "feature_code": "What callers send, like chat.reply. It cannot be changed "
            "later.",
            "name": "For people.",
            "active": "Off: the gate denies every use, whatever the plan.",
            "unit": "The unit of the feature's own meter, like token. Empty: unit.",
            "default_budget_strategy": "When spending is held against budgets.",
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if "feature_family" not in self.fields:
            return
        families = FeatureFamily.objects.order_by("feature_family_code", "realm_id")
        choosable = Q(is_fallback=False)
        if self.instance.realm_id:
            families = families.in_realm(self.instance.realm_id)
            choosable |= Q(pk=self.instance.feature_family_id)
        choice: Any = self.fields["feature_family"]
        choice.queryset = families.filter(choosable)

    def clean(self) -> Any:
        """Refuse a family of another realm."""
        cleaned: Any = super().clean()
        family, realm = cleaned.get("feature_family"), cleaned.get("realm")
        if family and realm and family.realm_id != realm.pk:
            self.add_error(
                "feature_family",
                f"The family {family} belongs to the realm {family.realm_id}, not to "
                f"{realm}.",
            )
        return cleaned


def needing_setup(features: QuerySet[Feature], *, at: datetime) -> QuerySet[Feature]:
    """Return the active features that nobody placed in a family or priced.

    Of any realm, where `catalog.selectors.features` answers for one.
    """
    priced = MeterPrice.objects.effective(at).filter(
        realm=OuterRef("realm"), meter=OuterRef("meter")
    )
    unpriced = FeatureMeter.objects.filter(
        ~Exists(priced), feature=OuterRef("pk"), meter__active=True
    )
    return features.filter(
        Q(feature_family__is_fallback=True) | Exists(unpriced), active=True
    )


class SetupFilter(admin.SimpleListFilter):
    """The features that nobody placed in a family or priced."""

    title = "setup"
    parameter_name = "setup"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choice."""
        return [("open", "Needs a family or a price")]

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Return the features without a family of their own, or a price."""
        if self.value() != "open":
            return queryset
        return needing_setup(queryset, at=now())
