"""`manage.py seal_heads`: tells the last seal of each ledger account."""

import json
from typing import Any

from django.core.management.base import BaseCommand

from grants.selectors.heads import heads


class Command(BaseCommand):
    """Print a JSON object a line for each ledger account that was sealed.

    To be kept where nobody who can write to the database can: `verify_ledger --heads`
    compares it with what the database says later.
    """

    help = "Print the last seal of each ledger account, to be kept elsewhere."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print them in order of the ledger accounts' ids."""
        for head in heads():
            self.stdout.write(json.dumps(head.facts()))
