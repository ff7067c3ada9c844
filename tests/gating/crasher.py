"""Children that call a verb and may be killed at it, as a server would be.

Runs as a process of its own: it loads Django once, and forks a child per order read
from standard input; the parent has no connection that a child could inherit.
"""

import json
import os
import signal
import sys
import time


def obey(order):
    """Do what the order says; dies at its crash point."""
    from datetime import datetime

    from billing.models import BillingUser
    from config.kernel.audit import Actor, AuditContext
    from tests.gating.gate import Gate

    at = datetime.fromisoformat(order["at"])
    user = BillingUser.objects.select_related("account__realm").get(pk=order["user"])
    by = AuditContext(Actor("job", "crash"), "crash", "crash", "T-0", at, "0" * 32)
    gate = Gate(user.account.realm, user.account, user, at, by)
    if order["rules"]:
        gate.know(order["rules"])
    getattr(gate, order["verb"])(*order["arguments"], **order["named"])


def silence():
    """Keep a child's traceback to itself: dying is what it is for."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def main():
    """Fork a child per order; answer with its exit status."""
    import django
    from django.conf import settings

    settings.DATABASES["default"]["NAME"] = sys.argv[1]
    django.setup()
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            silence()
            obey(json.loads(line))
            os._exit(0)
        wait = json.loads(line)["kill_after_seconds"]
        if wait is not None:
            time.sleep(wait)
            os.kill(child, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
