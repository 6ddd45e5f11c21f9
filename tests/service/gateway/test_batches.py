"""Batch files: progress, a result file in line order, faults by line, restart without asking twice."""

import csv
import io
import json

import pytest

from renkei.record import store as index
from tests.world import until

HEADER = "local_id,provider,affair,item,purpose\n"


def upload(nation, text, kind="text/csv", name="f"):
    return nation.http("ohashi-city", f"/batches?name={name}", text.encode(), Content_Type=kind)


def rows(nation, count):
    person = nation.local_id("ohashi-city")
    return [
        f"{person},tax-union,child-allowance,{'local-tax' if i % 3 else 'disability'},assess-amount"
        for i in range(count)
    ]


def finished(nation, id_):
    return until(lambda: (s := nation.http("ohashi-city", f"/batches/{id_}")[1])["done"] and s, 60)


def test_a_csv_file_is_asked_and_its_result_is_in_order(nation):
    status, told = upload(
        nation, HEADER + "\n".join([*rows(nation, 100), "nobody,tax-union,child-allowance,local-tax,collect", "x,y"])
    )
    assert (status, told["total"]) == (202, 102)
    done = finished(nation, told["id"])
    assert done["states"] == {"answered": 66, "refused": 34, "fault": 2}
    result = list(csv.DictReader(io.StringIO(nation.http("ohashi-city", f"/batches/{told['id']}/result")[1])))
    assert [int(r["line"]) for r in result] == list(range(2, 104))
    assert {r["reason"] for r in result[100:]} == {"no-code", "row-cells"}
    assert json.loads(result[1]["records"])[0]["tax_year"]


def test_json_lines_work_the_same(nation):
    person = nation.local_id("ohashi-city")
    line = {
        "local_id": person,
        "provider": "tax-union",
        "affair": "child-allowance",
        "item": "local-tax",
        "purpose": "collect",
    }
    told = upload(nation, json.dumps(line) + "\n\n{bad\n", "application/x-ndjson")[1]
    done = finished(nation, told["id"])
    assert done["states"] == {"answered": 1, "fault": 1}
    text = nation.http("ohashi-city", f"/batches/{told['id']}/result?format=jsonl")[1]
    assert [json.loads(x)["state"] for x in text.splitlines()] == ["answered", "fault"]


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("", "text/csv", "batch-header"),
        (HEADER, "text/csv", "batch-empty"),
        ("a,b\n1,2\n", "text/csv", "batch-header"),
        (HEADER + 'x,"y\n', "text/csv", "batch-csv"),
        ("x", "application/pdf", "batch-format"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_whole(nation, text, kind, code):
    status, body = upload(nation, text, kind)
    assert status in (400, 415)
    assert body["title"] == code


def test_a_restart_goes_on_where_it_stopped(nation):
    told = upload(nation, HEADER + "\n".join(rows(nation, 300)))[1]
    nation.stop_body("ohashi-city")
    nation.start_body("ohashi-city")
    done = finished(nation, told["id"])
    assert sum(done["states"].values()) == 300
    assert done["states"]["fault"] == 0


def test_a_provider_that_answers_hundreds_at_once_records_every_outcome(nation):
    """It was away while a file was asked: its permits come all together, more than one message of outcomes holds."""
    nation.stop_body("tax-union")
    lines = [line.replace("disability", "local-tax") for line in rows(nation, 400)]
    told = upload(nation, HEADER + "\n".join(lines))[1]
    until(lambda: nation.http("ohashi-city", f"/batches/{told['id']}")[1]["states"].get("permitted") == 400, 60)
    nation.start_body("tax-union")
    assert finished(nation, told["id"])["states"]["answered"] == 400
    hub = nation.world.institutions["hub"]
    size = hub.keeper.tree.size
    until(lambda: hub.database.read_now(lambda c: index.open_between(c, 0, size)) == [], 30)
