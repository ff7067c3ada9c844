"""Seat limits: the ways to write how many seats an account has."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator

from config.kernel.metadata.fields import (
    Choice,
    Contract,
    Flag,
    Kind,
    Seats,
    known,
    rule_broken,
)

SeatLimitMode = Literal["unlimited", "fixed", "per_unit"]


class SeatLimit(Contract):
    """How many seats an account has.

    Written as null or `{"mode": "unlimited"}` or `{"unlimited": true}`; as a number
    or a string of digits or `{"mode": "fixed", "limit": 5}` or `{"limit": 5}`; or as
    `{"mode": "per_unit", "seats_per_unit": 2}`.
    """

    mode: Choice[SeatLimitMode] = known(
        "Whether seats are unlimited, fixed, or counted per unit."
    )
    limit: Seats = known("The number of seats of a fixed limit.")
    seats_per_unit: Seats = known("Seats for each unit bought; 1 when absent.")
    unlimited: Flag = known("true is another way to say unlimited.")

    @model_validator(mode="after")
    def _says_one_thing(self) -> "SeatLimit":
        unlimited = self.unlimited is True or self.mode == "unlimited"
        fixed = self.mode == "fixed" or self.limit is not None
        per_unit = self.mode == "per_unit" or self.seats_per_unit is not None
        if unlimited + fixed + per_unit != 1 or (fixed and self.limit is None):
            raise rule_broken(
                "must say one thing: mode unlimited, or a limit, or mode per_unit"
            )
        return self

    def seats(self, quantity: int = 1) -> int | None:
        """Return the seats that `quantity` bought units give; None is unlimited."""
        if self.limit is not None:
            return self.limit
        if self.mode != "per_unit" and self.seats_per_unit is None:
            return None
        per_unit = 1 if self.seats_per_unit is None else self.seats_per_unit
        return per_unit * quantity


def _as_seat_limit(value: object) -> object:
    if value is None:
        return {"mode": "unlimited"}
    return value if isinstance(value, dict) else {"mode": "fixed", "limit": value}


SeatLimitField = Annotated[
    SeatLimit | None, BeforeValidator(_as_seat_limit), Kind("seat_limit")
]
