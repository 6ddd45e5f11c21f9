"""``python -m bench.page`` writes docs/results.md from the newest runs of ``make bench``, ``make growth`` and ``make soak``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from bench.grow import figure, grew


def page(r: dict[str, Any]) -> str:
    """The results page of one report."""
    m, by, lat = r["machine"], r["cpu_us_per_inquiry_by_process"], r["latency_ms"]
    apart = ("hub", "commission", "bus", "portal", "numbering-authority")
    gateways = sum(v for k, v in by.items() if k not in apart)
    possible = m["cores"] * 1e6 / r["crypto_floor_busy_us"]
    primitives = ", ".join(f"{k} {v}" for k, v in r["primitives_us"].items())
    rows = [
        ("measure", "figure", "beside"),
        ("---", "---", "---"),
        (
            "whole inquiries per second",
            f"{r['inquiries_per_second']} ({r['inquiries']} in batch files, {r['answered']} answered)",
            f"the cryptography alone would allow {possible:.0f}; the goal is 1,000",
        ),
        (
            "CPU per inquiry",
            f"{r['cpu_us_per_inquiry']} µs",
            f"cryptography {r['crypto_floor_busy_us']} µs with all cores busy: {r['cpu_over_floor_busy']} × "
            f"({r['crypto_floor_us']} µs on a quiet machine)",
        ),
        (
            "latency of single requests, p50 / p95 / p99",
            f"{lat['p50']} / {lat['p95']} / {lat['p99']} ms",
            f"{r['latency_rate_per_second']}/s reached of 70 % asked for, up to 200 waiting at once",
        ),
        (
            "latency of one request alone, p50 / p95",
            f"{r['latency_alone_ms']['p50']} / {r['latency_alone_ms']['p95']} ms",
            "two rounds, about ten frames",
        ),
        ("filed at the portal", f"{r['filed_at_portal_s_after']} s after the last answer", ""),
        (
            "conversions per second and core",
            f"{r['conversions_per_second_per_core']}",
            "two multiplications each",
        ),
        (
            "durable ledger appends per second",
            f"{r['ledger_appends_per_second']}",
            "rounds of 64, SQLite `synchronous=FULL`",
        ),
        ("linkage codes issued per second", f"{r['codes_issued_per_second']}", "whole nation, all roles"),
        ("nation ready", f"{r['ready_s']} s", "from nothing to linked personas, 13 processes"),
    ]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"""# Results

`make bench`, then `python -m bench.page` · {r["date"]} · {m["cpu"]}, {m["cores"]} cores,
{m["memory_gb"]} GB, Python {m["python"]}. One process per role, all on this one machine, the load
generator too. The machine is noisy: read ratios, not digits.

{table}

## Where the time goes

CPU per inquiry by process, µs: hub {by["hub"]}, commission {by["commission"]}, all gateways
together (asking and answering) {gateways}, portal {by["portal"]}, bus {by["bus"]}. All include their
part of the resident's file.

Primitives in the same run, µs: {primitives}.

The goal of 1,000 per second is missed by the factor {1000 / r["inquiries_per_second"]:.2f}, that of twice the
cryptography by {r["cpu_over_floor_busy"] / 2:.2f}. Both cores are busy; what is not cryptography is Python, spread
thinly over the event loop, threads' hand-overs, HTTP and SQLAlchemy. It costs most where little is done at once: an
inquiry that travels alone needs two rounds, eight transactions in four bodies and an HTTP call. So single requests
saturate far below files, and the goal of 250 ms for 99 of 100 at 70 % of the files' rate is not met with every body on
one machine.
"""


JAPAN = 124_000_000 * 3
"""Inquiries a year if every resident were asked about three times: an assumption, no count was at hand."""
BUSY_HOURS = 250 * 8
PEAK = 5
USED = 0.7
"""Share of a host's processors that may be busy at the peak."""


def hosts(r: dict[str, Any]) -> str:
    """How many hosts like this one a country needs, from the processor time measured per inquiry."""
    by, prim, cores = r["cpu_us_per_inquiry_by_process"], r["primitives_us"], r["machine"]["cores"]
    apart = ("hub", "commission", "bus", "portal", "numbering-authority")
    gateways = sum(v for k, v in by.items() if k not in apart)
    shared = prim["verify"] + 2 * prim["convert"]
    host = USED * cores * 1e6
    lines = []
    for name, rate in (
        (
            f"Japan, {JAPAN / 1e6:.0f} million a year (assumed), peak {PEAK} × the mean of office hours",
            JAPAN / BUSY_HOURS / 3600 * PEAK,
        ),
        ("Belgium's 57 messages a second", 57),
        ("ten times Aadhaar's 790 a second", 7900),
    ):
        logs = math.ceil(rate * (by["hub"] - shared) / (USED * 1e6))
        alone = rate * max(by["hub"], by["commission"]) <= host
        workers = 0 if alone else math.ceil(rate * shared / host)
        portal, bus = math.ceil(rate * by["portal"] / host), max(3, math.ceil(rate * by["bus"] / host))
        storage = rate * r["hub_bytes_per_inquiry"] / 1e6
        cells = [
            name,
            f"{rate:,.0f}",
            str(logs),
            f"{2 * logs} + {workers}",
            f"{logs} + {workers}",
            str(portal),
            str(bus),
            f"{rate * gateways / host:,.1f}",
            f"{storage:,.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return (
        f"""
## Hosts

For a peak rate, hosts like this one ({cores} cores) with {USED:.0%} of their processors busy, from the figures above. A
log's sequencer is taken for one core's work ({by["hub"] - shared:.0f} µs an inquiry: all of the hub's but signatures
and conversions, {shared:.0f} µs, which its workers share); each has a standby. Where one log is not enough, requesters
are divided among several (docs/adr/0021), which is on paper only. Bodies' own hosts are given together: each body has
one of its own anyway.

| | peak, per second | logs | hub: sequencers, standbys + workers | commission + workers | portal | bus | all bodies | record, MB/s a copy |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""
        + "\n".join(lines)
        + "\n"
    )


def soak(r: dict[str, Any]) -> str:
    """The section of one report of ``make soak``."""
    faults, link = r["faults"], r["linkability"]
    ended = ", ".join(f"{n:,} {state}" for state, n in sorted(faults["ended"].items()))
    killed = ", ".join(f"{body} {n}" for body, n in sorted(faults["killed"].items()))
    most = max(high for _, high in faults["memory_mb"].values())
    wrong = "; ".join(faults["wrong"]) or "nothing"
    left = faults["mailboxes_left"] or "none"
    clues = {clue["clue"]: [clue] for clue in link["hub"]["clues"]}
    for clue in link["commission"]["clues"]:
        clues[clue["clue"]].append(clue)
    rows = "\n".join(f"| {name} | " + " | ".join(_clue(c) for c in both) + " |" for name, both in clues.items())
    return f"""
## Soak

`{r["command"]}` · {r["date"]} · one process per role and three bus servers on the same machine.

{faults["inquiries"]:,} inquiries were accepted in {faults["seconds"]} s while processes were killed −9 and came back
({killed}); {faults["asked_again"]:,} requests met an error and were asked again under their key. They ended: {ended}.
Then the checker of the whole world found wrong: {wrong}; left over in mailboxes: {left};
{faults["leaves"]:,} leaves, {faults["disclosed"]:,} disclosures, each on an earlier leaf. No process used more than {most} MB.

The linkability adversary ({link["hub"]["inquiries"]:,} inquiries about {link["hub"]["people"]} people; ADR 16):
a clue's advantage over chance, between −½ and ½, with its 99.9 % interval.

| clue | with the hub's master | with the commission's |
| --- | --- | --- |
{rows}
"""


def orders(r: dict[str, Any]) -> str:
    """The section of one run of ``bench.orders``."""
    return f"""
## Orders

`{r["command"]}` · {r["date"]} · one process per role; meanwhile {r["inquiries"]:,} inquiries without pause,
{r["inquiry_ms_p50"]} ms each in the median.

From sending an order's last signature in the console to the first inquiry refused by it:
**{r["signed_to_refused_ms_p50"]} ms** in the median of {r["orders"]}, at most {r["signed_to_refused_ms_max"]} ms, of which
{r["console_ms_p50"]} ms are the console's (opening the officer's key, and the page). The last inquiry that was still permitted
was made at most {r["signed_to_last_permitted_ms_max"]} ms after it was sent. Floor: an act enters in one round and takes effect in
the next.
"""


def alarms(r: dict[str, Any]) -> str:
    """The section of one run of ``bench.alarms``."""
    found = "\n".join(f"| {name} | {m['planted']} | {m['found']} |" for name, m in r["misuse"].items())
    return f"""
## Alarms

`{r["command"]}` · {r["date"]} · a simulated year: {r["bodies"]} bodies, {r["clerks"]} clerks,
{r["inquiries"]:,} inquiries; {r["us_per_inquiry"]} µs each.

{r["alarms"]} alarms, {r["false_alarms"]} of them for nothing: {r["false_per_body_and_month"]} per body and month,
{r["false_per_1000_clerk_days"]} per thousand days of a clerk.

| misuse planted | cases | found |
| --- | ---: | ---: |
{found}

Browsing a little every day stays below what a clerk's own days vary: that much is not found by counting, only by the resident who looks.
"""


def cards(r: dict[str, Any]) -> str:
    """The section of one run of ``bench.cards``."""
    by_arithmetic = f"{r['rsa_signatures_per_second']:,} by arithmetic alone; the counter is written twice"
    return f"""
## Certificates and cards

`{r["command"]}` · {r["date"]} · keys in SoftHSM2, certificates and their log in SQLite, one process; per second, medians of rounds
that took turns.

| what | a second | floor |
| --- | ---: | --- |
| OCSP answers signed ahead | {r["ocsp_ahead_per_second"]:,} | reading a row |
| OCSP answers with a nonce | {r["ocsp_nonce_per_second"]:,} | {r["token_signatures_per_second"]:,} signatures by the token |
| sign-ins: signed, checked, and asked of the responder | {r["sign_ins_per_second"]:,} | an answer with a nonce |
| certificates issued, each durable and in the log | {r["issued_per_second"]:,} | a 3,072-bit signature, a transaction |
| signatures by a card, its PIN given each time | {r["card_signatures_per_second"]:,} | {by_arithmetic} |
"""


def visits(r: dict[str, Any]) -> str:
    """The section of one run of ``bench.visits``."""
    return f"""
## With a card

`{r["command"]}` · {r["date"]} · a whole nation in one process on this machine; milliseconds, medians of turns. A signature of the card
takes {r["signature_ms"]} of them, the responder's answer {r["status_ms"]}.

| what | ms |
| --- | ---: |
| signing in at the portal: the page with the challenge, the answer, the resident's records | {r["portal_ms"]} |
| at the clinic: is the patient insured? | {r["clinic_ms"]} |
| the same without network, by the insurer's signed word | {r["clinic_offline_ms"]} |
| a certificate at the kiosk: read, printed, sealed, dated twice, with all answers inside | {r["kiosk_ms"]} |
"""


def adapter(r: list[dict[str, Any]]) -> str:
    """The section of one run of ``bench.adapter``."""
    rows = "\n".join(
        f"| {m['rows']:,} | {m['first_rows_per_second']:,} | {m['again_rows_per_second']:,} | {m['floor_rows_per_second']:,} "
        f"| {m['look_up_us']} | {m['peak_mb']} |"
        for m in r
    )
    return f"""
## A register into a local copy

`python -m bench.adapter` · a register in cp932 (eras as digits, half-width kana, codes), eight fields checked and changed in every row; the
floor decodes the same file, splits it and writes its lines into SQLite.

| rows | rows/s, first | rows/s, again, with what changed | floor, rows/s | one look-up, µs | memory, MB |
| ---: | ---: | ---: | ---: | ---: | ---: |
{rows}
"""


def catalogue(r: dict[str, Any]) -> str:
    """The section of one run of ``bench.catalogue``."""
    d, c = r["datasets"], r["corporations"]

    def row(kind: str, m: dict[str, Any]) -> str:
        return f"| {kind} | {m['median_ms']} | {m['p95_ms']} | {m['most_ms']} | {m['a_second']:,} |"

    head = "| asked | median, ms | 95 of 100 below | most | a second, one thread |\n| --- | ---: | ---: | ---: | ---: |"
    first = "\n".join(row(k, m) for k, m in {**d["questions"], "floor: read by key": d["floor"]}.items())
    others = {"all of these, mixed": c["all mixed"], "floor: by number": c["floor: by number"]}
    second = "\n".join(row(k, m) for k, m in {**c["questions"], **others}.items())
    return f"""
## Searching the catalogue

`python -m bench.catalogue` · {d["count"]:,} datasets, indexed at {d["filled_a_second"]:,} a second; a page of 20 and the count:

{head}
{first}

{c["count"]:,} corporations, loaded at {c["loaded_a_second"]:,} a second into {c["megabytes"]:,} MB; a page of 30, exact names first,
counted up to 10,000:

{head}
{second}
"""


def kept(text: str, title: str) -> str:
    """A section as it stands, for what was not measured anew."""
    start = text.find(f"\n## {title}")
    return text[start : end if (end := text.find("\n## ", start + 1)) > 0 else len(text)] if start >= 0 else ""


def _clue(clue: dict[str, Any]) -> str:
    return f"{clue['advantage']:+.4f} ({clue['low']:+.4f} … {clue['high']:+.4f})"


def growth(r: dict[str, Any]) -> str:
    """The section of one report of ``bench.growth``: a table per thing there may be more of."""
    m = r["machine"]
    return f"""
## How it grows

{m["cpu"]}, {m["cores"]} cores, {m["memory_gb"]} GB, Python {m["python"]}. Beside the figures stands by how much
they changed from the smallest size to the largest, and how they are meant to grow. A dash: not measured, or disturbed
by another load.
""" + "".join(_grown(s) for s in r["sections"].values())


def _grown(section: dict[str, Any]) -> str:
    rows = section["rows"]
    command = "make growth" if section["form"] == "long" else "python -m bench.growth"
    lines = [
        ["", *(f"{row['n']:,}" for row in rows), "grew", "meant to be"],
        ["---", *("---:" for _ in rows), "---", "---"],
        *(
            [m["title"], *(figure(row.get(m["key"])) for row in rows), grew(rows, m["key"]), m["claim"]]
            for m in section["measures"]
        ),
    ]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"""
**{section["title"]}**, by {section["of"]} (`{command}`, {section["date"][:10]})

{table}
"""


if __name__ == "__main__":
    results = Path("bench/results")
    target = Path("docs/results.md")
    before = target.read_text("utf-8")
    latest = results / "latest.json"
    report = json.loads(latest.read_text("utf-8")) if latest.exists() else None
    text = page(report) + hosts(report) if report else before.partition("\n## How it grows")[0]
    sections = {
        "growth": ("How it grows", growth),
        "orders": ("Orders", orders),
        "alarms": ("Alarms", alarms),
        "cards": ("Certificates and cards", cards),
        "visits": ("With a card", visits),
        "adapter": ("A register into a local copy", adapter),
        "catalogue": ("Searching the catalogue", catalogue),
        "soak": ("Soak", soak),
    }
    for name, (title, section) in sections.items():
        file = results / f"{name}.json"
        text += section(json.loads(file.read_text("utf-8"))) if file.exists() else kept(before, title)
    target.write_text(text, "utf-8")
