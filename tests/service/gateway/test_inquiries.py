"""One inquiry through the gateway's REST interface: answered, refused with the row, repeated, waited for, never lost."""

import os
import time

from tests.world import until


def test_a_lawful_inquiry_is_answered_with_the_specification_s_fields(nation, pack):
    status, told = nation.ask()
    assert (status, told["state"]) == (200, "answered")
    assert told["rows"] == ["74"]
    names = {f.name for f in pack.specifications["local-tax"].fields}
    assert told["records"]
    assert set(told["records"][0]) <= names


def test_refusals_cite_the_row_and_are_in_the_record(nation):
    """Wrong affair, wrong body, item outside the row, out of date: each with what it would have needed, each a leaf."""
    leaves = []
    for sender, changes, reason, row in (
        ("ohashi-city", {"item": "disability"}, "item-outside-row", "74"),
        ("ohashi-city", {"item": "pension-benefits"}, "wrong-provider", "75"),
        ("national-tax", {}, "wrong-requester", "74"),
        ("employment-office", {"affair": "long-term-care-benefits-and-premiums"}, "wrong-requester", "94"),
        ("ohashi-city", {"issued_at": 1_500_000_000_000}, "issued-at", "74"),
        ("ohashi-city", {"expires_days": 400}, "expires", "74"),
    ):
        status, told = nation.ask(sender, **changes)
        assert (status, told["state"], told["reason"]) == (200, "refused", reason)
        assert row in told["rows"]
        assert told["records"] is None
        leaves.append(told["leaf"])
    assert len(set(leaves)) == 6
    assert min(leaves) > 0


def test_prefer_wait_and_status_url(nation):
    """202 with a status URL at once, 200 once it has ended (RFC 7240)."""
    status, told = nation.ask(wait=0)
    assert (status, told["state"]) == (202, "submitted")
    status, later = nation.http("ohashi-city", told["status_url"], Prefer="wait=10")
    assert (status, later["state"]) == (200, "answered")


def test_the_same_idempotency_key_is_one_inquiry(nation):
    """Same key and content: same inquiry. Same key, other content: conflict."""
    key, data = os.urandom(8).hex(), {"local_id": nation.local_id("ohashi-city"), "provider": "tax-union"}
    data |= {"affair": "child-allowance", "item": "local-tax", "purpose": "collect"}
    first = nation.http("ohashi-city", "/inquiries", data, Idempotency_Key=key)[1]
    again = nation.http("ohashi-city", "/inquiries", data, Idempotency_Key=key)[1]
    assert first["id"] == again["id"]
    status, problem = nation.http(
        "ohashi-city", "/inquiries", {**data, "purpose": "certificate-omission"}, Idempotency_Key=key
    )
    assert (status, problem["title"]) == (409, "conflict")


def test_an_absent_provider_answers_when_it_returns(nation):
    """Stop the provider, ask, start it: the answer arrives."""
    nation.stop_body("pension-service")
    try:
        status, told = nation.ask(provider="pension-service", item="pension-benefits", wait=1)
        assert status == 202
        until(lambda: nation.http("ohashi-city", told["status_url"])[1]["state"] == "permitted")
        time.sleep(2.5)  # long enough for the permit to be left in the mailbox
    finally:
        nation.start_body("pension-service")
    assert until(lambda: nation.http("ohashi-city", told["status_url"])[1]["state"] == "answered", 30)


def test_an_absent_hub_delays_and_loses_nothing(nation):
    nation.stop_body("hub")
    try:
        status, told = nation.ask(wait=1)
        assert (status, told["state"]) == (202, "submitted")
    finally:
        nation.start_body("hub")
    assert until(lambda: nation.http("ohashi-city", told["status_url"])[1]["state"] == "answered", 30)


def test_an_absent_commission_delays_and_discloses_nothing(nation):
    """No second signature, no permit."""
    nation.stop_body("commission")
    try:
        told = nation.ask(wait=1)[1]
        time.sleep(1)
        assert nation.http("ohashi-city", told["status_url"])[1]["state"] == "submitted"
    finally:
        nation.start_body("commission")
    assert until(lambda: nation.http("ohashi-city", told["status_url"])[1]["state"] == "answered", 30)


def test_an_absent_requester_finds_its_answer(nation):
    told = nation.ask(wait=0)[1]
    nation.stop_body("ohashi-city")
    nation.start_body("ohashi-city")
    assert until(lambda: nation.http("ohashi-city", told["status_url"])[1]["state"] == "answered", 30)


def test_withheld_unknown_and_no_data_are_one_answer(nation):
    """The requester sees the same state and the same empty answer; the record says the same of all three."""
    withheld = nation.local_id("tax-union")
    nation.http("tax-union", "/flags", {"local_id": withheld, "manual": False, "withheld": True})
    try:
        hidden = nation.ask()[1]
    finally:
        nation.http("tax-union", "/flags", {"local_id": withheld, "manual": False, "withheld": False})
    empty = nation.ask(
        "kiriyama-town", persona=1, affair="long-term-care-benefits-and-premiums", item="resident-record"
    )[1]
    for answer in (hidden, empty):
        assert (answer["state"], answer["records"], answer["reason"]) == ("answered", [], "")
    assert set(hidden) == set(empty)


def test_manual_release_looks_like_an_absent_provider_until_released(nation):
    """Held at the provider; permitted at the requester; answered after a clerk's release, and only once."""
    person = nation.local_id("tax-union")
    nation.http("tax-union", "/flags", {"local_id": person, "manual": True, "withheld": False})
    try:
        told = nation.ask(wait=1)[1]
        until(lambda: nation.http("ohashi-city", told["status_url"])[1]["state"] == "permitted")
        held = until(
            lambda: [p for p in nation.http("tax-union", "/provisions?status=held")[1] if p["id"] == told["id"]]
        )
        assert held[0]["reason"] == "manual-release"
        assert nation.http("tax-union", f"/provisions/{told['id']}/release", b"")[0] == 200
        done = until(lambda: (r := nation.http("ohashi-city", told["status_url"])[1])["state"] == "answered" and r)
        assert done["records"]
        assert nation.http("tax-union", f"/provisions/{told['id']}/release", b"")[0] == 409
    finally:
        nation.http("tax-union", "/flags", {"local_id": person, "manual": False, "withheld": False})


def test_a_declined_answer_looks_like_no_data(nation):
    person = nation.local_id("tax-union")
    nation.http("tax-union", "/flags", {"local_id": person, "manual": True, "withheld": False})
    try:
        told = nation.ask(wait=1)[1]
        until(lambda: nation.http("tax-union", f"/provisions/{told['id']}/decline", b"")[0] == 200)
        done = until(lambda: (r := nation.http("ohashi-city", told["status_url"])[1])["state"] == "answered" and r)
        assert done["records"] == []
    finally:
        nation.http("tax-union", "/flags", {"local_id": person, "manual": False, "withheld": False})


def test_the_permit_can_be_fetched_and_verified_with_two_keys(nation):
    from renkei.ledger.notes import Verifier
    from renkei.record.permit import Notary, from_file

    told = nation.ask()[1]
    status, text = nation.http("ohashi-city", f"/inquiries/{told['id']}/permit")
    assert status == 200
    keys = (nation.folder / "verifiers.txt").read_text().split()
    permit = from_file(text)
    Notary([Verifier.from_text(k) for k in keys]).open(permit)
    assert permit.index == told["leaf"]
