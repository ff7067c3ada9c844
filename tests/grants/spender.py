"""Which lots pay, in plain Python: what `grants/sql/lots.sql` is compared with."""

from dataclasses import dataclass
from datetime import datetime

SPENDABLE = ("ready", "active")
HELD_COUNTS = (*SPENDABLE, "pending_close")


@dataclass
class PlainLot:
    id: str
    start: datetime
    end: datetime | None
    priority: int
    status: str
    amount: int
    consumed: int = 0
    reserved: int = 0
    owed: int = 0  # Of overage, which has nothing else.

    @property
    def free(self):
        return self.amount - self.consumed - self.reserved

    def pays(self, at):
        within = self.start <= at and (self.end is None or at < self.end)
        return self.status in SPENDABLE and not self.owed and within


def ordered(lots):
    ends = sorted({lot.end for lot in lots if lot.end is not None})
    places = {None: len(ends)} | {end: place for place, end in enumerate(ends)}
    return sorted(lots, key=lambda lot: (places[lot.end], -lot.priority, lot.id))


def gross(lots, at):
    return sum(lot.free for lot in lots if lot.pays(at))


def available(lots, at, owed=0):
    """`owed` is what no lot paid, and is on no overage lot yet."""
    owed += sum(lot.owed for lot in lots if lot.status in SPENDABLE)
    return max(0, gross(lots, at) - owed)


def hold(lots, amount, at):
    """Hold an amount; {lot: part}, or None and nothing changes."""
    if amount > gross(lots, at):
        return None
    parts = {}
    for lot in ordered(lots):
        part = min(amount, lot.free) if lot.pays(at) else 0
        if part:
            lot.reserved += part
            parts[lot.id] = part
            amount -= part
    return parts


def release(lots, held):
    for lot in lots:
        lot.reserved -= held.get(lot.id, 0)


def backed(lots, held):
    return sum(held.get(lot.id, 0) for lot in lots if lot.status in HELD_COUNTS)


def settle(lots, held, spend, at):
    """Give a hold up and take an amount; {lot: part}, or None and nothing changes."""
    most = {
        lot.id: (held.get(lot.id, 0) if lot.status in HELD_COUNTS else 0)
        + (lot.free if lot.pays(at) else 0)
        for lot in lots
    }
    if spend > sum(most.values()):
        return None
    release(lots, held)
    parts = {}
    for lot in ordered(lots):
        part = min(spend, most[lot.id])
        if part:
            lot.consumed += part
            parts[lot.id] = part
            spend -= part
    return parts
