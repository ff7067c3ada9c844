"""One run from beginning to end."""

import os
import platform
import sys
from collections.abc import Sequence

from bench import clones, floor
from bench.figures import Row, table
from bench.generator import Load
from bench.installation import (
    InstallationError,
    durable_settings,
    new_database,
    new_server,
)
from bench.options import Options
from bench.realm import Realms, make_realm, principal_id, user_id
from bench.rounds import Rounds
from bench.signed import CallerOf, Signer
from bench.subjects import (
    APPLIED,
    AUTHORIZE,
    COMMIT,
    DENIED,
    OK,
    Caller,
    SetupError,
    ask,
    use,
)
from config.database import EmbeddedDatabaseError
from config.kernel.clock import now
from config.tenancy.services.service_keys import secret_of
from demo.processes import Supervisor
from gating.models import Projection
from gating.selectors.rules import stored_rules

DENIED_PART = 10
"""One customer in so many is one whose requests are denied, beside the others."""

BAR = 30


class Stopped(Exception):
    """Somebody asked for the end, by a signal."""


def main(options: Options) -> int:
    """Measure and print; return the exit status: 1 where an answer was wrong."""
    supervisor = Supervisor()
    supervisor.stop_on_signals()
    try:
        with new_database():
            return _run(options, supervisor)
    except (
        Stopped,
        InstallationError,
        EmbeddedDatabaseError,
        SetupError,
        floor.PgbenchError,
    ) as error:
        tell(f"{error}")
        return 1


def _run(options: Options, supervisor: Supervisor) -> int:
    for line in machine():
        print(f"# {line}")
    realms = make_realm()
    floor.make_tables(options.called)
    try:
        with new_server(supervisor) as port:
            rounds = _prepared(options, realms, supervisor, port)
            rounds.measure()
    finally:
        floor.drop_tables()
    _go_on(supervisor)
    return _show(rounds)


def _go_on(supervisor: Supervisor) -> None:
    if supervisor.asked_to_stop():
        raise Stopped("Stopped before the end: there is nothing to show.")


def _prepared(
    options: Options, realms: Realms, supervisor: Supervisor, port: int
) -> Rounds:
    """Fill the realm and return what measures it."""
    secret = secret_of(realms.key)
    signer = Signer(f"127.0.0.1:{port}", realms.realm.pk, realms.key.key_id, secret)
    _use_first(signer, port)

    def progress(done: int, whole: int) -> None:
        bar("accounts", done, whole)
        _go_on(supervisor)

    family = clones.family_of("acct", realms.admitted)
    refused = clones.family_of("none", realms.denied)
    for one, count, uses in (
        (family, options.accounts, options.uses),
        (refused, denied_accounts(options), 0),
    ):
        clones.add_customers(one, count, uses=uses, at=now(), progress=progress)
    tell("vacuum and analyze")
    clones.settle_tables()
    caller = _caller(options, signer, port)
    caller.probe()
    return Rounds(
        options,
        caller,
        variables=variables(options, family),
        go_on=lambda: not supervisor.asked_to_stop(),
        tell=tell,
    )


def _use_first(signer: Signer, port: int) -> None:
    """Use the first customers once through the API: what it leaves is copied, too."""
    first = clones.FIRST_USE
    admitted = _named("acct", 0)
    caller = Caller(signer, port, [admitted], [_named("none", 0)], run=first + "call")
    asked = caller.post(AUTHORIZE, ask(f"{first}lease"), admitted)
    caller.set_up(Load([asked], OK))
    used = caller.post(COMMIT, use(f"{first}lease"), admitted)
    caller.set_up(Load([used], APPLIED))
    refused = caller.post(AUTHORIZE, ask(), caller.denied[0])
    caller.set_up(Load([refused], DENIED))


def denied_accounts(options: Options) -> int:
    """Return how many customers are denied whatever they ask."""
    return max(2, options.called // DENIED_PART)


def _caller(options: Options, signer: Signer, port: int) -> Caller:
    step = options.accounts // options.called
    admitted = [_named("acct", number * step) for number in range(options.called)]
    denied = [_named("none", number) for number in range(denied_accounts(options))]
    return Caller(signer, port, admitted, denied)


def _named(kind: str, number: int) -> CallerOf:
    return CallerOf(principal_id(kind, number), user_id(kind, number))


def variables(options: Options, family: clones.Family) -> dict[str, str | int]:
    """Return what the script of the bare function may name (sql/function.sql)."""
    customer = family.customer
    rule_set_id = Projection.objects.get(user=customer.user).rule_set_id
    rules = stored_rules(rule_set_id)
    quota, rate = rules.policies
    return {
        "realm": customer.account.realm_id,
        "step": options.accounts // options.called,
        "rules": str(rule_set_id),
        "family": rules.feature.feature_family_code,
        "policy": str(quota.policy_id),
        "quota": str(quota.limit),
        "rate": str(rate.limit),
        "quota_key": quota.counter_key,
        "rate_key": rate.counter_key,
    }


def _show(rounds: Rounds) -> int:
    rows = rounds.rows()
    for row in rows:
        print(row.as_json())
    print(table(rows), flush=True)
    for line in complaints(rows, rounds.wrong):
        tell(line)
    return 1 if any(row.errors for row in rows) else 0


def complaints(rows: Sequence[Row], wrong: dict[str, str]) -> list[str]:
    """Return what must not be overlooked: what is absent, and wrong answers."""
    absent = sorted({row.name for row in rows if row.absent})
    lines = [f"ABSENT: {name}: nothing to measure by that name yet." for name in absent]
    return lines + [f"WRONG: {name}: {text}" for name, text in wrong.items()]


def machine() -> list[str]:
    """Return what the figures were measured on."""
    settings = durable_settings()
    version = settings.pop("server_version")
    python, cores = platform.python_version(), os.cpu_count()
    return [
        f"PostgreSQL {version}, Python {python}, {cores} cores, {platform.machine()}",
        ", ".join(f"{name}={value}" for name, value in settings.items()),
    ]


def tell(line: str) -> None:
    """Say what is going on, beside what is printed for programs."""
    print(f"==> {line}", file=sys.stderr, flush=True)


def bar(what: str, done: int, whole: int) -> None:
    """Draw how far the load is."""
    filled = BAR * done // whole
    drawn = "#" * filled + "." * (BAR - filled)
    end = "\n" if done == whole else "\r"
    print(
        f"    [{drawn}] {done:,}/{whole:,} {what}", end=end, file=sys.stderr, flush=True
    )
