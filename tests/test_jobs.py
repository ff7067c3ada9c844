"""The jobs do their work, twice over, through the real worker's own app."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta

import pytest
from django.db import connection
from procrastinate.contrib.django import app

from config.kernel.clock import now
from config.tenancy.jobs import (
    purge_nonces,
    purge_stored_answers,
    rescue_stalled_jobs,
)
from config.tenancy.models import ServiceKeyNonce, StoredAnswer
from gating import jobs
from gating.models import Rating
from gating.services.policies import delete_policy
from tests.gating.racing import arena
from tests.tools.server import database_url


def test_every_periodic_job_is_known_to_the_worker():
    names = {task.task.name for task in app.periodic_registry.periodic_tasks.values()}

    assert names == {
        "config.tenancy.jobs.purge_nonces",
        "config.tenancy.jobs.purge_stored_answers",
        "config.tenancy.jobs.rescue_stalled_jobs",
        "gating.jobs.bill_seats",
        "gating.jobs.drop_old_months",
        "gating.jobs.expire_leases",
        "gating.jobs.make_partitions",
        "gating.jobs.purge_counters",
        "gating.jobs.purge_denials",
        "gating.jobs.purge_leases",
        "grants.jobs.close_lots",
        "grants.jobs.prove_ledger",
        "grants.jobs.seal_ledger",
        "grants.jobs.settle_uses",
        "grants.jobs.sweep_bindings",
        "grants.jobs.sweep_campaigns",
    }


@pytest.mark.django_db
def test_old_nonces_are_forgotten_and_young_ones_kept():
    ServiceKeyNonce.objects.create(
        key_id="pk-a", nonce="old", seen_at=now() - timedelta(minutes=11)
    )
    ServiceKeyNonce.objects.create(
        key_id="pk-a", nonce="young", seen_at=now() - timedelta(minutes=9)
    )

    gone = [purge_nonces(timestamp=0), purge_nonces(timestamp=0)]

    assert gone == [1, 0]
    assert ServiceKeyNonce.objects.get(key_id="pk-a").nonce == "young"


@pytest.mark.django_db
def test_stored_answers_that_ran_out_are_deleted(realm):
    for key, days in (("old", -1), ("young", 1)):
        StoredAnswer.objects.create(
            realm=realm,
            caller="service_key:pk-a",
            method="POST",
            path="/x",
            key=key,
            identity_hash=key.encode(),
            request_hash=b"",
            status=200,
            body=b"{}",
            expires_at=now() + timedelta(days=days),
        )

    gone = [purge_stored_answers(timestamp=0), purge_stored_answers(timestamp=0)]

    assert gone == [1, 0]
    assert StoredAnswer.objects.get(realm=realm).key == "young"


@contextlib.contextmanager
def running_worker(**environment):
    """Yield a real worker process, serving as the role that owns nothing.

    Of `environment`, None takes a variable away.
    """
    url = database_url()
    env = {
        **os.environ,
        "DATABASE_URL": url,
        "DATABASE_APP_URL": url,
        "PLANGATE_DATABASE_ROLE": "app",
        **environment,
    }
    env = {name: value for name, value in env.items() if value is not None}
    with tempfile.TemporaryFile() as output:
        worker = subprocess.Popen(
            [sys.executable, "manage.py", "worker"],
            env=env,
            start_new_session=True,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield worker
        finally:
            worker.terminate()
            code = worker.wait(20)
            output.seek(0)
            assert code == 0, output.read().decode()


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def test_worker_process_runs_a_job_and_ends_on_sigterm(committed):
    ServiceKeyNonce.objects.create(
        key_id="pk-worker", nonce="old", seen_at=now() - timedelta(hours=1)
    )
    purge_nonces.configure(queueing_lock=None).defer(timestamp=0)

    with running_worker():
        wait_for(
            lambda: not ServiceKeyNonce.objects.filter(key_id="pk-worker").exists()
        )


def test_worker_bills_seats_and_keeps_house_as_the_serving_role(committed, by):
    """What the jobs of the gate write, they may."""
    hour_ago = now() - timedelta(hours=1)
    gate = arena(hour_ago, by.effective(hour_ago))
    gate.feature()
    gate.feature("seat", price=5)
    terms = {"billing_feature_code": "seat", "billing_meter_code": "seat"}
    policy = gate.seats(
        5, seconds=60, metadata={**terms, "billing_mode": "active_window"}
    )
    gate.credit(100)
    gate.lease()
    work = (
        jobs.make_partitions,
        jobs.drop_old_months,
        jobs.purge_leases,
        jobs.purge_counters,
        jobs.purge_denials,
        jobs.bill_seats,
    )
    ids = [job.configure(queueing_lock=None).defer(timestamp=0) for job in work]

    def ended():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT status::text FROM procrastinate_jobs WHERE id = ANY (%s)", [ids]
            )
            found = {status for (status,) in cursor.fetchall()}
        return not found & {"todo", "doing"} and found

    with running_worker(PLANGATE_RATINGS_KEPT_MONTHS="12"):
        wait_for(ended)

    delete_policy(policy=policy, at=now(), by=by)
    assert ended() == {"succeeded"}
    rating = Rating.objects.get(user=gate.user, rating_kind="seats")
    assert (rating.funded_xusd, gate.balance()) == (5, (95, 0, 5))


def test_worker_is_not_the_schemas_owner(committed):
    """Started plainly, with nothing said about a role."""
    owner, app_ = database_url("plangate_owner"), database_url()
    name = f"worker-{os.getpid()}"
    ServiceKeyNonce.objects.create(
        key_id="pk-role", nonce="old", seen_at=now() - timedelta(hours=1)
    )
    purge_nonces.configure(queueing_lock=None).defer(timestamp=0)
    with running_worker(
        DATABASE_URL=owner,
        DATABASE_APP_URL=app_,
        PGAPPNAME=name,
        PLANGATE_DATABASE_ROLE=None,
    ):

        def roles():
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT DISTINCT usename::text FROM pg_stat_activity WHERE application_name = %s",
                    [name],
                )
                return {role for (role,) in cursor.fetchall()}

        wait_for(lambda: not ServiceKeyNonce.objects.filter(key_id="pk-role").exists())
        assert roles() == {"plangate_app"}


def test_job_of_a_killed_worker_is_requeued(committed):
    with connection.cursor() as cursor:
        # What the worker of another test was about to do as it was ended.
        cursor.execute(
            "UPDATE procrastinate_jobs SET status = 'cancelled' WHERE status = 'todo'"
        )
    job_id = purge_nonces.configure(queueing_lock=None).defer(timestamp=1)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE procrastinate_jobs SET status = 'doing', worker_id = NULL WHERE id = %s",
            [job_id],
        )
    rescue_stalled_jobs.configure(queueing_lock=None).defer(timestamp=1)

    def status():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT status::text FROM procrastinate_jobs WHERE id = %s", [job_id]
            )
            return cursor.fetchone()[0]

    with running_worker():
        wait_for(lambda: status() == "succeeded")
