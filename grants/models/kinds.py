"""The words that programs, assignments and lots are told apart by."""

from django.db.models import TextChoices


class Cadence(TextChoices):
    """How often a program issues."""

    ONCE = "once", "Once"
    DAILY = "daily", "Every day"
    WEEKLY = "weekly", "Every week"
    MONTHLY = "monthly", "Every month"
    QUARTERLY = "quarterly", "Every quarter"
    YEARLY = "yearly", "Every year"
    BILLING_PERIOD = "billing_period", "Every billing period"


class IssueAnchor(TextChoices):
    """From where a program's periods are counted."""

    CALENDAR_START = "calendar_start", "The calendar"
    BINDING_START = "binding_start", "The start of the assignment"
    FIRST_USE = "first_use", "The first use"
    BILLING_PERIOD_START = "billing_period_start", "The billing period"


class WindowKind(TextChoices):
    """How long a lot can be spent."""

    PERIOD = "period", "Its period"
    FIXED = "fixed", "As long as the assignment"
    FOREVER = "forever", "Forever"
    RELATIVE_DURATION = "relative_duration", "So many seconds"


class IssuanceMode(TextChoices):
    """Who issues a program's lots."""

    EAGER = "eager", "At once, and by the sweep"
    LAZY = "lazy", "Only when asked for"
    HYBRID = "hybrid", "Both"


class OutstandingPolicy(TextChoices):
    """Whether a new lot first pays what its user owes."""

    NEVER = "never", "Never pays what is owed"
    APPLY = "apply_to_outstanding", "First pays what is owed"


class Accrual(TextChoices):
    """When a period's amount is earned."""

    FULL = "full_at_period_start", "All at the start of the period"
    DAILY = "earn_daily", "Day by day"


class Eligibility(TextChoices):
    """Who is bound to a program without being named."""

    MANUAL = "manual", "Nobody"
    ALL_ACCOUNTS = "all_accounts", "Every user"
    SUBSCRIPTION_GROUP = "subscription_group", "Subscribers of a group"


class CampaignStatus(TextChoices):
    """How a campaign stands; `ended` is final."""

    SCHEDULED = "scheduled", "Scheduled"
    ACTIVE = "active", "Active"
    PAUSED = "paused", "Paused"
    ENDED = "ended", "Ended"


class CampaignTrigger(TextChoices):
    """How often an event campaign gives to one user."""

    FIRST_MATCH = "first_match", "Once per user"
    EVERY_MATCH = "every_match", "Once per matching event"


class GrantSource(TextChoices):
    """What bound a user to a program."""

    SUBSCRIPTION = "provider.subscription", "Subscription"
    SUBSCRIPTION_ITEM = "provider.subscription_item", "Subscription item"
    ONE_TIME = "provider.one_time", "One-time purchase"
    BILLING_PAYMENT = "billing_payment", "Payment"
    WALLET_CASH = "wallet.cash", "Cash top-up"
    CAMPAIGN = "ops.campaign", "Campaign"
    MANUAL = "ops.manual", "Support or operations"
    CATALOG = "internal.catalog", "Eligibility"
    PLAN = "billing_plan_assignment", "Plan"


class GrantStatus(TextChoices):
    """Whether an assignment issues. `expired` is a label: the window decides."""

    ACTIVE = "active", "Active"
    PAUSED = "paused", "Paused"
    CANCELED = "canceled", "Canceled"
    EXPIRED = "expired", "Expired"


class LotKind(TextChoices):
    """What a lot is, for people who read it."""

    GRANT = "grant", "Grant"
    SPONSORSHIP = "sponsorship", "Sponsorship"
    PROMO = "promo", "Promotion"
    CREDIT = "credit", "Credit"
    CASH = "cash", "Cash"
    WALLET = "wallet", "Wallet"
    ROLLOVER = "rollover", "Carried over"
    NONEXPIRING = "nonexpiring", "Without end"
    FALLBACK = "fallback", "Overage"
    OTHER = "other", "Other"


class LotStatus(TextChoices):
    """Whether a lot may be spent: `ready` and `active` may."""

    READY = "ready", "Ready"
    ACTIVE = "active", "Active"
    SUSPENDED = "suspended", "Suspended"
    PENDING_CLOSE = "pending_close", "Ended, about to close"
    CLOSED = "closed", "Closed"
    CANCELED = "canceled", "Revoked"


class ClosureKind(TextChoices):
    """What became of the rest of a closed lot."""

    FORFEIT = "forfeit", "Forfeited"
    REFUND = "refund", "Refunded"
    CARRYOVER = "carryover", "Carried over"
    NONE = "none", "Nothing left, or kept"


SPENDABLE = (LotStatus.READY, LotStatus.ACTIVE)
HELD_COUNTS = (LotStatus.READY, LotStatus.ACTIVE, LotStatus.PENDING_CLOSE)
"""Lots on which a hold may still be spent."""
OPEN = (*HELD_COUNTS, LotStatus.SUSPENDED)
ENDED = (LotStatus.CLOSED, LotStatus.CANCELED)
