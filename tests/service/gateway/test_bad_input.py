"""Bad input everywhere: problem details with code, sentence and remedy; never a traceback, never a 500."""

import json
import os
import urllib.parse
import urllib.request

import pytest

GOOD = {"provider": "tax-union", "affair": "child-allowance", "item": "local-tax", "purpose": "collect"}


def problem(answer, status, code=None):
    got, body = answer
    assert got == status, body
    assert {"type", "title", "status", "detail", "remedy"} <= set(body)
    assert code is None or body["title"] == code
    return body


def test_without_a_token_nothing_is_told(nation):
    for token in ("", "wrong", "Bearer"):
        problem(nation.http("ohashi-city", "/inquiries", token=token), 401)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"item": "soul"}, "unknown-item"),
        ({"affair": ""}, "unknown-affair"),
        ({"provider": "nobody"}, "unknown-provider"),
        ({"purpose": "curiosity"}, "unknown-purpose"),
        ({"as_of": "yesterday"}, "as-of"),
        ({"reason": "x" * 2001}, "too-long"),
        ({"local_id": "12345678901"}, "no-code"),
        ({"local_id": "\0"}, "character"),
        ({"expires_days": 10**9}, "expires-days"),
        ({"issued_at": -5}, "issued-at"),
        ({"issued_at": 2**60}, "issued-at"),
    ],
)
def test_wrong_values_are_named(nation, change, code):
    data = {"local_id": nation.local_id("ohashi-city"), **GOOD, **change}
    answer = nation.http("ohashi-city", "/inquiries", data)
    body = problem(answer, 404 if code == "no-code" else 400, code)
    assert str(change.get("local_id", "####")) not in json.dumps(body)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"local_id": 5}',
        b'{"local_id": "1"}',
        b"\xff\xfe",
        b'{"local_id": "\xff", "provider": "tax-union"}',
        b"[" * 5000,
        b'{"a":' * 3000,
        b'{"x": 1e999}',
    ],
)
def test_malformed_bodies(nation, raw):
    problem(nation.http("ohashi-city", "/inquiries", raw), 400)


def test_errors_speak_the_reader_s_language(nation):
    data = {"local_id": "none", **GOOD}
    assert "符号" in nation.http("ohashi-city", "/inquiries", data, Accept_Language="ja")[1]["detail"]
    assert "linkage code" in nation.http("ohashi-city", "/inquiries", data, Accept_Language="en-GB,en")[1]["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/inquiries/zz",
        "/inquiries/" + "00" * 32,
        "/inquiries/" + "00" * 31,
        "/batches/none",
        "/nothing",
        "/inquiries?limit=0",
        "/inquiries?status=nope",
        "/provisions?status=nope",
        "/inquiries?limit=x",
        "/inquiries?before=x",
        "/batches/none/result",
        "/static/../keys.toml",
        "/static/%2e%2e/keys.toml",
    ],
)
def test_addresses_that_lead_nowhere(nation, path):
    status, body = nation.http("ohashi-city", path)
    assert status in (400, 404)
    assert "Traceback" not in str(body)


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH"])
def test_methods_that_are_not_there(nation, method):
    problem(nation.http("ohashi-city", "/inquiries", b"{}", method=method), 405)


def test_numbers_with_wrong_check_digits_are_refused_without_repeating_them(nation):
    data = {"subjects": [{"local_id": "x1", "number": "123456789019"}]}
    body = problem(nation.http("ohashi-city", "/subjects", data), 400, "number-check-digit")
    assert "123456789019" not in json.dumps(body)


def test_an_unknown_number_gets_no_code(nation):
    """The authority knows no such person: nothing is issued, nothing hangs."""
    local_id = os.urandom(4).hex()
    status, told = nation.http(
        "ohashi-city", "/subjects", {"subjects": [{"local_id": local_id, "number": "123456789018"}]}
    )
    assert (status, told) == (202, {"requested": 1})
    problem(nation.ask(local_id=local_id), 404, "no-code")


@pytest.mark.parametrize("body", ["hub", "commission", "numbering-authority", "portal"])
def test_every_body_answers_health_metrics_and_problems(nation, body):
    status, health = nation.http(body, "/health", token="")
    assert (status, health["body"]) == (200, body)
    assert "renkei_" in nation.http(body, "/metrics", token="")[1]
    problem(nation.http(body, "/nothing", token=""), 404)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_json_under_another_name_is_not_taken(nation, kind):
    """A form on a page elsewhere can send these without asking; it must not pass as a call."""
    raw = json.dumps({"local_id": nation.local_id("ohashi-city"), **GOOD}).encode()
    problem(nation.http("ohashi-city", "/inquiries", raw, Content_Type=kind), 415)
    problem(nation.http("ohashi-city", "/flags", raw, Content_Type=kind), 415)


def test_the_openapi_document_describes_the_interface(nation):
    """Also how calls fail, what they need, and bodies that are streams."""
    status, schema = nation.http("ohashi-city", "/schema/openapi.json")
    assert status == 200
    assert {"/inquiries", "/inquiries/{id}", "/batches", "/provisions"} <= set(schema["paths"])
    assert schema["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            told = operation["responses"]
            private = path not in ("/health", "/metrics")
            assert bool(operation.get("security")) == private, path
            assert ("401" in told) == private
            assert ("404" in told) == ("{" in path)
            for code, response in told.items():
                if code >= "400":
                    assert list(response["content"]) == ["application/problem+json"], (path, method, code)
    asked = schema["paths"]["/inquiries"]["post"]
    assert {"200", "202", "400", "401", "403", "409", "413", "415", "503"} <= set(asked["responses"])
    body = schema["paths"]["/batches"]["post"]["requestBody"]["content"]
    assert set(body) == {"text/csv", "application/x-ndjson"}
    problem_shape = schema["components"]["schemas"]["Problem"]["properties"]
    _, refused = nation.http("ohashi-city", "/inquiries", {"local_id": "1", **GOOD, "item": "soul"})
    assert set(refused) <= set(problem_shape)


@pytest.mark.parametrize("body", ["ohashi-city", "hub"])
def test_the_reference_is_a_page_that_needs_nothing_from_elsewhere(nation, body):
    status, page = nation.http(body, "/schema")
    assert status == 200
    assert "/health" in page
    assert "http" + "://" not in page
    assert "https://" not in page
    assert "<script" not in page


def test_a_wrong_sign_in_is_no_success(nation):
    """Programs that watch for guessing count by status."""
    for body in ("ohashi-city", "portal"):
        with urllib.request.urlopen(nation.url(body) + "/signin") as page:
            cookie = page.headers["set-cookie"].split(";")[0]
            token = page.read().decode().partition('name="_csrf_token" value="')[2].partition('"')[0]
        form = urllib.parse.urlencode({"_csrf_token": token, "token": "x", "secret": "x"}).encode()
        kind = "application/x-www-form-urlencoded"
        answer = nation.http(body, "/signin", form, Content_Type=kind, Cookie=cookie, token="")
        assert answer[0] == 403
        assert "name=" in answer[1]
