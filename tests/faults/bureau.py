"""Everybody at work at once, and what each of them was told: officers at the console, a body's clerk, a resident, and who inquires.

All go through public entrances, from threads of their own, and meet errors as people do: who got none knows that it is done; who was
refused knows that it is not; who got an error, or no answer, knows nothing.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import itertools
import re
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from renkei.messages.wire import Assessment, Confirm, ExceptionalPermit, Lift, Measure, Order, decode_signed
from renkei.record.entries import ActLeaf, decode_entry
from tests.console import Browser, Console
from tests.faults.checker import rows
from tests.world import Running, until

JAPAN = dt.timezone(dt.timedelta(hours=9))
DONE, REFUSED, UNSURE = "done", "refused", "unsure"
BODY = "ohashi-city"
"""The body that inquires, and is asked to explain itself."""
SCOPES = [
    {"requester": BODY, "item": "local-tax"},
    {"body": "tax-union"},
    {"provider": "pension-service", "affair": "child-allowance"},
]
ASKED = [("tax-union", "local-tax"), ("tax-union", "disability"), ("pension-service", "pension-benefits")]


class Bureau:
    """A nation's supervision at work. ``told`` holds what was said of each act, by kind and by the words that name it."""

    def __init__(self, nation: Running, *, pause: float = 0.06) -> None:
        self.nation, self.pause = nation, pause
        self.told: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.trails: list[list[bytes]] = []
        self.inquiries: list[str] = []
        self.crashed: list[BaseException] = []
        self.inspected = 0
        """Inspections whose records were looked through at the end."""
        self.kujo, self.asahina, self.mikami, self.shirase = (
            Console(nation, name) for name in ("kujo", "asahina", "mikami", "shirase")
        )
        self.clerk, self.resident = Browser(nation.url(BODY)), Browser(nation.url("portal"))
        assert self.clerk.form("/signin", token=nation.plan.place(BODY).token)[0] == 200
        assert self.resident.form("/signin", secret=nation.plan.personas[0].secret)[0] == 200
        self._numbers = defaultdict[str, Any](itertools.count)
        self._open: list[str] = []
        self._over = threading.Event()

    # ------------------------------------------------------------------ doing and hearing

    def does(self, what: str, words: str, who: Browser, path: str, to: str = "", /, **fields: str) -> str:
        """One form, sent once; what whoever sent it knows by that."""
        try:
            status, _ = who.form(path, to, **fields)
        except (OSError, http.client.HTTPException):
            status = 599
        said = DONE if status < 300 else REFUSED if status < 500 else UNSURE
        self.told[what, words].append(said)
        return said

    def insists(
        self,
        what: str,
        words: str,
        who: Browser,
        path: str,
        to: str = "",
        /,
        *,
        on: tuple[str, ...] = (UNSURE,),
        **fields: str,
    ) -> str:
        """The same form again until something is known; ``on``: after which words it is tried again."""
        deadline = time.monotonic() + 15
        while (said := self.does(what, words, who, path, to, **fields)) in on and time.monotonic() < deadline:
            self._over.wait(0.3)
        return said

    def page(self, who: Browser, path: str) -> str:
        try:
            status, text = who.get(path)
        except (OSError, http.client.HTTPException):
            return ""
        return text if status == 200 and isinstance(text, str) else ""

    def said(self) -> Counter[str]:
        """How often which word was had."""
        return Counter(word for words in list(self.told.values()) for word in words)

    def summary(self, kind: str) -> dict[str, str]:
        """What is known in the end of each act of ``kind``."""
        return {
            words: DONE if DONE in said else UNSURE if UNSURE in said else REFUSED
            for (of, words), said in list(self.told.items())
            if of == kind
        }

    def _ill_handed(self, acts: list[Any]) -> list[str]:
        """Inspections that were answered, and to which the body handed over anything but all of its records, each once."""
        wrong = []
        answered = {
            bytes(a) for a in self._column("commission", "select answers from case_papers where kind = 'answer'")
        }
        for m in (a for a in acts if isinstance(a, Measure) and a.end and a.document in answered):
            handed = rows(self.nation.folder, "commission", "select document, side, inquiry from handed_records")
            for side, table in (("asked", "inquiries"), ("given", "provisions")):
                here = sorted(bytes(i) for d, s, i in handed if (bytes(d), s) == (m.document, side))
                kept = f"select id from {table} where leaf >= {m.first} and leaf < {m.end} order by id"
                if here != [bytes(i) for i in self._column(BODY, kept)]:
                    wrong.append(f"the inspection in {m.case} was handed {len(here)} records of what was {side}")
            self.inspected += 1
        return wrong

    # ------------------------------------------------------------------ the parts

    def order(self, n: int) -> None:
        """An order, its effect, its end. One in three is signed by nobody who may, and withdrawn."""
        words = f"order {n}"
        if self.does("proposal", words, self.kujo, "/decisions/order", text=words, **SCOPES[n % len(SCOPES)]) != DONE:
            return
        path = self.kujo.at
        if n % 3 == 2:
            self.does("order", words, self.kujo, path, act="sign")
            self.does("order", words, self.shirase, path, act="sign")
            self.insists("withdrawal", words, self.asahina, path, act="withdraw")
            return
        if self.insists("order", words, self.mikami, path, act="sign") == DONE:
            self._over.wait(0.4)
            self.lift(words, path)

    def lift(self, words: str, path: str) -> None:
        """Proposed until the record has what is lifted; then signed."""
        for attempt in range(40):
            if path.rpartition("/")[2] in self._lifted():
                return
            reason = f"lift of {words} ({attempt})"
            while ("proposal", reason) in self.told:
                reason += "'"
            if self.does("proposal", reason, self.kujo, path, act="lift", text=reason) == DONE:
                self.insists("lift", reason, self.mikami, self.kujo.at, act="sign")
                return
            time.sleep(0.3)

    def exception(self, n: int) -> None:
        """An emergency permit by one officer, confirmed by another."""
        words = f"exception {n}"
        scope = {"requester": BODY, "provider": "tax-union", "affair": "child-allowance", "item": "disability"}
        fields = {**scope, "text": words, "days": "3", "emergency": "yes"}
        if self.does("exception", words, self.mikami, "/decisions/exception", **fields) != DONE:
            return
        path = self.mikami.at
        number = path.rpartition("/")[2]
        self.confirm(number, path)
        self.lift(words, path)

    def confirm(self, number: str, path: str) -> None:
        """Tried until it is known to be done: refused while the record has no such permit yet, and when it is on its way already."""
        for _ in range(40):
            if any(isinstance(a, Confirm) and a.number == number for a in self._acts()):
                return
            if self.does("confirmation", number, self.asahina, path, act="confirm") == DONE:
                return
            time.sleep(0.3)

    def assessment(self, n: int) -> None:
        name = f"a{n}"
        fields = {"affairs": "*", "items": "*", "people": "1200", "handlers": "8", "text": f"What could go wrong: {n}."}
        if (
            self.does("draft", name, self.asahina, "/assessments/new", body=BODY, name=name, title=name, **fields)
            == DONE
        ):
            self.insists("assessment", name, self.asahina, self.asahina.at, act="advance", note="")

    def case(self, n: int) -> None:
        """A case is opened, the body asked; the one before is closed."""
        words = f"case {n}"
        if self.does("case", words, self.asahina, "/cases/new", title=words, body=BODY, leaves="1") == DONE:
            path = self.asahina.at
            day = dt.datetime.now(JAPAN).date().isoformat()
            what = {"kind": "inspection", "first": day, "last": day} if n % 2 else {"kind": "explanation"}
            self.does("measure", f"why {n}?", self.asahina, path, text=f"why {n}?", days="14", **what)
            self.does("note", f"note {n}", self.asahina, path, kind="note", text=f"note {n}")
            self._open.append(path)
        if len(self._open) > 1:
            self.insists("measure", f"closed {n}", self.asahina, self._open.pop(0), kind="closing", text=f"closed {n}")

    def report(self, kind: str) -> bool:
        """The resident reports an access not reported yet; whether there was one."""
        page = self.page(self.resident, "/records")
        for at in sorted({int(p) for p in re.findall(r'href="/records/(\d+)"', page)}):
            words = f"{kind} {at}"
            if DONE not in self.told.get(("report", words), ()):
                path = f"/records/{at}"
                self.does("report", words, self.resident, path, f"{path}/report", kind=kind, text=words)
                return True
        return False

    def answer(self) -> bool:
        """The body's clerk answers one thing the commission asked; whether there was one."""
        page = self.page(self.clerk, "/desk/commission")
        for document in re.findall(r'action="/desk/commission/([0-9a-f]{64})"', page):
            words = f"answer {document[:12]}"
            self.does("answer", words, self.clerk, "/desk/commission", f"/desk/commission/{document}", text=words)
            return True
        return False

    def inquire(self, n: int) -> None:
        provider, item = ASKED[n % len(ASKED)]
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, told = self.nation.ask(BODY, wait=0, provider=provider, item=item)
            if status < 300:
                self.inquiries.append(told["id"])

    # ------------------------------------------------------------------ all at once

    def work(self, disturb: Callable[[], None]) -> None:
        """Everybody works until ``disturb`` has returned, and finishes what was begun."""
        self._over.clear()

        def turns(part: str) -> Iterator[int]:
            while not self._over.is_set():
                yield next(self._numbers[part])

        def decisions() -> None:
            for n in turns("decisions"):
                self.order(n)
                if n % 2 == 0:
                    self.exception(n)

        def casework() -> None:
            for n in turns("casework"):
                self.case(n)
                self.assessment(n)

        def people() -> None:
            for n in turns("people"):
                self.report(("unrecognised", "paper")[n % 2])
                self.answer()
                time.sleep(0.2)

        def inquiries() -> None:
            for n in turns("inquiries"):
                self.inquire(n)
                time.sleep(self.pause)

        def guarded(part: Callable[[], None]) -> None:
            try:
                part()
            except BaseException as error:
                self.crashed.append(error)

        parts = [threading.Thread(target=guarded, args=(part,)) for part in (decisions, casework, people, inquiries)]
        for part in parts:
            part.start()
        try:
            disturb()
        finally:
            self._over.set()
            for part in parts:
                part.join(90)
        assert not self.crashed, self.crashed

    def look_at_trail(self) -> None:
        """Note how the trail is now: it must be the beginning of what it is in the end."""
        with contextlib.suppress(sqlite3.OperationalError):
            self.trails.append(self._column("commission", "select entry from trail order by position"))

    def clear(self) -> None:
        """Lift what still stands, so that nothing is held."""

        def cleared() -> bool:
            standing = {a.number: a for a in self._acts() if isinstance(a, Order) and a.number not in self._lifted()}
            for number, order in standing.items():
                self.lift(order.text, f"/decisions/{number}")
            return not standing

        until(cleared, 60)

    def _lifted(self) -> set[str]:
        return {a.number for a in self._acts() if isinstance(a, Lift)}

    # ------------------------------------------------------------------ what they were told, and what is

    def _column(self, body: str, query: str) -> list[Any]:
        return [first for first, *_ in rows(self.nation.folder, body, query)]

    def _acts(self) -> list[Any]:
        entries = (decode_entry(e) for e in self._column("hub", "select entry from ledger_leaves where kind = 'act'"))
        return [decode_signed(leaf.act.payload) for leaf in entries if isinstance(leaf, ActLeaf)]

    def deceived(self) -> list[str]:
        """Who was told what is not so: done and not there, or there twice; refused and there."""
        acts, body = self._acts(), "commission"
        proposed = [decode_signed(d) for d in self._column(body, "select decision from proposals")]
        found = {
            "proposal": Counter(d.text for d in proposed if not isinstance(d, Confirm)),
            "withdrawal": Counter(
                decode_signed(d).text
                for d in self._column(body, "select decision from proposals where state = 'withdrawn'")
            ),
            "order": Counter(a.text for a in acts if isinstance(a, Order)),
            "lift": Counter(a.text for a in acts if isinstance(a, Lift)),
            "exception": Counter(a.text for a in acts if isinstance(a, ExceptionalPermit)),
            "confirmation": Counter(a.number for a in acts if isinstance(a, Confirm)),
            "assessment": Counter(a.name for a in acts if isinstance(a, Assessment)),
            "draft": Counter(self._column(body, "select name from assessment_drafts")),
            "case": Counter(self._column(body, "select title from cases")),
            "measure": Counter(self._column(body, "select text from case_papers where document is not null")),
            "note": Counter(self._column(body, "select text from case_papers where kind = 'note'")),
            "report": Counter(self._column(body, "select text from case_papers where kind = 'report'")),
            "answer": Counter(self._column(body, "select text from case_papers where kind = 'answer'")),
        }
        allowed = {DONE: (1,), REFUSED: (0,), UNSURE: (0, 1)}
        wrong = [
            f"{kind} `{words}`: {said}, and there {found[kind][words]} times"
            for kind in found
            for words, said in self.summary(kind).items()
            if found[kind][words] not in allowed[said]
        ]
        wrong += self._ill_handed(acts)
        trail = self._column(body, "select entry from trail order by position")
        wrong += [
            f"the trail of {len(t)} entries is not the beginning of it" for t in self.trails if trail[: len(t)] != t
        ]
        return wrong
