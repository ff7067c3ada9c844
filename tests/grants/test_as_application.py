"""Every verb on money as the role that serves requests: it may lock no posting.

The other tests run as the owner of the tables, who may do more.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection

from config.kernel.windows import Window
from grants.models import GrantLot, LotStatus
from grants.selectors.balance_proof import prove_balance
from grants.selectors.proof import findings
from grants.services.adjustments import adjust_wallet, reverse_adjustment
from grants.services.assignments import GrantIdentity, GrantTerms, assign_grant
from grants.services.binding_sweep import sweep_bindings
from grants.services.closing import close_ended_lots
from grants.services.consumption import consume
from grants.services.credits import credit_balance
from grants.services.funding import hold, release, settle
from grants.services.ledger import AlreadyReversed
from grants.services.lots import resume_lot, revoke_lot, suspend_lot
from grants.services.programs import ProgramTerms, change_program, create_program
from grants.services.refresh import refresh_user
from grants.services.seals import seal_entries
from grants.services.settlement import settle_user

APP = "plangate_app"


@pytest.fixture
def as_application(committed_realm):
    """Return a caller of work in a thread whose connection is that role's."""

    def call(work):
        def run():
            connection.settings_dict = {**connection.settings_dict, "USER": APP}
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT current_user")
                    assert cursor.fetchone() == (APP,)
                return work()
            finally:
                connection.close()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(run).result()

    return call


def test_the_application_may_do_all_that_verbs_do(
    as_application, committed_realm, make_user, at, by
):
    user = make_user(committed_realm)
    told = {"at": at, "by": by}

    def everything():
        credit_balance(user=user, amount_xusd=500, source_ref="inv-1", **told)
        program = create_program(
            realm=committed_realm,
            program_code="perk",
            terms=ProgramTerms(cadence="daily", amount_xusd=40),
            **told,
        )
        change_program(program=program, changes={"amount_xusd": 50}, **told)
        identity = GrantIdentity(user.account, user, program, "ops.manual", "ref-1")
        assign_grant(
            identity=identity,
            window=Window(at, at + timedelta(days=3)),
            terms=GrantTerms(),
            **told,
        )
        sweep_bindings(**told)
        refresh_user(user=user, **told)
        gave, _ = adjust_wallet(user=user, amount_xusd=70, key="up", **told)
        took, _ = adjust_wallet(user=user, amount_xusd=-30, key="down", **told)
        reverse_adjustment(posting=took, **told)
        reverse_adjustment(posting=gave, **told)
        with pytest.raises(AlreadyReversed):
            reverse_adjustment(posting=took, **told)
        consume(user=user, amount_xusd=20, key="c-1", **told)
        held = hold(user=user, amount_xusd=60, at=at)
        settle(
            user=user, held=held, spend_xusd=45, owed_xusd=5, source_ref="u:1", at=at
        )
        release(hold(user=user, amount_xusd=10, at=at), at=at)
        settle_user(user=user, **told)
        [perk] = GrantLot.objects.filter(program=program)
        revoke_lot(lot=resume_lot(lot=suspend_lot(lot=perk, **told), **told), **told)
        late = at + timedelta(days=30)
        close_ended_lots(at=late, by=replace(by, effective_at=late))
        seal_entries(at=late)
        return [found.rule for found in findings(account_id=user.account_id)]

    # The use `u:1` is nobody's rating; whatever else is found is wrong.
    assert as_application(everything) == []
    perk = GrantLot.objects.get(user=user, program__program_code="perk")
    assert perk.status == LotStatus.CANCELED
    assert prove_balance(user=user, at=at)
