"""What usage costs, line by line, and what is wrong with it: the ledger's arithmetic."""

from datetime import timedelta

from tests.gating.terms import Line

GRACE = timedelta(seconds=60)
MILLISECOND = timedelta(milliseconds=1)


def block_rule(mode, before, quantity, unit, per):
    """Return the amount, and what is carried on, of one side of a line."""
    if mode == "prepaid":
        # Bought and not used yet: `before`.
        blocks = max(0, -((before - quantity) // per))
        return blocks * unit, before + blocks * per - quantity
    if mode == "postpaid":
        # Used and not billed yet: `before`.
        blocks, after = divmod(before + quantity, per)
        return blocks * unit, after
    return divmod(before + quantity * unit, per)


def rated(user, uses, prices, carried):
    """Return the lines of a user's usage, and all that is carried after them.

    `prices` are those of the feature's own meters.
    """
    lines, carried = [], dict(carried)
    for meter, quantity in uses:
        price = prices.get(meter)
        if price is None:
            lines.append(Line(meter, "missing_price", quantity))
            continue
        due = {}
        for side, unit, per in (
            ("price", price.price, price.per),
            ("cost", price.cost, price.cost_per),
        ):
            name = user, meter, per, price.version, side
            given = price.blocks, carried.get(name, 0), quantity, unit, per
            due[side], carried[name] = block_rule(*given)
        lines.append(Line(meter, "priced", quantity, due["price"], due["cost"]))
    return lines, carried


def flaws(lease, feature, meters, priced, uses, now):
    """Return reasons, hints, and whether nothing of the usage may be applied.

    `meters` are the feature's, `priced` those of them that have a price.
    """
    reasons, hints, bad = [], [], lease.state != "active"
    if bad:
        reasons.append("lease_closed_at_commit")
        hints.append({"type": "lease.closed_at_commit", "state": lease.state})
    late = now - lease.expires
    if late > timedelta(0):
        reasons.append("late_commit_exceeded" if late > GRACE else "late_commit")
        told = {"expires_at": lease.expires, "exceeded_grace": late > GRACE}
        told |= {"delta_ms": late // MILLISECOND, "grace_ms": GRACE // MILLISECOND}
        hints.append({"type": "lease.expired", **told})
    used = list(dict.fromkeys(meter for meter, _ in uses))
    foreign = [meter for meter in used if meter not in meters]
    if foreign:
        reasons.append("meter_not_allowed_for_feature")
        told = {"feature_code": feature, "meters": foreign}
        hints.append({"type": "feature.meter_not_allowed", **told})
    missing = [meter for meter in used if meter in meters and meter not in priced]
    if missing:
        reasons.append("pricing_not_configured")
        hints.append(unpriced(feature, missing))
    bad = bad or late > GRACE or bool(foreign) or (bool(missing) and not lease.free)
    return reasons, hints, bad


def unpriced(feature, meters):
    told = {"feature_code": feature, "meters": meters}
    return {"type": "pricing.not_configured", **told}
