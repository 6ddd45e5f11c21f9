"""The portal: records of one's own and of nobody else, refusals included, each with a proof anyone can check."""

import asyncio
import re

from renkei.ledger.notes import Verifier
from renkei.nation.demo import portal_page
from renkei.record.permit import Notary, from_file
from tests.world import until


def page(nation, path, persona=0):
    return asyncio.run(portal_page(nation.plan, path, persona))


def test_records_appear_with_what_came_of_them(nation):
    answered, refused = nation.ask()[1], nation.ask(item="disability")[1]
    html = until(lambda: (p := page(nation, "/records")) and f"/records/{refused['leaf']}" in p and p)
    assert f"/records/{answered['leaf']}" in html
    one = until(lambda: (p := page(nation, f"/records/{answered['leaf']}")) and "Information was provided" in p and p)
    for word in ("Enishi Local Tax Union", "Ohashi City", "linkage table, row 74", "Take the proof along", "Yes."):
        assert word in one
    other = page(nation, f"/records/{refused['leaf']}")
    assert "does not name this item" in other
    assert "row 74" in other


def test_another_resident_sees_nothing_of_it(nation):
    told = nation.ask()[1]
    until(lambda: f"/records/{told['leaf']}" in page(nation, "/records"))
    assert f"/records/{told['leaf']}" not in page(nation, "/records", persona=2)
    assert "no such record" in page(nation, f"/records/{told['leaf']}", persona=2)
    assert "no such record" in page(nation, f"/records/{told['leaf']}/proof", persona=2)


def test_a_withheld_inquiry_is_not_shown(nation):
    told = nation.ask(withheld=True)[1]
    shown = nation.ask()[1]
    html = until(lambda: (p := page(nation, "/records")) and f"/records/{shown['leaf']}" in p and p)
    assert f"/records/{told['leaf']}" not in html


def test_the_proof_taken_along_verifies_with_two_keys(nation):
    told = nation.ask()[1]
    text = until(lambda: (p := page(nation, f"/records/{told['leaf']}/proof")).startswith("c2sp.org") and p)
    keys = (nation.folder / "verifiers.txt").read_text().split()
    Notary([Verifier.from_text(k) for k in keys]).open(from_file(text))


def test_without_signing_in_there_is_nothing(nation):
    for path in ("/records", "/records/5", "/records/5/proof"):
        assert nation.http("portal", path, token="")[0] == 401
    assert (
        nation.http("portal", "/signin", b"secret=x", token="", Content_Type="application/x-www-form-urlencoded")[0]
        == 403
    )


def test_a_wrong_code_is_answered_kindly_and_not_with_a_session(nation):
    html = page(nation, "/signin?lang=en")
    assert re.search(r"Sign-in code", html) or "Who looked" in html


def test_the_portal_holds_the_same_log_as_hub_and_commission(nation):
    """Three copies, one root."""
    nation.ask()
    hub, commission, portal = (nation.world.institutions[b] for b in ("hub", "commission", "portal"))
    size = until(lambda: portal.filing.head and portal.filing.head.size)
    roots = {k.tree.root(size) for k in (hub.keeper, commission.keeper)} | {portal.filing.tree.root(size)}
    assert len(roots) == 1
    assert not portal.alarm
