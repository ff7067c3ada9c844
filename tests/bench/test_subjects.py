"""The requests of each subject, sent to a server that finds them all good."""

import json

import pytest
from vlunaai.generated.gate_models import BatchCommitRequest

from bench.generator import measure
from bench.signed import CallerOf, Signer
from bench.subjects import (
    AUTHORIZE_BATCH,
    BATCH,
    COMMIT_BATCH,
    SUBJECTS,
    Caller,
    SetupError,
)
from tests.bench.answering import REFUSED, answering

GOOD = b'{"ok":true,"data":{"lease":"l-1","application_status":"applied","failed_count":0}}'
YES = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(GOOD), GOOD)
NO = REFUSED.replace(b"401", b"402")
UNKNOWN = REFUSED.replace(b"401", b"404")
PEOPLE = [CallerOf(f"acct-{number}", "u") for number in range(3)]


def caller(port, **more):
    signer = Signer(f"127.0.0.1:{port}", "orbit", "pk-1", b"secret")
    return Caller(signer, port, PEOPLE, [CallerOf("none-0", "u")], **more)


@pytest.mark.parametrize("hot", [False, True])
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_every_subject_builds_a_load_that_is_answered_well(subject, hot):
    with answering(*[NO if subject.name == "denial" else YES] * 1000) as port:
        load = subject.load(caller(port), 6, hot)
        sample, _ = measure(port, load, connections=2, seconds=20)

    assert (sample.errors, len(sample.latencies_ns)) == (0, 6)
    assert sample.operations == 6 * (BATCH if "batch" in subject.name else 1)
    principals = {header(request, "x-principal-id") for request in load.requests}
    assert len(principals) == (1 if hot or subject.name == "denial" else 3)


def header(request, name):
    head = request.partition(b"\r\n\r\n")[0].decode()
    return dict(line.split(": ", 1) for line in head.split("\r\n")[1:])[name]


def body(request):
    return json.loads(request.partition(b"\r\n\r\n")[2])


def test_no_two_requests_share_nonce_or_key():
    with answering() as port:
        load = SUBJECTS[0].load(caller(port), 50, True)

    assert len({header(request, "authorization") for request in load.requests}) == 50
    assert len({header(request, "idempotency-key") for request in load.requests}) == 50


def test_a_batch_of_commits_is_what_the_official_client_sends():
    subject = next(s for s in SUBJECTS if s.name == "commit_batch_100")
    with answering(*[YES] * 10) as port:
        load = subject.load(caller(port), 1, True)
    document = body(load.requests[0])

    assert len(BatchCommitRequest.model_validate(document).items) == BATCH
    assert len({item["idempotency_key"] for item in document["items"]}) == BATCH


def test_leases_are_taken_singly_where_there_is_no_batch_for_it():
    subject = next(s for s in SUBJECTS if s.name == "commit_batch_100")
    with answering(*[YES] * 1000) as port:
        load = subject.load(caller(port, absent={AUTHORIZE_BATCH}), 2, True)

    assert len(load.requests) == 2


def test_what_the_server_does_not_know_is_found_out():
    with answering(UNKNOWN) as port:
        asking = caller(port)
        asking.probe()

    assert asking.absent == {AUTHORIZE_BATCH, COMMIT_BATCH}


def test_a_failed_preparation_ends_the_run_with_the_answer():
    commit = next(s for s in SUBJECTS if s.name == "commit")
    with (
        answering(*[REFUSED] * 9) as port,
        pytest.raises(SetupError, match=r'401 \{"ok":false\}'),
    ):
        commit.load(caller(port), 4, False)
