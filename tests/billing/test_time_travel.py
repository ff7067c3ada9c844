"""What was effective at T, as known at K: verbs and SQL against a naive model.

The seed is printed; PLANGATE_SEED replays it.
"""

import os
import time

import pytest
from django.db import transaction

from tests.billing.mutants import MUTANTS
from tests.billing.naive import Naive
from tests.billing.stories import first_difference, play
from tests.conftest import make_realm

SEED = os.environ.get("PLANGATE_SEED", "2026")
STORIES = 400
SOAK_STORIES = 12_000
TOLD_TO_MUTANTS = 250
BATCH = 100


def played(at, by, numbers, *, seed):
    """Yield the stories of those numbers; nothing of them stays in the database."""
    with transaction.atomic():
        realm = make_realm(at, by)
        for number in numbers:
            yield play(realm, by, number, seed=seed)
        transaction.set_rollback(True)


def figures(stories, seconds):
    told = sum(len(story.told) for story in stories)
    refused = sum(answer[0] == "refused" for s in stories for _op, (answer, _) in s.told)
    read = sum(len(story.read) for story in stories)
    return (
        f"seed {SEED}: {len(stories)} sequences, {told} verbs of which {refused} refused, "
        f"{read} comparisons, {seconds:.0f} s"
    )
