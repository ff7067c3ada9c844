"""Heads that were told outside find what was made anew inside."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from structlog.testing import capture_logs

from config.kernel.errors import Invalid
from config.kernel.ids import new_id
from config.tenancy.periodic import jobs
from grants.selectors import heads as module
from grants.selectors.heads import Head, heads, lost_heads, told_heads
from grants.selectors.proof import Finding, findings
from grants.services.seals import seal_entries
from tests.grants.lots import finish_others, give
from tests.tools.tables import run


@pytest.fixture
def ledger(user, at, by):
    """A sealed ledger account of two entries."""
    finish_others(at=at, by=by)
    for amount in (5, 7):
        give(user, amount, at=at, by=by)
    seal_entries(at=at)
    return user.ledger_accounts.get(kind="promotional")


def head_of(ledger):
    return next(head for head in heads() if head.ledger_account_id == ledger.pk)


def make_anew(ledger, at):
    """Change the first entry, and seal all of the account again, as if it always was so."""
    run("SET CONSTRAINTS ALL IMMEDIATE")
    for table in ("ledger_entries", "ledger_seals", "ledger_accounts"):
        run(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    run(
        "UPDATE ledger_entries SET occurred_at = occurred_at - interval '1 day' "
        "WHERE ledger_account_id = %s AND seq = 1", [ledger.pk],
    )  # fmt: skip
    run("DELETE FROM ledger_seals WHERE ledger_account_id = %s", [ledger.pk])
    run("UPDATE ledger_accounts SET sealed_count = 0 WHERE id = %s", [ledger.pk])
    seal_entries(at=at)


def test_heads_that_are_there_are_found(ledger, user, at, by):
    told = list(heads())
    give(user, 11, at=at, by=by)
    seal_entries(at=at)

    assert list(lost_heads(told)) == []


def test_a_chain_that_was_made_anew_fits_itself_and_not_its_head(ledger, user, at):
    told = head_of(ledger)
    make_anew(ledger, at)

    rules = {finding.rule for finding in findings(account_id=user.account_id)}
    [lost] = lost_heads([told])

    assert "hash_chain" not in rules
    assert lost == Finding(
        "seal_head_is_in_its_chain", user.realm_id, user.pk, str(ledger.pk),
        f"entry 2 was sealed as {told.hash.hex()}; its seal is {head_of(ledger).hash.hex()}",
    )  # fmt: skip


@pytest.mark.parametrize("lacks", ["seal", "account", "realm"])
def test_a_head_of_what_is_gone(ledger, monkeypatch, lacks):
    monkeypatch.setattr(module, "AT_ONCE", 1)
    told = head_of(ledger)
    gone = {
        "seal": Head(told.realm_id, told.ledger_account_id, 3, told.hash),
        "account": Head(told.realm_id, new_id(), told.seq, told.hash),
        "realm": Head("nowhere", told.ledger_account_id, told.seq, told.hash),
    }[lacks]

    [lost] = lost_heads([told, gone, told])

    assert lost.subject == str(gone.ledger_account_id)
    assert lost.message.endswith("there is no such seal")


@pytest.mark.parametrize(
    "changed",
    [{"seq": "x"}, {"seq": 0}, {"seq": 2**63}, {"hash": "xyz"}, {"hash": 5},
     {"ledger_account": "x"}, {"ledger_account": 5}],
)  # fmt: skip
def test_a_line_that_is_no_head(changed):
    head = Head("orbit", new_id(), 7, bytes(32))
    lines = [json.dumps(head.facts()), json.dumps(head.facts() | changed)]

    with pytest.raises(Invalid, match="Line 2 is no head"):
        list(told_heads(lines))


def verified(path, **options):
    out = StringIO()
    call_command(
        "verify_ledger", heads=str(path), stdout=out, stderr=StringIO(), **options
    )
    return out.getvalue()


@pytest.fixture
def exported(committed_realm, make_user, at, by, tmp_path):
    """What `seal_heads` printed, in a file."""
    give(make_user(committed_realm), 5, at=at, by=by)
    seal_entries(at=at)
    path, out = tmp_path / "heads", StringIO()
    call_command("seal_heads", stdout=out)
    path.write_text(out.getvalue())
    return path


def test_what_the_log_tells_every_night_is_what_the_command_tells(exported, at):
    with capture_logs() as logs:
        jobs()["prove_ledger"].run(at)

    lines = ["starting\n", "{\n", *(f"web-1 | {json.dumps(line)}\n" for line in logs)]
    assert list(told_heads(lines)) == list(
        told_heads(exported.read_text().splitlines())
    )


def test_the_commands_tell_heads_and_find_them_again(committed_realm, exported):
    count = len(exported.read_text().splitlines())

    assert f"1 accounts, 18 rules, {count} heads, 0 findings" in verified(
        exported, realm=committed_realm.pk
    )


def test_the_command_names_the_head_that_is_lost_and_fails(committed_realm, exported):
    [told, *_] = map(json.loads, exported.read_text().splitlines())
    exported.write_text(json.dumps(told | {"hash": "00" * 32}))

    with pytest.raises(SystemExit) as end:
        verified(exported, realm=committed_realm.pk)

    assert end.value.code == 1


@pytest.mark.parametrize("text", ["", "nothing of the kind\n"])
def test_a_file_without_a_head_compares_nothing(committed, tmp_path, text):
    (tmp_path / "heads").write_text(text)

    with pytest.raises(CommandError, match="tells no head"):
        verified(tmp_path / "heads")


def test_a_file_that_is_not_there(committed, tmp_path):
    with pytest.raises(CommandError, match="No such file"):
        verified(tmp_path / "nowhere")
