"""Impact assessments: from draft to publication by the steps of their level, and no linkage without one."""

import datetime as dt
import re
import xml.etree.ElementTree as ET

from renkei.commission import store
from renkei.messages.wire import Assessment
from tests.console import Console
from tests.world import until

ATOM = "{http://www.w3.org/2005/Atom}"


def commission(nation):
    return nation.world.institutions["commission"]


def take_in(inspector, **changes):
    fields = {
        "body": "ohashi-city", "name": "tax", "title": "Local tax", "affairs": "*", "items": "*", "people": "12,000",
        "handlers": "80", "text": "What could go wrong, and what we do about it.",
    }  # fmt: skip
    status, page = inspector.form("/assessments/new", **{**fields, **changes})
    return status, page, inspector.at.rpartition("/")[2]


def assessments(nation, body):
    return commission(nation).keeper.state.oversight.assessments.get(body, {})


def test_a_basic_assessment_is_published_at_once_and_found_in_the_register(nation, inspector):
    status, page, id_ = take_in(inspector)
    assert (status, "Basic assessment" in page) == (200, True)
    status, page = inspector.form(f"/assessments/{id_}", act="advance", note="")
    assert status == 200, page
    published = until(lambda: assessments(nation, "ohashi-city").get("tax"))
    assert (published.level, published.people, published.handlers) == ("basic", 12_000, 80)
    public = Console(nation)
    assert "Local tax" in public.get("/register?q=go+wrong")[1]
    assert "Local tax" not in public.get("/register?q=zebra")[1]
    status, page = public.get("/register/ohashi-city/tax")
    assert (status, published.document.hex() in page) == (200, True)
    assert public.get("/register/ohashi-city/nothing")[0] == 404


def test_the_same_assessment_holds_again_after_another(nation, inspector):
    """A, then B, then A once more, all on one day: the last one published is in force."""
    for handlers in ("81", "82", "81"):
        _, _, id_ = take_in(inspector, name="again", title="Again", handlers=handlers)
        assert inspector.form(f"/assessments/{id_}", act="advance", note="")[0] == 200
        until(lambda h=int(handlers): (a := assessments(nation, "ohashi-city").get("again")) and a.handlers == h)
    assert [a.handlers for a in commission(nation).keeper.state.oversight.superseded if a.name == "again"] == [81, 82]


def test_the_feed_is_atom_and_names_what_was_published(nation, inspector):
    _, _, id_ = take_in(inspector, name="feed", title="Tax & <fees>")
    inspector.form(f"/assessments/{id_}", act="advance", note="")
    until(lambda: assessments(nation, "ohashi-city").get("feed"))
    status, text = Console(nation).get("/register.atom")
    feed = ET.fromstring(text)
    assert (status, feed.tag) == (200, f"{ATOM}feed")
    entries = {e.findtext(f"{ATOM}title"): e for e in feed.iter(f"{ATOM}entry")}
    (title,) = [t for t in entries if "Tax & <fees>" in t]
    for needed in ("id", "updated", "title"):
        assert entries[title].findtext(f"{ATOM}{needed}"), needed
    dt.datetime.fromisoformat(entries[title].findtext(f"{ATOM}updated"))
    assert len({e.findtext(f"{ATOM}id") for e in entries.values()}) == len(entries)


def test_a_full_assessment_passes_comment_and_review_first(nation, inspector):
    """A local body: public comment, third-party review. Nothing is skipped, and the comment period is waited for."""
    status, page, id_ = take_in(inspector, name="full", people="300000", title="Everything")
    assert (status, "Full and basic assessment" in page, "Third-party review" in page) == (200, True, True)
    assert inspector.form(f"/assessments/{id_}", act="advance", note="")[0] == 200
    public = Console(nation)
    status, page = public.form(f"/comment/{id_}", text="Why so many handlers?")
    assert (status, "Thank you" in page) == (200, True)
    assert public.form(f"/comment/{id_}", text=" ")[0] == 400
    status, page = inspector.form(f"/assessments/{id_}", act="advance", note="")
    assert (status, "may still comment" in page) == (409, True)
    here = commission(nation)
    ended = (
        store.assessments.update()
        .where(store.assessments.c.id == int(id_))
        .values(since=here.clock() - 31 * 86_400_000)
    )
    nation.do(here.database.write(lambda c: c.execute(ended)))
    assert public.form(f"/comment/{id_}", text="Too late")[0] == 409
    assert inspector.form(f"/assessments/{id_}", act="advance", note="")[0] == 200
    assert inspector.form(f"/assessments/{id_}", act="advance", note="")[0] == 400  # the review has a finding
    assert "full" not in assessments(nation, "ohashi-city")
    assert inspector.form(f"/assessments/{id_}", act="advance", note="Reviewed; sound.")[0] == 200
    assert until(lambda: assessments(nation, "ohashi-city").get("full")).level == "full"
    assert "Why so many handlers?" in inspector.get(f"/assessments/{id_}")[1]


def test_too_low_a_level_and_unknown_codes_are_refused(nation, inspector):
    for changes in (
        {"people": "300000", "level": "basic"},
        {"people": "many"},
        {"affairs": "no-such-affair"},
        {"body": "nobody"},
        {"name": "a/b"},
        {"title": ""},
        {"affairs": "", "items": ""},
    ):
        status, page, _ = take_in(inspector, **changes)
        assert status == 400, changes
        assert "What could go wrong" in page  # nothing typed is lost


def test_a_linkage_without_assessment_is_refused_everywhere_and_the_disaster_rule_lets_it_follow(nation, inspector):
    """Hub and commission both refuse, citing it; the one that lapses ends linkage; in a disaster one that follows carries it."""
    today = commission(nation).keeper.state.pack.day(commission(nation).clock())
    yesterday = (today - dt.timedelta(days=1)).isoformat()
    body = "employment-office"
    lapsed = {
        name: Assessment(body, a.affairs, a.items, a.level, "2026-01-01", "2027-01-01", name, lapses=yesterday)
        for name, a in assessments(nation, body).items()
    }
    here = commission(nation)
    for act in lapsed.values():
        nation.do(here.database.write(lambda c, act=act: here.casework.submit(c, act)))
    until(lambda: all(a.lapses for a in assessments(nation, body).values()))
    ask = {"requester": "tax-union", "provider": body, "affair": "local-tax", "item": "employment-insurance"}
    told = nation.ask(**ask)[1]
    assert (told["state"], told["reason"], told["refused_by"]) == ("refused", "provider-assessment", "hub")
    assert "lapsed: no linkage" in Console(nation).get("/register")[1]
    _, _, id_ = take_in(inspector, body=body, name="flood", title="Flood", people="300000", follows="yes")
    status, page = inspector.form(f"/assessments/{id_}", act="advance", note="")
    assert status == 200, page
    flood = until(lambda: assessments(nation, body).get("flood"))
    assert flood.follows
    assert flood.lapses > today.isoformat()
    assert nation.ask(**ask)[1]["reason"] != "provider-assessment"


def test_a_withdrawn_draft_goes_no_further(nation, inspector):
    _, _, id_ = take_in(inspector, name="gone")
    assert inspector.form(f"/assessments/{id_}", act="withdraw")[0] == 200
    assert inspector.form(f"/assessments/{id_}", act="advance", note="")[0] == 409
    assert "gone" not in assessments(nation, "ohashi-city")


def test_two_assessments_of_the_same_text_keep_their_own_titles(nation, inspector):
    """Many have no text at all: what is published and hashed is title and text."""
    for name, title in (("same-1", "Child allowance"), ("same-2", "Local tax, too")):
        _, _, id_ = take_in(inspector, name=name, title=title, text="The same words.")
        assert inspector.form(f"/assessments/{id_}", act="advance", note="")[0] == 200
        until(lambda name=name: assessments(nation, "ohashi-city").get(name))
    assert "Child allowance" in Console(nation).get("/register/ohashi-city/same-1")[1]
    assert "Local tax, too" in Console(nation).get("/register/ohashi-city/same-2")[1]


def test_the_other_language_shows_the_same_search(nation):
    """And what is in the address stays an address."""
    _, page = Console(nation).get("/register?q=a+b&x=%22%3E%3Cscript%3E")
    link = re.search(r"href=\"(/register\?lang=[^\"]*)\"", page)[1]
    assert link == "/register?lang=ja&amp;q=a+b&amp;x=%22%3E%3Cscript%3E"
