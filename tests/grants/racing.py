"""The same instant in many threads, each with a connection of its own."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from django.db import connection


def race(work, threads=20):
    """Run `work(number)` in every thread at once; return the results in order."""
    barrier = Barrier(threads)

    def run(number):
        try:
            connection.ensure_connection()
            barrier.wait(timeout=30)
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))
