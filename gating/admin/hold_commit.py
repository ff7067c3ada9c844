"""Committing a hold in its caller's place: what was used, and what that comes to."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.utils.html import format_html

from catalog.admin.words import money, units
from catalog.models import Meter
from config.admin.bases import CommandForm, Preview, Table
from config.kernel.audit import AuditContext
from config.kernel.ids import new_id
from config.kernel.money import INT64_MAX
from gating.admin.words import reasons_text
from gating.models import ApplicationStatus, Lease, Rating
from gating.selectors.features import gated_feature
from gating.services.holds import commit_hold
from gating.services.usage import MeterUse
from grants.selectors.wallets import wallet_of

_METER = "meter_"


class CommitHoldForm(CommandForm):
    """What was used: one quantity, and one for each meter where there are several."""

    quantity_minor = forms.IntegerField(
        label="Quantity used", min_value=1, max_value=INT64_MAX
    )
    shown_by = {"meters": "quantity_minor"}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        lease: Any = self.subject
        unit, held = lease.counted_unit, lease.reserved_minor
        self.fields["quantity_minor"].help_text = (
            f"A whole number, in the unit of the policy: {unit}. Counts against the "
            f"quotas; {units(held, unit)} held."
        )
        self.meters = _meters(lease, at=self.at)
        for number, meter in enumerate(self.meters):
            self.fields[f"{_METER}{number}"] = forms.IntegerField(
                label=f"Of that on {meter.meter_code}",
                required=False,
                min_value=0,
                max_value=INT64_MAX,
                help_text=f"In {units(2, meter.unit).removeprefix('2 ')}. Leave all of "
                "these empty to price the quantity above on the feature's own meter.",
            )

    def uses(self) -> Sequence[MeterUse]:
        """Return what was used on each meter that was filled in."""
        found = (
            (meter, self.cleaned_data.get(f"{_METER}{number}"))
            for number, meter in enumerate(self.meters)
        )
        return [
            MeterUse(meter.meter_code, quantity)
            for meter, quantity in found
            if quantity is not None
        ]

    def perform(self, by: AuditContext, *, at: datetime) -> Rating:
        """Commit the hold; return its rating."""
        lease: Lease = self.subject
        done = commit_hold(
            lease=lease,
            quantity_minor=self.cleaned_data["quantity_minor"],
            meters=self.uses(),
            idempotency_key=f"staff.{new_id()}",
            at=at,
            by=by,
        )
        ratings = Rating.objects.in_realm(lease.realm_id)
        return ratings.get(pk=done.data["commit_id"], rated_at=at)


def _meters(lease: Lease, *, at: datetime) -> Sequence[Meter]:
    """Return the feature's activity meters where there are several, else none."""
    feature = gated_feature(
        account=lease.account, feature_code=lease.feature_code, at=at
    )
    meters = feature.activity if feature else ()
    return meters if len(meters) > 1 else ()


def commit_preview(form: CommitHoldForm, by: AuditContext, *, at: datetime) -> Preview:
    """Return what is charged and what is given back: commit it, to be rolled back."""
    before = _wallet(form.subject, at=at)
    rating = form.perform(by, at=at)
    after = _wallet(form.subject, at=at)
    shown: list[Any] = [
        _held_table(form.subject, rating),
        _price_table(rating),
        Table(
            "The user's balance",
            ("", "Before", "After"),
            [
                (name, money(had), money(has))
                for name, had, has in zip(
                    ("Available", "Held", "Spent"), before, after, strict=True
                )
            ],
        ),
    ]
    shown[:0] = _more_than_held(form.subject, rating)
    if rating.application_status == ApplicationStatus.QUARANTINED:
        shown.insert(
            0,
            format_html(
                '<p class="mb-4"><strong>Nothing will be counted or charged:</strong> '
                "{}. The usage is kept aside, and the hold ends.</p>",
                reasons_text(rating.reason_codes),
            ),
        )
    return shown


def _more_than_held(lease: Any, rating: Rating) -> list[Any]:
    """Return the warning that more was used than was held, where that is so."""
    held, used = lease.reserved_minor, rating.canonical_quantity_minor
    if not 0 < held < used:
        return []
    return [
        format_html(
            '<p class="mb-4 plangate-check-failed"><strong>More than was held:'
            "</strong> {}, and the hold is of {}. Look twice at the quantity.</p>",
            units(used, lease.counted_unit),
            units(held, lease.counted_unit),
        )
    ]


def _wallet(lease: Lease, *, at: datetime) -> tuple[int, int, int]:
    wallet = wallet_of(user=lease.user, at=at)
    return wallet.available_xusd, wallet.reserved_xusd, wallet.spent_xusd


def _held_table(lease: Any, rating: Rating) -> Table:
    unit, counted = lease.counted_unit, rating.applied_quantity_minor
    held, held_xusd = lease.reserved_minor, lease.reserved_xusd
    paid = rating.funded_xusd
    return Table(
        "What becomes of the hold",
        ("", "Held now", "Counted or paid", "Given back"),
        [
            (
                "Quantity",
                units(held, unit),
                units(counted, unit),
                units(max(0, held - counted), unit),
            ),
            ("Money", money(held_xusd), money(paid), money(max(0, held_xusd - paid))),
        ],
    )


def _price_table(rating: Rating) -> Table:
    owed = rating.applied_amount_xusd - rating.funded_xusd
    rows: list[tuple[str, Any]] = [
        ("Price of all that was used", money(rating.canonical_amount_xusd)),
        ("Charged", money(rating.applied_amount_xusd)),
        ("Paid by the balance", money(rating.funded_xusd)),
        ("Owed", money(owed)),
        ("Applied", rating.get_application_status_display()),
    ]
    if rating.reason_codes:
        rows.append(("Because", reasons_text(rating.reason_codes)))
    return Table("What is charged", ("", ""), rows)
