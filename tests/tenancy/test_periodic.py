"""Each run of a periodic job leaves a row; a sweep runs them all at an instant."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from config.kernel.clock import now
from config.tenancy import periodic
from config.tenancy.models import JobRun
from config.tenancy.periodic import Job, jobs
from config.tenancy.services.job_runs import KEPT, Outcome, begin_run, end_run

pytestmark = pytest.mark.django_db


def job(work, name="mend", stage=1):
    return Job(name, "It was due.", stage, work)


def test_a_run_is_recorded_with_what_it_came_to(at):
    outcome = job(lambda run: Outcome(7, 2)).run(at)

    run = JobRun.objects.get(job="mend")
    assert outcome == Outcome(7, 2)
    assert (run.at, run.done, run.failed, run.error) == (at, 7, 2, "")
    assert run.started_at <= run.finished_at <= now()


def test_a_run_goes_on_where_the_last_one_left_off(at):
    seen, left = [], ["a:1", "", "b:2"]

    def work(run):
        seen.append(run.position)
        return Outcome(1, position=left.pop(0))

    def broken(run):
        raise ValueError

    for _ in range(3):
        job(work).run(at)
    with pytest.raises(ValueError):
        job(broken).run(at)
    job(lambda run: seen.append(run.position) or 0).run(at)

    assert seen == ["", "a:1", "", "b:2"]


def test_a_job_works_by_the_instant_and_says_why(at):
    seen = []

    job(lambda run: seen.append(run) or 0).run(at)

    (run,) = seen
    assert (run.at, run.by.effective_at) == (at, at)
    assert (run.by.actor.kind, run.by.actor.identifier) == ("job", "mend")
    assert (run.by.reason, run.by.ticket_id) == ("It was due.", "mend")
    assert run.by.trace_id == JobRun.objects.get(job="mend").trace_id


def test_what_ends_a_run_is_recorded_and_raised(at):
    def broken(run):
        raise ValueError("no\x00 luck " + "x" * 3_000)

    with pytest.raises(ValueError, match="luck"):
        job(broken).run(at)

    run = JobRun.objects.get(job="mend")
    assert run.error.startswith("ValueError: no luck x")
    assert len(run.error) <= 2_000
    assert run.finished_at is not None


def test_a_run_that_is_going_on_has_no_end(at):
    seen = []

    def look(run):
        seen.append(JobRun.objects.get(job="mend").finished_at)
        return 0

    job(look).run(at)

    assert seen == [None]


def test_runs_of_long_ago_are_forgotten_job_by_job(at):
    for name, started in (
        ("mend", at - KEPT - timedelta(seconds=1)),
        ("mend", at - KEPT + timedelta(seconds=1)),
        ("other", at - 2 * KEPT),
    ):
        begin_run(job=name, at=started, trace_id="0" * 32, started_at=started)

    last = begin_run(job="mend", at=at, trace_id="0" * 32, started_at=at)
    end_run(last, finished_at=at)

    assert JobRun.objects.filter(job="mend").count() == 2
    assert JobRun.objects.filter(job="other").count() == 1


def test_a_sweep_takes_the_jobs_in_their_order():
    names = list(jobs())

    assert names.index("expire_leases") < names.index("settle_uses")
    assert names.index("settle_uses") < names.index("close_lots")
    assert names.index("close_lots") < names.index("seal_ledger")
    assert names.index("seal_ledger") < names.index("prove_ledger")


@pytest.fixture
def only(monkeypatch):
    """Let these be all the jobs there are."""

    def put(*some):
        monkeypatch.setattr(periodic, "_jobs", {each.name: each for each in some})

    return put


def sweep(**options):
    out = StringIO()
    try:
        call_command("sweep", stdout=out, **options)
    except SystemExit as end:
        return out.getvalue().splitlines(), end.code
    return out.getvalue().splitlines(), 0


def test_a_sweep_runs_every_job_at_the_instant(only):
    only(job(lambda run: 2, "b", 2), job(lambda run: 1, "a", 1))

    lines, code = sweep(at="2026-03-01T00:00:00Z")

    assert [line.rpartition(",")[0] for line in lines] == [
        "a: 1 done, 0 failed",
        "b: 2 done, 0 failed",
    ]
    assert code == 0
    assert {run.at.isoformat() for run in JobRun.objects.all()} == {
        "2026-03-01T00:00:00+00:00"
    }


def test_a_sweep_of_some_jobs(only):
    only(job(lambda run: 2, "b", 2), job(lambda run: 1, "a", 1))

    lines, _ = sweep(only=["b"])

    assert len(lines) == 1
    assert lines[0].startswith("b: 2 done")


def test_a_job_that_fails_keeps_no_other_from_running(only):
    def broken(run):
        raise ValueError("no luck")

    only(job(broken, "a", 1), job(lambda run: Outcome(2, 1), "b", 2))

    lines, code = sweep()

    assert lines[0] == "a: ValueError: no luck"
    assert lines[1].startswith("b: 2 done, 1 failed")
    assert code == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"only": ["mend"]}, "There is no job mend; there are make_partitions, "),
        ({"at": "yesterday"}, "at "),
        ({"at": "2026-03-01"}, "at "),
    ],
)
def test_what_no_sweep_can_do(options, sentence):
    with pytest.raises(CommandError, match=sentence):
        call_command("sweep", **options)
