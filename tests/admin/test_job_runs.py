"""The list of job runs: what ran last, and what went wrong."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.html import strip_tags

from config.admin.job_runs import LONGEST, SILENT
from config.kernel.clock import now
from config.kernel.ids import new_trace_id
from config.tenancy.periodic import jobs
from config.tenancy.services.job_runs import Outcome, begin_run, end_run
from tests.admin.pages import change_url

RUNS = "/admin/tenancy/jobrun/"
RED = "bg-red-100 text-red-700"
AMBER = "bg-orange-100"


@pytest.fixture
def ops(staff):
    return staff("Ops")


def ran(job, ago=timedelta(minutes=1), outcome=None, error=None, *, ended=True):
    """Record that a job ran so long ago."""
    started = now() - ago
    run = begin_run(job=job, at=started, trace_id=new_trace_id(), started_at=started)
    if ended:
        end_run(
            run,
            outcome=outcome or Outcome(3),
            error=error,
            finished_at=started + timedelta(seconds=2),
        )
    return run


def text_of(page):
    return " ".join(strip_tags(page.text.replace("<", " <")).split())


def listed(page):
    return [run.job for run in page.context["cl"].result_list]


def test_last_run_of_each_job_is_shown_first(ops):
    ran("settle_uses", timedelta(minutes=5), error=ValueError("old trouble"))
    ran("settle_uses", outcome=Outcome(1_200))
    ran("close_lots", outcome=Outcome(4, 1))

    page = ops.get(RUNS)

    assert listed(page) == ["close_lots", "settle_uses"]
    text = text_of(page)
    assert "Close lots Failed in part" in text
    assert "Settle uses Went well" in text
    assert "2.0 seconds 1,200 0" in text
    assert "old trouble" not in text
    assert listed(ops.get(RUNS, {"show": "all"})).count("settle_uses") == 2


@pytest.mark.parametrize(
    ("run", "state"),
    [
        ({"error": ValueError("no luck")}, "Failed"),
        ({"outcome": Outcome(0, 2)}, "Failed in part"),
        ({"ended": False, "ago": LONGEST}, "Cut off"),
    ],
)
def test_failing_run_is_red_and_counted_on_the_first_page(ops, run, state):
    ran("expire_leases")
    bad = ran("settle_uses", **run)

    page = ops.get(RUNS, {"show": "bad"})
    figures = {f["label"]: f["count"] for f in ops.get("/admin/").context["figures"]}

    assert listed(page) == ["settle_uses"]
    assert f"Settle uses {state}" in text_of(page)
    assert page.text.count(RED) > ops.get(
        RUNS, {"show": "all", "job": "expire_leases"}
    ).text.count(RED)
    assert figures["Jobs that failed last time"] == 1
    assert f"How it went {state}" in text_of(ops.get(change_url(bad)))


def test_run_that_goes_on_is_no_failure(ops):
    run = ran("settle_uses", ended=False)

    assert listed(ops.get(RUNS, {"show": "bad"})) == []
    assert "How it went Running" in text_of(ops.get(change_url(run)))


def test_error_is_told_in_full_on_the_page(ops):
    run = ran("settle_uses", error=ValueError("lot 7 is missing"))

    page = text_of(ops.get(change_url(run)))

    assert "ValueError: lot 7 is missing" in page
    assert "Uses belong into the ledger." in page


def test_silent_worker_is_told(ops):
    ran("settle_uses", SILENT + timedelta(minutes=1))

    assert "The worker seems to be down" in text_of(ops.get(RUNS))


def test_jobs_that_never_ran_are_named(ops):
    for job in jobs():
        if job != "seal_ledger":
            ran(job)

    page = text_of(ops.get(RUNS))

    assert "Not run yet, or not within 7 days: Seal ledger. Each runs when" in page
    assert "The worker seems to be down" not in page


def test_new_installation_is_not_warned_of_jobs_that_never_ran(ops):
    page = ops.get(RUNS)

    assert "Not run yet" in text_of(page)
    assert AMBER not in page.text


def test_list_reads_the_same_for_one_job_and_three(ops):
    def queries():
        ops.get(RUNS)
        with CaptureQueriesContext(connection) as captured:
            ops.get(RUNS)
        return len(captured)

    ran("settle_uses")
    one = queries()
    ran("close_lots")
    ran("seal_ledger")

    assert queries() == one
