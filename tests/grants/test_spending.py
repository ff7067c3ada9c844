"""The functions that spend lots, beside plain Python that says which lots pay."""

import random
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import OperationalError, transaction
from django.db.models import Sum

from config.kernel.ids import new_id
from config.tenancy.history import auditing
from grants.models import GrantAllocation, GrantLot
from grants.services.funding import (
    NOTHING_HELD,
    FundingExhausted,
    Hold,
    available_xusd,
    gross_xusd,
    release,
    settle,
)
from grants.services.funding import hold as hold_lots
from tests.grants import spender
from tests.tools.context import BY
from tests.tools.purse import store_lot
from tests.tools.tables import rows, run
from tests.tools.verification import note

DAY = timedelta(days=1)
STATUSES = ("ready", "ready", "active", "suspended", "pending_close")


class Story:
    """One user's lots as the database and as plain Python have them."""

    def __init__(self, user, at, seed):
        self.user, self.at, self.chance = user, at, random.Random(seed)
        self.lots, self.holds, self.owed = [], [], 0
        for _ in range(self.chance.randint(0, 5)):
            self.issue()

    def issue(self):
        chance = self.chance
        start = self.at + chance.choice([-3, -1, 0, 1]) * DAY
        end = chance.choice([None, None, 1, 2, 5])
        end = start + end * DAY if end else None
        amount, priority = chance.choice([0, 1, 7, 100]), chance.choice([0, 0, 5, -5])
        key = store_lot(
            self.user.realm_id,
            self.user.account_id,
            self.user.pk,
            at=start,
            by=BY,
            amount=amount,
            window_end=end,
            priority=priority,
        )
        self.lots.append(
            spender.PlainLot(str(key), start, end, priority, "ready", amount)
        )

    def turn(self):
        """Change a lot's status, as a person or a sweep would."""
        if self.lots:
            lot = self.chance.choice(self.lots)
            lot.status = self.chance.choice(STATUSES)
            with auditing(BY, at=self.at):
                GrantLot.objects.filter(pk=lot.id).update(status=lot.status)

    def hold(self):
        amount = self.chance.randint(0, 120)
        expected = (
            spender.hold(self.lots, amount, self.at)
            if amount <= spender.available(self.lots, self.at, self.owed)
            else None
        )
        try:
            held = hold_lots(user=self.user, amount_xusd=amount, at=self.at)
        except FundingExhausted as refusal:
            assert expected is None
            short = amount - spender.available(self.lots, self.at, self.owed)
            assert refusal.hints[0]["shortfall_xusd"] == short
            return
        parts = dict(zip(map(str, held.lots), held.amounts, strict=True))
        assert parts == expected
        self.holds.append((held, parts))

    def give_up(self):
        if self.holds:
            held, parts = self.holds.pop(self.chance.randrange(len(self.holds)))
            release(held, at=self.at)
            spender.release(self.lots, parts)

    def spend(self):
        held, parts = NOTHING_HELD, {}
        if self.holds and self.chance.random() < 0.7:
            held, parts = self.holds.pop(self.chance.randrange(len(self.holds)))
        most = spender.gross(self.lots, self.at) + spender.backed(self.lots, parts)
        amount = self.chance.choice([most, self.chance.randint(0, most), most + 1])
        owed = self.chance.choice([0, 0, 3])
        source = f"use:{new_id()}"
        expected = spender.settle(self.lots, parts, amount, self.at)
        try:
            with transaction.atomic():
                settle(
                    user=self.user,
                    held=held,
                    spend_xusd=amount,
                    owed_xusd=owed,
                    source_ref=source,
                    at=self.at,
                )
        except OperationalError:
            assert expected is None
            if held.lots:
                self.holds.append((held, parts))
            return
        assert expected is not None
        self.owed += owed
        taken = GrantAllocation.objects.filter(user=self.user, source_ref=source)
        found = {
            str(lot) if lot else None: amount
            for lot, amount in taken.values_list("lot_id", "amount_xusd")
        }
        assert found == expected | ({None: owed} if owed else {})

    def step(self):
        self.chance.choice(
            [self.issue, self.turn, self.hold, self.hold, self.give_up, self.spend, self.spend, self.wait]
        )()  # fmt: skip
        self.compare()

    def wait(self):
        self.at += self.chance.choice([0, 1, 12, 24]) * timedelta(hours=1)

    def compare(self):
        assert gross_xusd(user=self.user, at=self.at) == spender.gross(
            self.lots, self.at
        )
        assert available_xusd(user=self.user, at=self.at) == spender.available(
            self.lots, self.at, self.owed
        )
        stored = GrantLot.objects.filter(user=self.user)
        found = {
            str(lot.pk): (lot.consumed_xusd, lot.reserved_xusd, lot.status)
            for lot in stored
        }
        assert found == {
            lot.id: (lot.consumed, lot.reserved, lot.status) for lot in self.lots
        }


@pytest.mark.parametrize("stories", [40, pytest.param(2_000, marks=pytest.mark.soak)])
def test_lots_pay_as_plain_python_says(make_user, realm, at, stories):
    seed = random.randrange(2**32)
    print(f"\nseed {seed}")
    for number in range(stories):
        user = make_user(realm, f"u-{number}", f"p-{number}")
        story = Story(user, at, seed + number)
        for _ in range(25):
            story.step()
        taken = GrantAllocation.objects.filter(user=user, lot__isnull=False)
        consumed = GrantLot.objects.filter(user=user).aggregate(x=Sum("consumed_xusd"))
        assert (consumed["x"] or 0) == (taken.aggregate(x=Sum("amount_xusd"))["x"] or 0)
    note(
        "lots beside plain Python",
        f"seed {seed}, {stories} stories of 25 steps, differences 0",
    )


def test_overage_is_taken_off_what_is_available_but_not_off_what_lots_have(
    funded_user, at
):
    lot = GrantLot.objects.get(user=funded_user)
    with auditing(BY, at=at):
        GrantLot.objects.create(
            realm_id=lot.realm_id,
            account_id=lot.account_id,
            user=funded_user,
            program=lot.program,
            issue_key="overage",
            source_kind="internal.catalog",
            source_ref="overage",
            kind="fallback",
            window_start=at,
            amount_xusd=0,
            consumed_xusd=120,
            paid_xusd=20,
        )

    assert gross_xusd(user=funded_user, at=at) == 500
    assert available_xusd(user=funded_user, at=at) == 400
    with pytest.raises(FundingExhausted):
        hold_lots(user=funded_user, amount_xusd=401, at=at)
    assert hold_lots(user=funded_user, amount_xusd=400, at=at) == Hold([lot.pk], [400])


def test_parts_of_a_hold_follow_each_other_without_a_gap(db):
    chance = random.Random(7)
    for _ in range(100):
        held = [chance.randint(1, 9) for _ in range(chance.randint(1, 4))]
        lots = [new_id() for _ in held]
        cuts = sorted(chance.randint(0, sum(held)) for _ in range(3))
        edges = [0, *cuts, sum(held)]
        spread = [
            lot for lot, part in zip(lots, held, strict=True) for _ in range(part)
        ]
        for before, after in pairwise(edges):
            [(ids, parts)] = rows(
                "SELECT * FROM grants_part(%s::uuid[], %s::bigint[], %s::bigint, %s::bigint)",
                [lots, held, before, after - before],
            )
            pieces = [
                lot for lot, part in zip(ids, parts, strict=True) for _ in range(part)
            ]
            assert pieces == spread[before:after]


def test_a_lot_is_never_overdrawn_whatever_python_asks(funded_user, at):
    """The last guard: the row itself."""
    from django.db import IntegrityError

    with pytest.raises(IntegrityError, match="never_overdrawn"):
        run("UPDATE grant_lots SET consumed_xusd = amount_xusd + 1")
