"""The load generator, against a server that says what the test wants it to."""

import pytest

from bench.generator import Expected, Load, joined, measure
from tests.bench.answering import CHUNKED, PLAIN, REFUSED, REQUEST, answering


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED])
@pytest.mark.parametrize("pieces", [1, 7])
def test_it_reads_an_answer_however_it_is_framed(answer, pieces):
    with answering(answer, answer, answer, pieces=pieces) as port:
        sample, statuses = measure(
            port, Load([REQUEST] * 3, Expected()), connections=1, seconds=5
        )

    assert (sample.operations, sample.errors, statuses) == (3, 0, {200: 3})
    assert len(sample.latencies_ns) == 3
    assert all(ns > 0 for ns in sample.latencies_ns)
    assert sample.generator_cpu >= 0


def test_a_wrong_answer_is_an_error_and_no_operation():
    with answering(PLAIN, REFUSED, PLAIN) as port:
        sample, statuses = measure(
            port, Load([REQUEST] * 3, Expected()), connections=1, seconds=5
        )

    assert (sample.operations, sample.errors) == (2, 1)
    assert sample.first_error == '401 {"ok":false}'
    assert statuses == {200: 2, 401: 1}


def test_a_right_status_with_another_body_is_an_error():
    with answering(PLAIN) as port:
        load = Load([REQUEST], Expected(200, b'"application_status":"applied"'))
        sample, _ = measure(port, load, connections=1, seconds=5)

    assert (sample.operations, sample.errors) == (0, 1)


def test_a_lost_connection_is_an_error_and_the_rest_is_sent():
    with answering(PLAIN, b"") as port:
        sample, _ = measure(
            port, Load([REQUEST] * 4, Expected()), connections=1, seconds=5
        )

    assert (sample.operations, sample.errors) == (2, 2)
    assert sample.first_error == "the server closed the connection"


def test_a_pair_is_one_operation_made_of_the_first_answer():
    made = []

    def follow(place, body):
        made.append((place, body))
        return REQUEST

    with answering(PLAIN, CHUNKED, CHUNKED, PLAIN) as port:
        load = Load([REQUEST] * 2, Expected(), follow=follow)
        sample, statuses = measure(port, load, connections=1, seconds=5)

    assert (sample.operations, sample.errors, statuses[200]) == (2, 0, 4)
    assert made == [(0, b'{"ok":true}'), (1, b'{"ok":true}')]


def test_items_of_a_batch_are_counted_each():
    with answering(PLAIN, PLAIN) as port:
        load = Load([REQUEST] * 2, Expected(), items=100)
        sample, _ = measure(port, load, connections=1, seconds=5)

    assert (sample.operations, len(sample.latencies_ns)) == (200, 2)


def test_it_stops_in_time():
    with answering(*[PLAIN] * 200_000) as port:
        load = Load([REQUEST] * 200_000, Expected())
        sample, _ = measure(port, load, connections=2, seconds=0.05)

    assert 0 < sample.operations < 200_000
    assert sample.errors == 0


def test_a_large_request_is_sent_whole():
    large = b"POST / HTTP/1.1\r\ncontent-length: 8000000\r\n\r\n" + b"x" * 8_000_000
    with answering(PLAIN) as port:
        sample, _ = measure(port, Load([large], Expected()), connections=1, seconds=9)

    assert (sample.operations, sample.errors) == (1, 0)


def test_chunks_are_joined():
    assert joined(b"3\r\nabc\r\n2;x=y\r\n\r\n\r\n0\r\n\r\n") == b"abc\r\n"
