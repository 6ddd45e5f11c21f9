"""At saturation a request is turned away at once, in so many words, and what was accepted is kept."""

import json
import urllib.error
import urllib.request

import pytest

from tests.world import until

BODY, MOST = "kiriyama-town", 12


@pytest.fixture
def narrow(nation):
    """A town that lets no more than ``MOST`` messages wait for the hub, and a hub that is away."""
    settings = nation.folder / BODY / "settings.toml"
    text = settings.read_text("utf-8")
    nation.stop_body(BODY)
    settings.write_text(f"backlog_most = {MOST}\n{text.replace('backlog_most = 5000', '')}", "utf-8")
    nation.start_body(BODY)
    nation.stop_body("hub")
    yield nation
    if "hub" not in nation.world.institutions:
        nation.start_body("hub")
    nation.stop_body(BODY)
    settings.write_text(text, "utf-8")
    nation.start_body(BODY)


def post(nation, key):
    """Ask; status, headers and body."""
    place = nation.plan.place(BODY)
    data = {"local_id": nation.local_id(BODY, 1), "provider": "tax-union", "affair": "child-allowance"}
    data |= {"item": "local-tax", "purpose": "assess-amount"}
    headers = {"Authorization": f"Bearer {place.token}", "Content-Type": "application/json", "Idempotency-Key": key}
    request = urllib.request.Request(f"{place.url}/inquiries", json.dumps(data).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.load(error)


def test_beyond_the_backlog_requests_are_turned_away_and_nothing_accepted_is_lost(narrow):
    nation = narrow
    told = [post(nation, f"pressed-{n}") for n in range(MOST + 20)]
    accepted = [body["id"] for status, _, body in told if status == 202]
    turned = [(headers, body) for status, headers, body in told if status == 503]
    assert len(accepted) + len(turned) == len(told)
    assert MOST <= len(accepted) < MOST + 10  # a little more: what waits together is owed together
    assert {body["title"] for _, body in turned} == {"busy"}
    assert all(int(headers["Retry-After"]) > 0 for headers, _ in turned)
    assert (
        post(nation, "pressed-0")[2]["id"] == accepted[0]
    )  # what was accepted is not turned away when asked for again
    nation.start_body("hub")
    for id_ in accepted:
        until(lambda id_=id_: nation.http(BODY, f"/inquiries/{id_}")[1]["state"] == "answered", 30)
    last = f"pressed-{MOST + 19}"  # and who was turned away comes again
    body = until(lambda: (told := post(nation, last))[0] == 202 and told[2], 10)
    until(lambda: nation.http(BODY, f"/inquiries/{body['id']}")[1]["state"] == "answered", 30)
