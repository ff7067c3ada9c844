"""`manage.py verify_ledger`: proves grants and ledgers from their rows."""

import json
import sys
import time
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.kernel.errors import Invalid
from config.kernel.ids import parse_uuid
from grants.selectors.heads import Head, lost_heads, told_heads
from grants.selectors.proof import RULE_NAMES, Finding, findings, snapshot


class Command(BaseCommand):
    """Look at every rule of grants and ledgers; write nothing.

    Each account is read as of one instant.

    Each row that breaks one is named on stdout, progress goes to stderr. Ends with
    code 1 where anything was found. Heads that were told before are compared too, of
    whichever account.
    """

    help = "Prove grants, lots and ledgers from their rows; writes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        """Say what may be asked for."""
        parser.add_argument("--realm", help="only this realm")
        parser.add_argument("--account", help="only the account of this id")
        parser.add_argument(
            "--heads",
            metavar="FILE",
            help="what seal_heads or the log told before, to be found in the seals",
        )
        parser.add_argument(
            "--json", action="store_true", help="one JSON object a line"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what does not hold, and how much was looked at."""
        account = options["account"]
        account_id = parse_uuid(account) if account else None
        if account and account_id is None:
            raise CommandError(f"{account} is no account id.")
        self.accounts, self.started = 0, time.monotonic()
        told = _told_heads(options["heads"])
        found = findings(
            realm_id=options["realm"],
            account_id=account_id,
            progress=self.progress,
            within=snapshot,
        )
        count = 0
        for finding in chain(found, lost_heads(told or ())):
            count += 1
            self.stdout.write(_line(finding, as_json=options["json"]))
        self.tell(count, told, as_json=options["json"])
        if count:
            sys.exit(1)

    def tell(self, findings: int, told: list[Head] | None, *, as_json: bool) -> None:
        """Print how much was looked at, and how much was found."""
        facts: dict[str, Any] = {
            "accounts": self.accounts,
            "rules": len(RULE_NAMES),
            **({} if told is None else {"heads": len(told)}),
            "findings": findings,
        }
        seconds = round(time.monotonic() - self.started, 1)
        if as_json:
            self.stdout.write(json.dumps({**facts, "seconds": seconds}))
            return
        words = [f"{number} {name}" for name, number in facts.items()]
        self.stdout.write(f"{', '.join(words)}, {seconds} s")

    def progress(self, realm_id: str, accounts: int) -> None:
        """Tell that some more accounts of a realm were looked at."""
        self.accounts += accounts
        seconds = time.monotonic() - self.started
        self.stderr.write(f"{realm_id}: {self.accounts} accounts in {seconds:.1f} s")


def _told_heads(path: str | None) -> list[Head] | None:
    """Return the heads that a file tells; None without one.

    Refuses (`CommandError`) a file that cannot be read, or tells none: nothing would
    have been compared.
    """
    if path is None:
        return None
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as lines:
            told = list(told_heads(lines))
    except (OSError, Invalid) as error:
        raise CommandError(f"{path}: {error}") from None
    if not told:
        raise CommandError(f"{path} tells no head of a ledger account.")
    return told


def _line(finding: Finding, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(asdict(finding), default=str)
    user = f" of user {finding.user_id}" if finding.user_id else ""
    return (
        f"{finding.rule}: {finding.subject}{user} in {finding.realm_id}: "
        f"{finding.message}"
    )
