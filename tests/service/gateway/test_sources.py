"""The wizard at the desk: a mapping proposed, tried, published and answered by; files handed in; and who may not."""

import html
import re
import urllib.request
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import msgspec
import pytest

from renkei.institution.settings import Clerk, Home
from tests.console import Browser
from tests.world import Running, until

BODY, ITEM = "tax-union", "local-tax"
FILE_MAPPING = """[medical-benefits]
key = "id"
file = { name = "iryo*.csv" }

[medical-benefits.fields]
"""


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources") / "nation"

    def prepare(plan):
        home = Home(folder / BODY)
        settings = home.settings()
        asker = Clerk("asker", sha256(b"only asks").hexdigest(), ("ask",))
        home.write_toml("settings.toml", msgspec.structs.replace(settings, clerks=(*settings.clerks, asker)))

    running = Running(folder, residents=60, prepare=prepare)
    yield running
    running.stop()


@pytest.fixture
def clerk(nation):
    browser = Browser(nation.url(BODY))
    assert browser.form("/signin", token=nation.plan.place(BODY).token)[0] == 200
    return browser


def text_of(page):
    return html.unescape(re.search(r"<textarea[^>]*>(.*?)</textarea>", page, re.S)[1]).lstrip("\n")


def put(clerk, text, then="try", item=ITEM):
    return clerk.form(f"/desk/sources/{item}", f"/desk/sources/{item}", text=text, then=then)


def income(nation):
    return [r.get("income_total") for r in nation.ask(item=ITEM)[1]["records"]]


def test_from_a_table_to_an_answer(nation, clerk):
    before = income(nation)
    status, page = clerk.get(f"/desk/sources/{ITEM}?table=T_LOCAL_TAX")
    proposed = text_of(page)
    assert (status, proposed.startswith(f"[{ITEM}]")) == (200, True)
    assert 'income_total = "INCOME_TOTAL"' in proposed
    status, page = put(clerk, proposed)
    assert (status, "All of them fit" in page) == (200, True)
    assert income(nation) == before  # it was only tried
    doubled = re.sub(
        r'income_total = "INCOME_TOTAL"', 'income_total = { column = "INCOME_TOTAL", times = 2 }', proposed
    )
    status, page = put(clerk, doubled, "publish")
    assert (status, "Published" in page) == (200, True)
    assert income(nation) == [n and n * 2 for n in before]
    home = nation.folder / BODY
    assert "times" not in (home / "mapping.before.toml").read_text("utf-8")
    assert put(clerk, proposed, "publish")[0] == 200
    assert income(nation) == before
    assert text_of(clerk.get(f"/desk/sources/{ITEM}")[1]).strip() == proposed.strip()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[local-tax",
        '[other]\ntable = "T_LOCAL_TAX"\nkey = "atena_no"\n[other.fields]\n',
        '[local-tax]\ntable = "NOWHERE"\nkey = "a"\n[local-tax.fields]\n',
        '[local-tax]\ntable = "T_LOCAL_TAX"\nkey = "atena_no"\nsurprise = 1\n[local-tax.fields]\n',
        '[local-tax]\nkey = "a"\n[local-tax.fields]\n[people]\ntable="x"\n',
    ],
)
def test_a_mapping_that_cannot_be_used_is_not_published(nation, clerk, text):
    before = (nation.folder / BODY / "mapping.toml").read_bytes()
    status, page = put(clerk, text, "publish")
    assert (status, 'role="alert"' in page) == (400, True)
    assert (nation.folder / BODY / "mapping.toml").read_bytes() == before
    assert nation.ask(item=ITEM)[1]["state"] == "answered"


def test_rows_that_do_not_fit_are_told_without_their_values(nation, clerk):
    text = text_of(clerk.get(f"/desk/sources/{ITEM}?table=T_LOCAL_TAX")[1])
    wrong = re.sub(r'income_total = "INCOME_TOTAL"', 'income_total = "TAX_STATUS"', text)
    status, page = put(clerk, wrong)
    assert (status, "rows do not fit" in page) == (200, True)
    assert "whole number" in page


def upload(clerk, nation, name, content):
    token = re.search(r'name="_csrf_token" value="([^"]*)"', clerk.get("/desk/sources")[1])[1]
    mark = "xxMARKxx"
    body = (
        f'--{mark}\r\nContent-Disposition: form-data; name="_csrf_token"\r\n\r\n{html.unescape(token)}\r\n'
        f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/csv\r\n\r\n'
    ).encode() + content + f"\r\n--{mark}--\r\n".encode()  # fmt: skip
    return clerk._do(
        urllib.request.Request(
            nation.url(BODY) + "/desk/sources/files", body, {"Content-Type": f"multipart/form-data; boundary={mark}"}
        )
    )


def test_a_file_is_handed_in_loaded_or_refused_with_a_report(nation, clerk):
    gateway = nation.world.institutions[BODY]
    pack = gateway.member.pack
    fields = "\n".join(
        f'{f.name} = {{ value = "{pack.terms[f.term].example}" }}'
        for f in pack.specifications["medical-benefits"].fields
    )
    assert put(clerk, FILE_MAPPING + fields, "publish", "medical-benefits")[0] == 200
    assert upload(clerk, nation, "iryo-1.csv", b"id,x\r\n1,\r\n2,\r\n")[0] == 200
    until(lambda: (copy := gateway.adapter.copies.lineage("medical-benefits")) and copy.persons == 2)
    assert upload(clerk, nation, "iryo-2.csv", b"id,x\r\n,\r\n")[0] == 200
    name = until(
        lambda: (found := re.search(r'/desk/sources/reports/([^"]+)"', clerk.get("/desk/sources")[1])) and found[1]
    )
    status, report = clerk.get(f"/desk/sources/reports/{name}")
    assert (status, "id" in (report if isinstance(report, str) else report.decode("utf-8-sig"))) == (200, True)
    for bad in ("../keys.toml", "keys.toml", "..%2fsettings.toml"):
        assert clerk.get(f"/desk/sources/reports/{bad}")[0] in (400, 404)
    for bad in ("", ".hidden", ".."):
        assert upload(clerk, nation, bad, b"x")[0] == 400
    assert upload(clerk, nation, "../../escaped.csv", b"x")[0] == 200
    assert (gateway.home / "drop" / "escaped.csv").exists()  # by its own name, in the one folder
    assert gateway.adapter.copies.lineage("medical-benefits").persons == 2


def test_it_is_for_who_has_the_duty(nation):
    asker = Browser(nation.url(BODY))
    asker.form("/signin", token="only asks")
    for path in ("/desk/sources", f"/desk/sources/{ITEM}", "/desk/sources/reports/x"):
        assert asker.get(path)[0] == 403
    assert put(asker, "x", "publish")[0] == 403
    assert Browser(nation.url(BODY)).get("/desk/sources")[0] == 401


def test_a_clerk_does_not_lead_the_gateway_to_other_servers_nor_to_its_secrets(nation, clerk, tmp_path):
    called = []

    class Seen(BaseHTTPRequestHandler):
        def do_GET(self):
            called.append(self.headers["authorization"])
            self.send_response(404)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Seen)
    Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "secret").write_text("of somebody else")
    proposed = text_of(clerk.get(f"/desk/sources/{ITEM}?table=T_LOCAL_TAX")[1])
    rest = f'rest = {{ url = "http://127.0.0.1:{server.server_port}/", token = "{tmp_path}/secret" }}'
    text = re.sub(r"(?m)^table = .*$", lambda _: rest, proposed)
    assert rest in text
    for then in ("try", "publish"):
        assert put(clerk, text, then)[0] == 400
    server.shutdown()
    assert not called
