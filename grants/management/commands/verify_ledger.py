"""`manage.py verify_ledger`: proves grants and ledgers from their rows."""

import json
import sys
import time
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.kernel.ids import parse_uuid
from grants.selectors.proof import RULE_NAMES, Finding, findings, snapshot


class Command(BaseCommand):
    """Look at every rule of grants and ledgers; write nothing.

    Each account is read as of one instant.

    Each row that breaks one is named on stdout, progress goes to stderr. Ends with
    code 1 where anything was found.
    """

    help = "Prove grants, lots and ledgers from their rows; writes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        """Say what may be asked for."""
        parser.add_argument("--realm", help="only this realm")
        parser.add_argument("--account", help="only the account of this id")
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
        count = 0
        for finding in findings(
            realm_id=options["realm"],
            account_id=account_id,
            progress=self.progress,
            within=snapshot,
        ):
            count += 1
            self.stdout.write(_line(finding, as_json=options["json"]))
        seconds = time.monotonic() - self.started
        told = {
            "accounts": self.accounts,
            "rules": len(RULE_NAMES),
            "findings": count,
            "seconds": round(seconds, 1),
        }
        self.stdout.write(
            json.dumps(told)
            if options["json"]
            else "{accounts} accounts, {rules} rules, {findings} findings, "
            "{seconds} s".format(**told)
        )
        if count:
            sys.exit(1)

    def progress(self, realm_id: str, accounts: int) -> None:
        """Tell that some more accounts of a realm were looked at."""
        self.accounts += accounts
        seconds = time.monotonic() - self.started
        self.stderr.write(f"{realm_id}: {self.accounts} accounts in {seconds:.1f} s")


def _line(finding: Finding, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(asdict(finding), default=str)
    user = f" of user {finding.user_id}" if finding.user_id else ""
    return (
        f"{finding.rule}: {finding.subject}{user} in {finding.realm_id}: "
        f"{finding.message}"
    )
