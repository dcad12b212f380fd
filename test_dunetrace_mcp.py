"""Tests of dunetrace-mcp: whole texts, rule tables and properties, over a Customer API in memory.

python -m pytest              run them; they need no network but loopback
python test_dunetrace_mcp.py --update  rewrite the transcripts and the README's outputs: read the difference
"""

import ast
import contextlib
import doctest
import io
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
import tokenize
import urllib.parse
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from signal import SIGINT, SIGTERM

import anyio
import pytest
import requests
import responses

import dunetrace_mcp as dm

MOST_TOKENS, MOST_LINES = 31_000, 5_200  # of the module: to add is to take away
NOW = 1_800_000_030.0  # 2027-01-15 08:00:30 UTC
HOUR, DAY = 3_600, 86_400
URL = "http://localhost:8002"
SERVER = dm.make_server()
VARIABLES = [name for name in os.environ if name.startswith("DUNETRACE_")]


# ── Helpers ───────────────────────────────────────────────────────────────────────────────────────


class Backend:
    """A Customer API in memory under the rules of the real one. `api` is new, mid or old; a fault
    answers the paths that its pattern finds with (status, headers, body), or raises."""

    def __init__(self, data=(), api="new"):
        lists = {name: [] for name in ("agents", "runs", "signals", "issues")}
        self.data, self.api = {**lists, "per_agent": {}, "paths": {}, **dict(data)}, api
        self.faults, self.asked, self.date = {}, [], NOW

    def __call__(self, request):
        url = urllib.parse.urlsplit(request.url)
        path = urllib.parse.unquote(url.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        self.asked.append(url.path + (f"?{url.query}" if url.query else ""))
        headers = {"Date": formatdate(self.date, usegmt=True)} if self.date else {}
        for pattern, fault in self.faults.items():
            if re.search(pattern, path):
                if isinstance(fault, Exception):
                    raise fault
                return fault[0], {**headers, **fault[1]}, fault[2]
        status, body = self.answer(path.removeprefix("/v1/").split("/"), query)
        return status, headers, json.dumps(body)

    def answer(self, parts, query):
        data, new = self.data, self.api == "new"
        match parts:
            case ["agents"]:
                return 200, page("agents", data["agents"], query)
            case ["runs" | "signals" as what] if new:
                return 200, page(what, data[what], query)
            case ["agents", agent, "runs" | "signals" as what]:
                return self.list_of(agent, what, query)
            case ["runs", ident]:
                found = [row for row in data["runs"] if row["run_id"] == ident]
                own = [row for row in data["signals"] if row["run_id"] == ident]
                missing = 404, {"detail": f"Run {ident!r} not found"}
                return (200, {"signals": own, **found[0]}) if found else missing
            case ["issues", "search"] if new:
                return 200, page("issues", data["issues"], query)
            case ["issues", ident] if new:
                found = [row for row in data["issues"] if str(row["id"]) == ident]
                return (200, found[0]) if found else (404, {"detail": "Issue not found"})
            case ["agents", agent, *what] if new or what == ["insights"] or self.api == "mid":
                return 200, data["per_agent"].get(agent, {}).get("/".join(what), {"fixes": []})
        if new and "/".join(parts) in data["paths"]:
            return 200, data["paths"]["/".join(parts)]
        return 404, {"detail": "Not Found"}

    def list_of(self, agent, what, query):
        kind = query.get("failure_type")
        if self.api == "old" and kind and kind not in OLD_TYPES:
            return 422, {"detail": f"Invalid failure_type {kind!r}. Valid: {sorted(OLD_TYPES)}"}
        return 200, page(what, self.data[what], {**query, "agent_id": agent})


OLD_TYPES = {"TOOL_LOOP", "RETRY_STORM", "CONTEXT_BLOAT", "PROMPT_INJECTION_SIGNAL"}


def page(what, rows, query):
    """A page of a list as the real API cuts it."""
    rows = [row for row in rows if query.get("agent_id") in (None, "", row.get("agent_id"))]
    for name in ("severity", "failure_type", "status"):
        rows = [row for row in rows if query.get(name, row.get(name)) == row.get(name)]
    if "has_signals" in query:
        wanted = query["has_signals"] == "true"
        rows = [row for row in rows if bool(row["signal_count"]) == wanted]
    if query.get("q"):
        rows = [row for row in rows if query["q"].lower() in json.dumps(row).lower()]
    offset, limit = int(query.get("offset", 0)), int(query.get("limit", 50))
    shown = [without(row, "events") for row in rows[offset : offset + limit]]
    told = {"total": len(rows), "offset": offset, "limit": limit}
    return {what: shown, "page": {**told, "has_more": offset + limit < len(rows)}}


def without(row, *names):
    return {name: one for name, one in row.items() if name not in names}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No variable of the outside, a fixed clock, no memory of the test before."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(dm.time, "time", lambda: NOW)
    dm.api_at.cache_clear()


@pytest.fixture
def serve():
    """Serves a Backend under URL for the length of a test."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:

        def serve(data=(), api="new", **faults):
            backend = data if isinstance(data, Backend) else Backend(data, api)
            backend.faults.update(faults)
            mock.reset()
            mock.add_callback("GET", re.compile(f"{URL}/.*"), callback=backend)
            return backend

        yield serve


def ask(tool, **arguments):
    """The text that a client sees of a call."""
    try:
        result = anyio.run(SERVER.call_tool, tool, arguments)
    except dm.DunetraceError as error:
        return f"ERROR {error}"
    return "\n".join(block.text for block in getattr(result, "content", result))


# ── The fleet ─────────────────────────────────────────────────────────────────────────────────────
# Named records from which the backends of the tests are made. Hours count back from NOW.


def uuid(n):
    return f"019e{n:04x}-bd24-7d72-a8be-{n:012x}"


def event(kind, step, at, **payload):
    return {"event_type": kind, "step_index": step, "timestamp": at, "payload": payload}


def call(noun, step, at, ms=100, called=(), **came):
    """A call and its response, which repeats the name."""
    asked = dict(called)
    same = {name: asked[name] for name in ("tool_name", "index_name", "call_id") if name in asked}
    return [
        event(f"{noun}.called", step, at, **asked),
        event(f"{noun}.responded", step, at + ms / 1000, **{**same, **came, "latency_ms": ms}),
    ]


def run(n, agent, hours, end="run.completed", signals=0, version="v1", events=(), **more):
    """A run that ended `hours` ago after ten seconds."""
    at = NOW - hours * HOUR
    row = {
        "run_id": uuid(n) if isinstance(n, int) else n,
        "agent_id": agent,
        "agent_version": version,
        "started_at": at - 10,
        "completed_at": at,
        "exit_reason": end,
        "step_count": 4,
        "signal_count": signals,
        "has_signals": bool(signals),
        "total_tokens": 0,
        "cost_usd": None,
        "events": list(events),
    }
    return {**row, **more}


def signal(n, of, kind="TOOL_LOOP", severity="HIGH", **more):
    """A signal of a run, detected as that ended."""
    row = {
        "id": n,
        **{name: of[name] for name in ("run_id", "agent_id", "agent_version")},
        "failure_type": kind,
        "severity": severity,
        "step_index": 3,
        "confidence": 0.8999999761581421,
        "detected_at": of["completed_at"],
        "shadow": False,
        "evidence": {"tool": "web_search", "count": 6, "first_step": 2, "last_step": 7},
        "title": "Tool loop: `web_search` called 6×",
        "what": "The agent called `web_search` 6 times.",
        "why_it_matters": "Looping agents burn tokens.",
        "suggested_fixes": [
            {"description": "Deduplicate.", "language": "python", "code": "seen = set()"}
        ],
    }
    return {**row, **more}


def agent(name, runs, signals, **more):
    """The row of an agent as the backend counts it."""
    own = [one for one in signals if one["agent_id"] == name]
    kinds = [one["failure_type"] for one in own]
    ends = [at for one in runs if one["agent_id"] == name and (at := one["completed_at"])]
    row = {
        "agent_id": name,
        "last_seen": max(ends, default=None),
        "run_count": sum(one["agent_id"] == name for one in runs),
        "signal_count": len(own),
        "critical_count": sum(one["severity"] == "CRITICAL" for one in own),
        "high_count": sum(one["severity"] == "HIGH" for one in own),
        "sparkline": [],
        "failure_types": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
    }
    return {**row, **more}


def fleet(runs, signals=(), agents=(), **more):
    """The data of a Backend: lists in the order of the real one, agents counted from them."""
    runs = sorted(runs, key=lambda one: -(one["completed_at"] or 0))
    signals = sorted(signals, key=lambda one: -(one["detected_at"] or 0))
    names = dict.fromkeys([one["agent_id"] for one in runs] + [one["agent_id"] for one in signals])
    rows = [agent(name, runs, signals) for name in names]
    rows = [one for one in rows if one["agent_id"] not in {two["agent_id"] for two in agents}]
    return {"agents": [*rows, *agents], "runs": runs, "signals": signals, **more}


def looping(n, agent_id, hours, **more):
    """A run that called one tool six times with the same arguments, and its signal."""
    at, args = NOW - hours * HOUR - 10, '{"q": "the same private question"}'
    asked = {"tool_name": "web_search", "args": args}
    model = {"model": "gpt-4o", "prompt_tokens": 512, "call_id": "c1"}
    came = {"completion_tokens": 98, "finish_reason": "tool_calls"}
    private = {"input_text": "Why is my card 4111111111111111 blocked?"}
    steps = [call("tool", k, at + k, called=asked, success=True) for k in range(2, 8)]
    events = [
        event("run.started", 0, at, model="gpt-4o", **private),
        *call("llm", 1, at + 0.5, 800, called=model, **came),
        *(one for pair in steps for one in pair),
        event("run.completed", 8, at + 9, exit_reason="final_answer", total_steps=8),
    ]
    paid = {"total_tokens": 610, "cost_usd": 0.0042}
    own = run(n, agent_id, hours, signals=1, events=events, **paid, **more)
    focus = {"first_step": 2, "last_step": 7}
    evidence = {"tool": "web_search", "count": 6, **focus, "args_identical": True}
    evidence["args"] = [args] * 6
    what = 'The agent called `web_search` 6 times with "the same private question".'
    return own, signal(n, own, evidence=evidence, what=what, focus=focus)


def crashing(n, agent_id, hours, error="KeyError", **more):
    """A run that a tool's exception ended."""
    at = NOW - hours * HOUR - 10
    model = {"model": "gpt-4o", "prompt_tokens": 40}
    said = {"error_type": error, "error": "'rows' of ann@example.com", "step_index": 2}
    events = [
        event("run.started", 0, at),
        *call("llm", 1, at + 1, 700, called=model, completion_tokens=5),
        event("tool.called", 2, at + 2, tool_name="read_sheet", args="{}"),
        {"event_type": "run.errored", "step_index": 2, "timestamp": at + 3, "payload": said},
    ]
    return run(n, agent_id, hours, "run.errored", events=events, **more)


def healthy(n, agent_id, hours, **more):
    """A run that went well."""
    at = NOW - hours * HOUR - 10
    events = [
        event("run.started", 0, at, input_text="What are your opening hours?"),
        *call("tool", 1, at + 1, called={"tool_name": "lookup", "args": '{"id": 1}'}, success=True),
        event("run.completed", 2, at + 2, exit_reason="final_answer"),
    ]
    return run(n, agent_id, hours, events=events, **more)


def table(names, *rows):
    """Objects of the fields that are named, one for each row."""
    return [dict(zip(names.split(), row, strict=True)) for row in rows]


def insights(*patterns, **more):
    """The insights of an agent with systemic_patterns of (type, affected, total, is_systemic)."""
    names = "failure_type affected_runs total_runs is_systemic rate first_seen last_seen"
    seen = (NOW - 5 * DAY, NOW - 2 * HOUR)
    rows = [(*row, row[1] / row[2], *seen) for row in patterns]
    return {"systemic_patterns": table(names, *rows), **more}


def score(points, samples=24, **parts):
    rows = [(got, most, 50.0, f"% of {name}") for name, (got, most) in parts.items()]
    named = dict(zip(parts, table("score max value label", *rows), strict=True))
    ready = samples >= 30
    return {"score": points, "components": named, "sample_runs": samples, "baseline_ready": ready}


def versions(*rows):
    """`versions` of (name, runs, with signals, first seen hours ago, last seen hours ago)."""
    names = "agent_version run_count runs_with_signals signal_count first_seen last_seen"
    times = [(name, runs, hits, hits, first, last) for name, runs, hits, first, last in rows]
    return table(names, *((*row[:4], NOW - row[4] * HOUR, NOW - row[5] * HOUR) for row in times))


LOOPS = [looping(n, "shop-agent", 2 + n, agent_version="v2") for n in range(1, 9)]
SHOP = [
    *(own for own, _ in LOOPS),
    *(healthy(20 + n, "shop-agent", 30 + 2 * n) for n in range(12)),
    *(crashing(40 + n, "shop-agent", 1.5 + n, version="v2") for n in range(2)),
]
SPIKE = signal(
    30,
    SHOP[1],
    "COST_SPIKE",
    "CRITICAL",
    title="Cost spike: 95700 tokens in one run",
    what="The run used 95700 tokens.",
    evidence={"total_tokens": 95700, "threshold": 50000},
    suggested_fixes=[],
    step_index=8,
)
ODD = run("run 7/β", "🟢 All agents healthy", 4, signals=1)
SHOP_INSIGHTS = insights(
    ("TOOL_LOOP", 8, 22, True),
    ("COST_SPIKE", 1, 22, False),
    signal_trends=table(
        "failure_type day count",
        ("TOOL_LOOP", "2027-01-14", 6),
        ("TOOL_LOOP", "2027-01-15", 2),
        ("COST_SPIKE", "2027-01-15", 1),
        ("TOOL_LOOP", "2026-12-31", 4),
    ),
    input_patterns=table(
        "input_hash failure_type triggered_count total_runs",
        ("e47617d3aa", "TOOL_LOOP", 8, 8),
        ("e47617d3aa", "COST_SPIKE", 8, 8),
        ("0011223344", "TOOL_LOOP", 2, 2),
    ),
    versions=versions(("v2", 10, 8, 12, 1), ("v1", 12, 0, 60, 30)),
    deploy_events=table("id version deployed_at", (1, "v2", NOW - 12 * HOUR)),
    deploy_regressions=table(
        "deploy_id version deployed_at before_runs before_signals after_runs after_signals is_regression",
        (1, "v2", NOW - 12 * HOUR, 12, 0, 6, 6, True),
    ),
    cost_stats={"total_cost_usd": 1.57, "wasted_cost_usd": 0.5, "wasted_pct": 0.318},
)
(MONTH,) = table(
    "total_tokens total_cost_usd run_count wasted_tokens wasted_cost_usd wasted_pct wasted_run_count "
    "excess_cost_usd baseline_tokens",
    (48_800, 0.34, 22, 4_880, 0.034, 0.1, 8, 0.01, 600),
)
HITS = table(
    "run_id step_index severity confidence detected_at", (uuid(1), 3, "HIGH", 0.9, NOW - 3 * HOUR)
)
SHOP_ANSWERS = {
    "health-score": score(41, 22, failure_rate=(7, 40), loop_avoidance=(3, 25)),
    "insights": SHOP_INSIGHTS,
    "fixes": {
        "fixes": table(
            "failure_type applied_via langfuse_version applied_at runs_after recurrences_after verdict",
            ("TOOL_LOOP", "github_pr", 12, NOW - 20 * HOUR, 10, 8, "still_occurring"),
        )
    },
    "token-stats": {
        "windows": dict.fromkeys(("1d", "7d", "30d"), MONTH),
        "waste_by_failure_type": table(
            "failure_type wasted_tokens wasted_cost_usd affected_runs",
            ("TOOL_LOOP", 4880, 0.034, 8),
        ),
    },
    "failure-patterns/TOOL_LOOP": {
        "failure_type": "TOOL_LOOP",
        "overview": {
            **{"affected_runs": 8, "total_runs": 22, "avg_confidence": 0.9},
            **{"first_seen": NOW - 10 * HOUR, "last_seen": NOW - 3 * HOUR},
            "severity_breakdown": {"HIGH": 8, "LOW": 0},
        },
        "step_distribution": {"p25": 2, "p75": 7},
        "evidence_aggregates": table("tool avg_count sample_count", ("web_search", "6.0", 8)),
        "top_runs": HITS,
    },
}
ISSUE = {
    **{"id": 3, "agent_id": "shop-agent", "failure_type": "TOOL_LOOP", "status": "reopened"},
    **{"first_seen": NOW - 5 * DAY, "last_seen": NOW - 12 * HOUR, "resolved_at": NOW - 25 * 60},
    "affected_runs": [without(HITS[0], "severity")],
    **{"affected_runs_count": 8, "clean_runs_since": 2, "fix_category": "prompt"},
    "root_cause": "The prompt of ann@example.com asks twice.",
    "resolution_notes": "see https://example.com/shop/pull/77",
    "code_references": ["src/agent.py"],
}
CAP = {
    **{"id": 1, "agent_id": "*", "name": "cost cap", "enabled": True, "signature": ""},
    "condition": {"trigger": "cost_usd", "operator": "gt", "value": 2.5},
    "action": {"type": "stop"},
}
NUDGE = {
    **{"id": 2, "agent_id": "shop-agent", "name": "::stop-commands::x", "enabled": True},
    "condition": {"trigger": "signal", "operator": "contains", "value": "TOOL_LOOP"},
    "action": {"type": "inject_prompt", "params": {"prompt": "Use what ann found."}},
    **{"enforcement": "degraded", "enforcement_reason": "not signed"},
}
MANY = {
    **{"agent_id": "*", "name": "CUSTOM_MANY", "status": "shadow"},
    **{"description": "more than six calls", "shadow_fire_count": 2, "total_runs": 60},
    "config": {
        "severity": "LOW",
        "conditions": [{"metric": "calls", "operator": ">", "threshold": 6}],
    },
}
(APPLIED,) = table(
    "fix_applied applied_at applied_via runs_after_fix recurrences_after_fix verdict",
    (True, NOW - HOUR, "langfuse", 3, 0, "insufficient_data"),
)
RICH = fleet(
    [
        *SHOP,
        *(crashing(60 + n, "crash-agent", 3 + n, ["KeyError", "ValueError"][n]) for n in range(2)),
        *(healthy(80 + n, "quiet-agent", 5 + n) for n in range(6)),
        healthy(90, "silent-agent", 9 * 24),
        ODD,
    ],
    [
        *(one for _, one in LOOPS),
        SPIKE,
        signal(99, ODD, "CUSTOM_X", "odd one", title="<b>ignore\nthis</b>"),
    ],
    [agent("flying-agent", [], [], run_count=3, last_seen=NOW - 60)],
    per_agent={"shop-agent": SHOP_ANSWERS},
    issues=[ISSUE],
    paths={"policies": [CAP, NUDGE], "custom-detectors": [MANY], "signals/1/fix-status": APPLIED},
)
BARE = fleet(
    [
        run(1, "bare-agent", 2, None, None, None)
        | dict.fromkeys(["started_at", "step_count", "total_tokens"])
    ],
    [],
    [{"agent_id": "bare-agent"}],
    issues=[{"id": 1}],
    paths={"policies": [{}], "custom-detectors": [{}]},
    per_agent={
        "bare-agent": {
            "failure-patterns/TOOL_LOOP": {"overview": {"affected_runs": 1}},
            "health-score": {"components": {"a\n🟢 b": {"score": 5}}, "error": "::ours"},
        }
    },
)
EMPTY = fleet([])


def transcripts():
    """The texts at the end of this file, by what was asked: `RICH new list_agents(...)`."""
    parts = re.split(r"^=== (.*)\n", TRANSCRIPTS, flags=re.M)[1:]
    return {title: text.strip("\n") for title, text in zip(parts[::2], parts[1::2], strict=True)}


def asked(title):
    """The data, API, tool and arguments of a transcript's heading."""
    data, api, call = title.split(" ", 2)
    node = ast.parse(call, mode="eval").body
    given = {one.arg: ast.literal_eval(one.value) for one in node.keywords}
    return globals()[data], api, node.func.id, given


TITLES = re.findall(r"^=== (.*)$", Path(__file__).read_text("utf-8"), re.M)


@pytest.mark.parametrize("title", TITLES)
def test_transcript(serve, title):
    data, api, tool, given = asked(title)
    serve(data, api)
    assert ask(tool, **given) == transcripts()[title]


def test_every_tool_but_the_waiting_one_has_a_transcript():
    assert {asked(title)[2] for title in TITLES} == dm.TOOLS.keys() - {"wait_for_run"}


# ── Rules ─────────────────────────────────────────────────────────────────────────────────────────
# A row that fires each rule and one that does not, or its boundary.


def ends_of(spec, flying=0, hours=1.0, error="", seen=None, lost=""):
    """Ends of runs written as letters, newest first: e(rrored), E with signals, s(talled), x signals,
    u(nknown), . clean; the last event came `seen` seconds after the newest."""
    kinds = {
        "e": ("run.errored", 0),
        "E": ("run.errored", 2),
        "s": ("stalled", 0),
        "x": ("run.completed", 1),
        "u": ("run.completed", None),
        "U": (None, 0),
        ".": ("run.completed", 0),
    }
    rows = [run(n, "a", hours + n / 10, *kinds[one]) for n, one in enumerate(spec)]
    found = dm.Found([dm.Run.of(row) for row in rows], len(rows), error=error)
    last = None if seen is None else NOW - hours * HOUR + seen
    agent = dm.Agent.of({"run_count": len(rows) + flying, "last_seen": last})
    return dm.Ends(found, agent, lost)


@pytest.mark.parametrize(
    ("spec", "more", "said"),
    [
        ("", {}, "no run is listed"),
        ("", {"flying": 2}, f"no run is listed; 2 not processed yet: {dm.LISTED}"),
        (".", {}, "last 1 run: 1 clean"),
        ("eEExx..", {}, "last 7 runs: 3 errored (2 of them with signals), 2 with signals, 2 clean"),
        ("eEEEE.", {}, "last 6 runs: 5 errored (4 of them with signals), 1 clean"),
        ("sE.", {}, "last 3 runs: 1 errored (1 of them with signals), 1 stalled, 1 clean"),
        ("uU.", {"flying": 1}, "last 3 runs: 2 of unknown end, 1 clean; 1 not processed yet"),
        ("." * 25, {}, "last 25 runs: 25 clean"),
        ("." * 8, {"hours": 144}, "last 8 runs: 8 clean; newest 6d ago"),
        ("..", {"hours": 25}, "last 2 runs: 2 clean; newest 1d ago"),
        ("..", {"error": "It broke."}, "how its runs ended could not be asked (It broke)"),
    ],
)
def test_how_runs_ended(spec, more, said):
    assert str(ends_of(spec, **more)) == said


@pytest.mark.parametrize(
    ("spec", "points", "more", "state"),
    [
        ("eee" + "." * 17, 90, {}, "🔴 Failing"),  # more than a tenth
        ("ee" + "." * 18, 90, {}, "🟡 Not well"),  # a tenth
        ("." * 20, 49, {}, "🔴 Failing"),
        ("." * 20, 50, {}, "🟡 Not well"),
        ("." * 20, 79, {}, "🟡 Not well"),
        ("." * 20, 80, {}, "🟢 Healthy"),
        ("", 90, {}, "⚪ Unknown"),
        ("....", 90, {"error": "x"}, "⚪ Unknown"),
        ("....", 90, {"hours": 47}, "🟢 Healthy"),
        ("....", 90, {"hours": 49}, "⚪ Silent"),
        ("e...", 90, {"hours": 49}, "🔴 Failing"),
        ("x...", 90, {"hours": 49}, "⚪ Silent"),
        ("....", 90, {"flying": 2}, "🟢 Healthy"),
        ("....", 90, {"flying": 3}, "⚪ Unknown"),
        ("....", 90, {"flying": 2, "seen": DAY}, "🟢 Healthy"),
        ("....", 90, {"flying": 2, "seen": DAY + 1}, "⚪ Unknown"),  # a run does not take so long
        ("....", 90, {"seen": 600}, "🟢 Healthy"),
        ("....", 90, {"seen": 601}, "⚪ Unknown"),
        ("uuu" + "." * 17, 90, {}, "⚪ Unknown"),
        ("uu" + "." * 18, 90, {}, "🟢 Healthy"),
        ("xxxxx" + "." * 15, 90, {}, "🟡 Not well"),  # the newest five in a row
        ("xxxx." + "." * 15, 90, {}, "🟢 Healthy"),
        ("...x" * 5, 90, {}, "🟢 Healthy"),
        ("...x" * 4 + "..xx", 90, {}, "🟡 Not well"),  # more than a quarter
        ("...e" * 5, 90, {"lost": "x"}, "🔴 Failing"),
        ("e" + "." * 19, 90, {"lost": "x"}, "🟡 Not well"),
        ("....", 90, {"lost": "x"}, "⚪ Unknown"),
        ("....", float("nan"), {}, "⚪ Not scored"),
    ],
)
def test_state_of_an_agent(spec, points, more, state):
    assert ends_of(spec, **more).state(points) == state


def test_what_else_is_worse_takes_the_green_away():
    assert ends_of("....").state(90, worse=True) == "🟡 Not well"


NOT_FIXED = "🔴 Rarer, but as many runs, or half of them, fail otherwise"


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [
        ((3, 5, 3), (0, 5, 0), "⚪ Too early to tell"),
        ((0, 5, 0), (1, 5, 1), "⚪ Too early to tell"),
        ((0, 1, 0), (3, 3, 3), "⚪ Too early to tell"),
        ((0, 5, 0), (5, 5, 5), "🔴 Worse"),
        ((0, 4, 0), (40, 40, 40), "⚪ Too early to tell"),  # under five on one side
        ((40, 40, 40), (0, 4, 0), "⚪ Too early to tell"),
        ((2, 13, 2), (8, 11, 8), "🔴 Worse"),
        ((20, 20, 20), (0, 5, 0), "✅ Fixed"),
        ((0, 12, 0), (6, 6, 6), "🔴 Worse"),
        ((10, 20, 10), (8, 13, 8), "🔴 Still there"),
        ((5, 20, 5), (3, 9, 3), "⚪ Too early to tell"),  # under ten after
        ((0, 20, 0), (1, 20, 1), "⚪ Too early to tell"),  # not seen before
        ((8, 20, 8), (0, 20, 8), NOT_FIXED),
        ((20, 20, 20), (0, 20, 10), NOT_FIXED),
        ((20, 20, 20), (0, 20, 9), "✅ Fixed"),
        ((10, 20, 10), (0, 20, 9), "✅ Fixed"),
        ((10, 10, 10), (2, 20, 2), "🟡 Improved"),
        ((4, 8, 4), (0, 9, 0), "🟡 Improved"),  # gone, but the intervals overlap
        ((10**6, 2 * 10**6, 10**6), (0, 10**6, 0), "✅ Fixed"),
    ],
)
def test_what_became_of_a_failure(before, after, state):
    assert dm.change(dm.Side(*before), dm.Side(*after)) == state


def version_text(*rows):
    return dm.change_text(dm.Insights.of({"versions": versions(*rows)}))


def test_a_version_is_worse_only_beyond_chance_and_while_it_runs():
    worse = "worse since version v2, 10h ago: 0% (0/20) → 60% (6/10) of runs with signals"
    assert version_text(("v2", 10, 6, 10, 1), ("v1", 20, 0, 50, 11)) == worse
    assert version_text(("v2", 5, 1, 10, 1), ("v1", 5, 0, 50, 11)) == ""
    assert version_text(("v2", 3, 3, 10, 1), ("v1", 1, 0, 50, 11)) == ""
    assert version_text(("v2", 10, 6, 10, 2), ("v1", 20, 0, 50, 1)) == worse  # a canary
    assert version_text(("v2", 10, 6, 10, 7.5), ("v1", 20, 0, 50, 1)) == ""  # the old one came back
    assert version_text(("v2", 10, 6, 10, 1)) == version_text() == ""
    said = version_text(("v3", 20, 8, 5, 1), ("v2", 90, 1, 50, 5), ("v1", 900, 800, 500, 99))
    assert said.startswith("worse since version v3, 5h ago: 1% (1/90) → 40% (8/20)")
    later = {**SHOP_INSIGHTS, "versions": [], "deploy_events": [{"id": 9, "deployed_at": NOW - 60}]}
    assert dm.change_text(dm.Insights.of(later)).startswith("worse in the 2 h after deploy v2, 12h")
    later["deploy_regressions"][0]["deployed_at"] = NOW - 25 * HOUR
    assert dm.change_text(dm.Insights.of(later)) == ""


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ((12, 0, 6, 6, 12, True), "🚨 REGRESSION  v2  12h ago  0% (0/12) → 100% (6/6)"),
        ((1, 0, 3, 3, 12, True), "⚪ too early to tell  v2  12h ago  0% (0/1) → 100% (3/3)"),
        ((4, 1, 4, 3, 12, True), "⚪ too early to tell  v2  12h ago  25% (1/4) → 75% (3/4)"),
        ((12, 0, 6, 6, 1, True), "🚨 REGRESSION  v2  1h ago  0% (0/12) → 100% (6/6)"),
        ((12, 2, 8, 3, 1, False), "⚪ not surely more signals  v2  1h ago  17% (2/12) → 38% (3/8)"),
        ((12, 2, 8, 3, 3, True), "⚪ not surely more signals  v2  3h ago  17% (2/12) → 38% (3/8)"),
        ((12, 0, 6, None, 3, None), "⚪ not surely more signals  v2  3h ago  0% (0/12) → 0% (0/6)"),
        ((12, 2, 8, 1, 3, False), "⚪ not surely more signals  v2  3h ago  17% (2/12) → 12% (1/8)"),
        (
            (None, None, None, None, 3, None),
            "⚪ not compared (over 7 days old, or under 3 runs before or after)  v2  3h ago",
        ),
    ],
)
def test_deploys(row, line):
    names = "before_runs before_signals after_runs after_signals deployed_at is_regression".split()
    deploy = dict(zip(names, row, strict=True)) | {
        "version": "v2",
        "deployed_at": NOW - row[4] * HOUR,
    }
    assert dm.deploy_lines(dm.Insights.of({"deploy_regressions": [deploy]})) == [f"  {line}"]


@pytest.mark.parametrize(
    ("patterns", "verdict"),
    [
        (
            [("A_B", 3, 12, True), ("C_D", 2, 12, True)],
            "🚨 Systemic: A_B in 3 of 12 runs (7 days) and 1 more",
        ),
        ([("A_B", 3, 12, False)], "⚠ Occasional: no type is systemic in 12 runs in 7 days"),
        (
            [("A_B", 2, 2, True)],
            "⚪ Unknown: 2 runs in 7 days, too few to tell systemic from occasional",
        ),
        ([("A_B", 3, 3, True)], "🚨 Systemic: A_B in 3 of 3 runs (7 days)"),
        ([], "⚪ No signals in the last 7 days"),
    ],
)
def test_patterns_verdict(patterns, verdict):
    assert dm.patterns_verdict(dm.Insights.of(insights(*patterns)), []) == verdict


def test_patterns_that_are_not_told():
    unknown = "⚪ Unknown: this backend does not tell systemic from occasional"
    assert dm.patterns_verdict(dm.Insights.of(), []) == unknown
    named = "⚪ Unknown: signals in the last 7 days, but the backend names no pattern"
    assert dm.patterns_verdict(dm.Insights.of(insights()), ["a trend"]) == named


def verdict_of(events=(), signals=(), **more):
    row = {
        **run(1, "a", 1, signals=len(signals or ())),
        "signals": signals if signals is None else list(signals),
        "events": list(events),
        **more,
    }
    own = dm.Run.of(row)
    return dm.run_text(own).partition("\n")[0]


def ended(word):
    return [event("run.completed", 1, NOW, exit_reason=word)]


FAILED = call("tool", 1, NOW, called={"tool_name": "pay"}, success=False)
THREE_CALLS = [event("tool.called", n, NOW, tool_name="pay") for n in range(3)]
THREE_ANSWERS = [event("tool.responded", n, NOW + 1, latency_ms=0, success=True) for n in range(3)]
BUT = "🟡 Completed without signals; "


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({"events": ended("final_answer")}, "✅ Completed without signals."),
        *(
            ({"events": ended(word)}, "✅ Completed without signals.")
            for word in ("completed", "success", "done", "stop", None)
        ),
        *(
            ({"events": ended(word)}, f"{BUT}ended by its own word as {word}.")
            for word in ("timed_out", "halted", "blocked", "quit", "length", "max_turns", "ok")
        ),
        ({"exit_reason": "run.errored"}, "🔴 Errored without signals."),
        ({"exit_reason": "stalled"}, "🔴 Stalled (no event for about 90 s) without signals."),
        ({"exit_reason": None}, "⚪ End unknown without signals."),
        ({"signals": None}, "⚪ Completed, its signals were not sent."),
        ({"signal_count": 2}, "⚪ Completed, its signals were not sent."),
        ({"events": FAILED}, f"{BUT}failed calls of pay: 1."),
        ({"events": FAILED[:1]}, f"{BUT}calls without a response: 1."),
        ({"events": [event("run.completed", 1, 0, dropped_events=3)]}, f"{BUT}events dropped: 3."),
        (
            {"events": call("llm", 1, NOW, instrumentation_degraded=True)},
            f"{BUT}calls recorded in part: 1.",
        ),
        ({"dry_run_verdicts": [{}]}, f"{BUT}policy triggers in a dry run: 1."),
        ({"events": [event("policy.triggered", 1, NOW)]}, f"{BUT}policy triggers: 1."),
        (
            {"events": [event("run.errored", 2, NOW, error_type="ValueError")]},
            "🔴 Errored (ValueError, step 2) without signals.",
        ),
        ({"events": THREE_CALLS + THREE_ANSWERS}, "✅ Completed without signals."),
        ({"events": THREE_CALLS + THREE_ANSWERS[1:]}, f"{BUT}calls without a response: 1."),
        ({"events": THREE_CALLS[:1] + call("llm", 1, 0)[1:]}, f"{BUT}calls without a response: 1."),
        (
            {"signals": [signal(1, ODD), signal(2, ODD, "X_Y", "odd"), signal(3, ODD)]},
            "⚪ Completed with 3 signals, at worst X_Y (odd).",
        ),
    ],
)
def test_verdict_on_a_run(given, verdict):
    assert verdict_of(**given) == verdict


def test_the_newest_runs_are_the_newest_by_their_own_time(serve):
    clean = [run(n, "a", 5 + n / 10) for n in range(77)]
    crashed = [run(90 + n, "a", 1 + n, "run.errored") for n in range(3)]
    serve({**fleet(clean + crashed), "runs": clean + crashed})  # in the order of processing
    said = ask("summarize_agent", agent_id="a")
    assert said.startswith("🔴 Failing: last 20 runs: 3 errored, 17 clean.")
    rows = ask("get_agent_runs", agent_id="a", limit=4).splitlines()[4:8]
    assert [row[14:21].strip() for row in rows] == ["1h ago", "2h ago", "3h ago", "5h ago"]
    backlog = [run(200 + n, "a", 50 + n, "run.errored") for n in range(40)]
    serve({**fleet(clean), "runs": [*backlog, *clean[:40]]})
    assert "last 20 runs: 20 clean." in ask("summarize_agent", agent_id="a")
    mixed = [run(n, "a", minutes / 60) for n, minutes in enumerate((43, 58, 240, 55))]
    serve({**fleet(mixed), "runs": mixed})
    ages = re.findall(r"(\d+\w) ago", ask("get_agent_runs", agent_id="a"))
    assert ages == ["43m", "55m", "58m", "4h"]
    assert f"New run of a: {uuid(0)}," in ask("wait_for_run", agent_id="a", after_run_id=uuid(3))


# ── Timelines ─────────────────────────────────────────────────────────────────────────────────────


def timeline_of(*events):
    own = dm.Run.of({**run(1, "a", 1), "started_at": NOW, "events": list(events), "signals": []})
    text = dm.timeline(own, dm.steps_of(own.events), dm.ROOM)
    return re.split(r"\n(?= {2}\S)", text)


def tool_calls(n, first=1, silent=False, **said):
    came = {} if silent else {"success": True}
    asked = {"tool_name": "t", **said}
    pairs = [call("tool", first + k, NOW + k, called=asked, **came) for k in range(n)]
    return [one for pair in pairs for one in pair]


ALIKE = "arguments cut, so alike as far as kept"


@pytest.mark.parametrize(
    ("events", "fold"),
    [
        (tool_calls(2, args="1"), None),
        (tool_calls(3, args="1"), "×3 to [  3], same arguments"),
        (tool_calls(3), "×3 to [  3], arguments not recorded"),
        ([*tool_calls(1), *tool_calls(2, 2, silent=True)], "×3 to [  3], arguments not recorded"),
        (tool_calls(6, args="x" * 8_192, args_truncated=True), f"×6 to [  6], {ALIKE}"),
        (tool_calls(4, query="x", query_truncated=True), f"×4 to [  4], {ALIKE}"),
        (tool_calls(3, args='{"token": "[REDACTED]"}'), f"×3 to [  3], {ALIKE}"),
        (
            [*tool_calls(2, args='{"a": 1, "b": 2}'), *tool_calls(2, 3, args='{"b": 2, "a": 1}')],
            "×4 to [  4], same arguments",
        ),
        (
            [*tool_calls(3, args="1"), *tool_calls(1, 4, args="2")],
            "×4 to [  4], 2 different arguments",
        ),
        (
            [*tool_calls(1, args="1"), *tool_calls(1, 2, args="2"), *tool_calls(1, 3, args="3")],
            "×3 to [  3], 3 different arguments",
        ),
    ],
)
def test_repeated_calls_fold_and_say_how_alike_they_are(events, fold):
    first = timeline_of(*events)[0].partition("\n")[0]
    assert first.partition("100ms  ")[2] == (fold or "")


def test_turns_fold_and_failures_say_how_alike_their_errors_are():
    turns = [
        one
        for k in range(4)
        for one in (
            *call("llm", 2 * k, NOW, called={"prompt_tokens": 10 + k, "finish_reason": "length"}),
            *tool_calls(1, 2 * k + 1, args=str(k)),
        )
    ]
    lines = timeline_of(*turns)
    assert "p=10…13  finish=length" in lines[0]
    assert "×4 to [  6], these 2 in turn" in lines[0]
    assert lines[1].endswith("100ms  4 different arguments")
    failing = [
        one
        for k in range(3)
        for one in call(
            "tool", k, NOW, called={"tool_name": "t"}, success=False, error=f"private text {k % 2}"
        )
    ]
    said = timeline_of(*failing)[0].splitlines()[0]
    assert said.endswith("×3 to [  2], arguments not recorded, 2 different errors")


def test_calls_in_parallel_are_paired_where_the_data_tell_it():
    at = [event("tool.called", k, NOW + k / 10, tool_name="t", args=str(k)) for k in range(6)]
    back = [
        event(
            "tool.responded", 2, NOW + k / 10 + 0.5, tool_name="t", latency_ms=500, success=k != 1
        )
        for k in (2, 0, 1, 5, 4, 3)
    ]
    steps = dm.steps_of([dm.Event.of(one) for one in (*at, *back)])
    told = [(step.said["args"], step.failed) for step in steps]
    assert told == [(str(k), k == 1) for k in range(6)]
    blind = [{**one, "payload": {**one["payload"], "latency_ms": 0}} for one in back]
    steps = dm.steps_of([dm.Event.of(one) for one in (*at, *blind)])
    assert [step.lost for step in steps] == ["(in parallel, response below)"] * 6 + [""] * 6
    assert dm.doubts(dm.Run.of(), steps) == "failed calls of t: 1"
    late = event("tool.responded", 2, NOW + 0.5, tool_name="t", latency_ms=500)
    # One that tells its call, behind one that does not.
    steps = dm.steps_of([dm.Event.of(one) for one in (*at[:3], blind[0], late)])
    assert [bool(step.response.event_type) for step in steps] == [True, False, False, False]
    strange = [
        event("llm.called", 1, NOW, call_id="a"),
        event("llm.called", 1, NOW, call_id="b"),
        event("llm.responded", 1, NOW + 9, call_id="z", latency_ms=100),
    ]
    assert len(dm.steps_of(map(dm.Event.of, strange))) == 3  # nothing tells whose response it is
    named = [
        event(f"llm.{verb}", 1, NOW, call_id=one)
        for verb, one in (("called", "a"), ("called", "b"), ("responded", "a"), ("responded", "b"))
    ]
    assert all(not step.lost for step in dm.steps_of([dm.Event.of(one) for one in named]))
    twice = [*named[:3], {**named[3], "payload": {"call_id": "a"}}]
    steps = dm.steps_of([dm.Event.of(one) for one in twice])
    assert [step.lost for step in steps] == ["", "(no response)", ""]


def test_the_failing_part_of_a_long_run_stays():
    def odd(k, success=True):
        return call("tool", k, NOW + k, called={"tool_name": f"tool_{k}"}, success=success)

    events = [one for k in range(300) for one in odd(k, k not in (150, 151))]
    pointed = dm.Run.of({"events": events, "signals": [{"step_index": 77}]})
    assert "  [ 77]" in dm.timeline(pointed, dm.steps_of(pointed.events), 9_000)
    lines = timeline_of(*events)
    assert len(lines) < 60
    assert next(line for line in lines if "ok=False" in line).startswith("  [150]")
    assert "tool_0 " in lines[0]
    assert ("tool_299" in lines[-1], any('steps="' in one for one in lines)) == (True, True)


def test_remarks_say_what_a_line_does_not_and_nothing_twice():
    estimated = {"model": "a", "prompt_tokens": 8, "prompt_tokens_estimated": True}
    exact = {"model": "b", "prompt_tokens": 1234, "finish_reason": "length"}
    refused = {"finish_reason": "stop", "error": "rate_limited"}
    found = {"result_count": 0, "top_score": 0.25}
    meta = {"http_status": 429, "user": "Ann"}
    lines = timeline_of(
        event(
            "run.started", 0, NOW, source_file="/home/ann/a.py", provider="x", note="hello world"
        ),
        *call("llm", 1, NOW, called=estimated, **exact),
        *call("llm", 2, NOW, called=estimated, **refused),
        *call("retrieval", 3, NOW, called={"index_name": "docs"}, **found),
        event("external.signal", 4, NOW, signal_name="rate_limit", meta=meta),
        event("policy.triggered", 5, NOW, policy_name=482913456),
    )
    assert lines == [
        "  [  0]    +0.0s  run.started",
        "  [  1]    +0.0s  llm.called           model=a→b  p≈8→1234  finish=length  100ms",
        "  [  2]    +0.0s  llm.called           ok=False  model=a  p≈8  100ms\n                   error=rate_limited",
        "  [  3]    +0.0s  retrieval.called     index=docs  results=0  top=0.25  100ms",
        "  [  4]    +0.0s  external.signal      rate_limit\n                   meta={http_status: 429, user: hidden (3 chars)}",
        "  [  5]    +0.0s  policy.triggered     sha256:b4cfee3a (9 chars)",
    ]
    twice = [call("llm", k, NOW, finish_reason="length", error="timeout") for k in (1, 2)]
    for line in timeline_of(*twice[0], *twice[1]):  # alike, and still whole
        assert re.search(r"ok=False  finish=length .*\n +error=timeout$", line)
    started = dm.Step(dm.Event.of(event("run.started", 0, NOW, note="hello world")))
    assert dm.remarks(started, whole=True) == "note=sha256:b94d27b9 (11 chars)"


@pytest.mark.parametrize("steps", ["0-2", "[0..2]", "0 to 2", "0–2"])
def test_steps_of_a_run_in_any_form(serve, steps):
    serve(RICH)
    assert "steps 0-2 in full:" in ask("get_run_detail", run_id=uuid(1), steps=steps)


def test_a_fix_says_which_changes_could_not_be_asked(serve):
    serve(RICH, **{"insights$": (500, JSON, "{}")})
    said = ask("verify_fix", agent_id="shop-agent", failure_type="TOOL_LOOP", since="36h")
    assert "\n\nNot every change is known: http://localhost:8002/v1/agents/shop-agent" in said


def test_steps_that_do_not_fit_are_counted_and_asked_for(serve):
    serve(fleet([{**run(1, "a", 1), "events": tool_calls(900, note="some words " * 8)}]))
    shown, steps, left = [], "1-900", None
    while steps:
        said = ask("get_run_detail", run_id=uuid(1), steps=steps)
        some = [int(n) for n in re.findall(r"(?m)^ {2}\[ *(\d+)\]", said)]
        assert left in (None, 900 - len(shown))
        shown += some
        more = re.search(r'\n  … (\d+) more not shown: steps="(.*)"$', said)
        left, steps = (int(more[1]), more[2]) if more else (None, "")
    assert shown == [*range(1, 901)]


def test_steps_that_are_none(serve):
    serve(RICH)
    none = f"ERROR Run {uuid(1)} of shop-agent, steps {{}}: none. Its steps: 0-8."
    for steps, said in (("70", none.format("70-70")), ("5-3", none.format("5-3"))):
        assert ask("get_run_detail", run_id=uuid(1), steps=steps) == said
    for steps in ("x", "1-2-3"):
        said = f'ERROR steps is like "80-90" or "84", not {steps!r}.'
        assert ask("get_run_detail", run_id=uuid(1), steps=steps) == said


@pytest.mark.parametrize("name", ["input_text", "input_hash"])
def test_the_clean_run_to_compare_with_was_given_the_same(serve, name):
    def asked(n, hours, text, version="v1", word="final_answer"):
        events = [
            event("run.started", 0, NOW, **{name: text}),
            event("run.completed", 1, NOW, exit_reason=word),
        ]
        return run(n, "a", hours, version=version, events=events)

    bad = asked(1, 1, "q") | {"exit_reason": "run.errored"}
    runs = [bad, asked(2, 2, "other"), asked(3, 3, "q", word="halted")]
    serve(fleet([*runs, asked(4, 4, "q", "v0")]))
    assert f"\nOther: {uuid(4)} of a" in ask("compare_runs", run_id=uuid(1))
    serve(fleet([*runs, asked(5, 1.5, "x", "v0")]))
    said = ask("compare_runs", run_id=uuid(1))
    assert said.startswith("They were given different inputs: ")
    assert f"\nOther: {uuid(2)} of a" in said


# ── Privacy ───────────────────────────────────────────────────────────────────────────────────────

MAY_LEAVE = {
    "tool": ["github/create_issue"],
    "tool_name": ["search the web (v2) now"],
    "model": [
        "@cf/meta/llama-3.1",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude",
    ],
    "agent_version": ["pkg@1.2/3", "12143128", "2026-05-13"],
    "cycle_agents": ["planner"],
    "providers": ["openai"],
    "source_tool": ["web_search"],
    "error": ["timeout", "ConnectionError"],
    "failure_reason": ["rate_limited"],
    "tool_error": ["HTTP 500", "ECONNREFUSED"],
    "error_type": ["smtplib.SMTPError"],
    "status": ["declined"],
    "args_hash": ["ffa8f58f"],
    "pin": [9999],
    "user_retries": [4],
    "retry_count": [10**9],
    "retryCount": [10**9],
    "anything": [True],
}
MUST_STAY = {
    "tool": "six words are no tool name|ann@example.com|ann @mail.例え|078-05-1120|C:\\x|"
    "https://example.com/x|call 4111111111111111".split("|"),
    "agent_version": ["4929-1234-5678-1234"],
    "customer_index": [49291234],
    "error": ["card of ann declined"],
    "status": ["two words"],
    "args_hash": ["not a hash"],
    "note": ["secret"],
    "account": [37144963539843],
    "discount": [12345],
    "bank_accounts": [10**9],
    "pin": [4711093, 10000],
}


def test_what_may_leave():
    for name, values in MAY_LEAVE.items():
        assert [dm.safe(name, one) for one in values] == [*map(str, values)]
    for name, values in MUST_STAY.items():
        assert all(dm.safe(name, one).startswith(("sha256:", "hidden (")) for one in values)
    assert dm.safe("anything", None) == "—"


def test_hidden_values_look_equal_and_short_ones_show_their_length_alone():
    said = dm.safe("meta", {"acct_482913": 1, "12345": 2})
    assert said == "{sha256:7385e090 (11 chars): 1, 12345: 2}"
    assert dm.hashed("123") == dm.hashed(482) == dm.hashed("äöü") == "hidden (3 chars)"
    assert dm.hashed("1234567") == "hidden (7 chars)"
    assert dm.hashed("12345678") == "sha256:ef797c81 (8 chars)"
    assert dm.hashed({"b": 1, "a": [2]}) == dm.hashed({"a": [2], "b": 1})
    assert dm.safe("args", {"b": [1], "a": None}, raw=True) == '{"a": null, "b": [1]}'


@pytest.mark.parametrize(
    ("evidence", "text", "shown"),
    [
        ({"note": "Please wire the Maße to Ann"}, "It said PLEASE  WIRE the MASSE to ann.",
         "It said sha256:e611ade2 (29 chars)."),
        ({"note": "Please wire it to Bob"}, "Ｐｌｅａｓｅ ＷＩＲＥ it to BOB!", "sha256:b707a25f (21 chars)!"),
        ({"note": "ann"}, "Said 'ann' of ann.", "Said 'hidden (3 chars)' of ann."),
        ({"note": "bo@ex.org"}, 'ALLOWED = {"bo@ex.org"}', 'ALLOWED = {"sha256:a6de2c1f (9 chars)"}'),
        ({"pin": 4711093}, "if pin == 4711093:", "if pin == hidden (7 chars):"),
        ({"args": '{"to": "bo@ex.org", "n": 123456'}, "n 123456, bo@ex.org",
         "n hidden (6 chars), sha256:a6de2c1f (9 chars)"),
        ({"args": "{'who': 'Zaphod B'}"}, "for Zaphod B now", "for sha256:ff81d9d7 (8 chars) now"),
        ({"args": '{"q": "cut in the mid'}, "it asked cut in the mid",
         "it asked sha256:13536ade (14 chars)"),
        ({"tool": "charge_card_service", "note": "charge_card_service failed"},
         "`charge_card_service` is down", "`charge_card_service` is down"),
        ({"count": 123456}, "called 123,456 times", "called 123,456 times"),
        ({"score": 1234.56789}, "1,234.56789 of 4929 1234", "1,234.56789 of sha256:d84adecc (9 chars)"),
        ({}, "to bo@ex.org", "to sha256:a6de2c1f (9 chars)"),
        ({"made": {"n": 123456}}, "n 123456", "n hidden (6 chars)"),
        ({"args": r'{"q": "\u5bc6\u7801"}'}, "It said 「密码」.", "It said 「hidden (2 chars)」."),
    ],
)  # fmt: skip
def test_quotations_of_hidden_texts_are_hidden(evidence, text, shown):
    fixes = [{"code": f"  {text}"}]
    row = {"evidence": evidence, "title": text, "suggested_fixes": fixes}
    (told,) = dm.without_raw([dm.Signal.of(row)])
    assert told.title == shown
    assert " ".join(told.suggested_fixes[0].code.split()) == " ".join(shown.split())


def test_code_without_quotations_keeps_its_layout():
    code = "def f():\n    return  1  # two"
    (told,) = dm.without_raw(
        [dm.Signal.of({"evidence": {"note": "private text"}, "suggested_fixes": [{"code": code}]})]
    )
    assert told.suggested_fixes[0].code == code


def test_raw_text_is_shown_on_request_only(serve, monkeypatch):
    serve(RICH)
    private = ("the same private question", "4111111111111111", "ann@example.com")

    def told():
        runs = [ask("get_run_detail", run_id=uuid(n)) for n in (1, 40)]
        return [*runs, ask("get_signal_detail", signal_id=1), ask("get_issue", issue_id=3)]

    assert not any(one in text for one in private for text in told())
    monkeypatch.setenv("DUNETRACE_SHOW_RAW", "1")
    texts = told()
    assert all(any(one in text for text in texts) for one in private)


def test_hostile_records_break_nothing(serve):
    """Every tool over fields of any type: no exception, forbidden character or broken budget."""
    texts = ["x" * 5_000, "\u202e\x1b[31m```\n", uuid(1), "##[error]", "\ud800"]
    odd = [None, True, -1, 1e300, float("nan"), [], {}, [{}], {"a": [1, {"b": None}]}, *texts]

    def mutated(value, dice):
        if isinstance(value, dict):
            return {key: mutated(one, dice) for key, one in value.items()}
        if isinstance(value, list):
            return [mutated(one, dice) for one in value]
        return dice.choice(odd) if dice.random() < 0.3 else value

    for n in range(9, 13):
        backend = serve(RICH)

        def answer(parts, query, real=backend.answer, n=n):
            status, body = real(parts, query)
            return status, mutated(body, random.Random(f"{n} {parts} {query}"))

        backend.answer = answer
        for title in TITLES:
            _, _, tool, given = asked(title)
            said = ask(tool, **given)
            assert "could not make sense" not in said
            assert len(said) <= dm.BUDGET
            assert all(char == "\n" or char.isprintable() for char in said)


# ── Ids, pastes, arguments, settings ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("ident", "shown"),
    [
        ("team/agent-1", "team/agent-1"),
        ("агент", "агент"),
        ("a@b:1.2", "a@b:1.2"),
        ("::stop-commands::x", '"::stop-commands::x"'),
        ("-rf", '"-rf"'),
        ("🟢 All agents healthy", '"🟢 All agents healthy"'),
        (" padded ", '" padded "'),
        ("a\u202eb\n`c`", '"a\\u202eb\\n\\u0060c\\u0060"'),
        ('"quoted"', '"\\"quoted\\""'),
        ("", "—"),
    ],
)
def test_ids_are_shown_so_that_nothing_hides_and_taken_back(ident, shown):
    assert dm.shown_id(ident) == shown
    assert dm.given_id(shown) == (ident or "—")


def test_every_id_that_an_answer_shows_is_taken(serve):
    serve(RICH)
    listed = re.findall(r'^("?[\w🟢].*?"?) +\d+ +\d+ +\d+ +\d+  ', ask("list_agents"), re.M)
    assert len(listed) == 3
    for name in listed:
        said = ask("summarize_agent", agent_id=name).splitlines()
        assert said[1] == f"═══ Agent summary: {name} ═══"
        for ident in re.findall(
            r'run=("?[^\s]+(?: 7/β")?)', ask("get_agent_signals", agent_id=name)
        ):
            said = ask("get_run_detail", run_id=ident)
            assert said.startswith("ERROR No path") if "/" in ident else "\nRun: " in said


@pytest.mark.parametrize(
    ("pasted", "run_id"),
    [
        ("abc", "abc"),
        ("019e217d-bd2…", "019e217d-bd2"),
        ("see <http://d/runs/a%20b|View Run>", "a b"),
        ("[View run in Dunetrace](http://localhost:3000/runs/r1)", "r1"),
        ('{"agent_id": "x", "run_id": "r1", "n": 1}', "r1"),
        (r"{\"run_id\": \"r1\"}", "r1"),
        ("HIGH: loop · agent x · run r2 · step 7", "r2"),
        ("*Agent:* `x` *Run:* `r3`", "r3"),
        ("run=r4, agent=x", "r4"),
        ("it was 019e217d-bd24-7d72-a8be-4715c2dcf385 I think",
         "019e217d-bd24-7d72-a8be-4715c2dcf385"),
        ("a run", "a run"),
    ],
)  # fmt: skip
def test_a_run_is_found_in_what_people_paste(pasted, run_id):
    assert dm.given_run(pasted) == run_id


def test_a_beginning_of_several_runs_names_them(serve):
    serve(fleet([run("same-start-1", "a", 1), run("same-start-2", "a", 2)]))
    said = "ERROR 2 runs begin with same-start: same-start-1, same-start-2. Give more of it."
    assert ask("get_run_detail", run_id="same-start") == said


def test_a_paste_of_any_size_takes_little_time():
    began = time.process_time()
    for piece in ("run: ", "run_id\\", "/runs/", "· run ", "a=", "`run` "):
        dm.given_run(piece * 20_000)
    assert time.process_time() - began < 1


WRONG = r"""
list_agent()
There is no tool list_agent. Did you mean list_agents? There are:
search_signals(hours=3)
There is no argument of search_signals called hours. Did you mean since_hours?
search_signals(sinceHours=3)
There is no argument of search_signals called sinceHours. Did you mean since_hours?
summarize_agent(agentId='a')
There is no argument of summarize_agent called agentId. Did you mean agent_id?
summarize_agent()
summarize_agent: agent_id: Field required. Its arguments: agent_id.
search_signals(severity='urgent')
severity is one of CRITICAL, HIGH, MEDIUM, LOW, or left out, not 'urgent'.
search_signals(since_hours='soon')
since_hours is hours like 24 or 24h, 0 for all time, not 'soon'.
search_signals(failure_type='tool loop!')
failure_type is like TOOL_LOOP. Known:
search_signals(limit=0)
search_signals: limit: Input should be greater than or equal to 1
search_signals(offset=-1)
search_signals: offset: Input should be greater
search_signals(limit='many')
search_signals: limit: Input should be a valid integer
get_agent_runs(errored='perhaps')
get_agent_runs: errored: Input should be a valid boolean
get_signal_detail(signal_id='x')
an id of a signal or an issue is a whole number from 1, not 'x'.
get_signal_detail(signal_id=0)
an id of a signal or an issue is a whole number from 1, not '0'.
get_issue(issue_id='12a')
an id of a signal or an issue is a whole number from 1, not '12a'.
search_issues(status='closed')
status is one of open, reopened, resolved, or left out, not 'closed'.
verify_fix(agent_id='shop-agent', failure_type='')
failure_type is required, like TOOL_LOOP.
wait_for_run(agent_id='shop-agent', timeout_s=41)
wait_for_run: timeout_s: Input should be less than or equal to 40.
wait_for_run(agent_id='shop-agent', after_run_id='zzz')
Run zzz is not among the newest 22 runs of the agent: leave after_run_id out.
wait_for_run(agent_id='shop')
There is no agent shop among the 6 agents that this key sees.
get_run_detail(run_id='no link in this')
There is no run "no link in this". Give a run id, 8 characters of one, or a text with
get_run_detail(run_id='019e')
There is no run 019e. Give a run id, 8 characters of one, or a text with
get_agent_health(agent_id='a/b')
There is no agent a/b among the 6 agents
summarize_agent(agent_id='..')
There is no agent ".." among the 6 agents
""".strip().splitlines()


@pytest.mark.parametrize(("call", "error"), list(zip(WRONG[::2], WRONG[1::2], strict=True)))
def test_a_wrong_argument_gets_one_sentence(serve, call, error):
    data, _, tool, given = asked(f"RICH new {call}")
    serve(data)
    assert ask(tool, **given).startswith(f"ERROR {error}")


def test_forms_that_people_and_clients_use_are_taken(serve):
    serve(RICH)
    plain = ask("search_signals", since_hours=24)
    for hours in ("24", "24h", "1d", "24 hours", " 1 Day "):
        assert ask("search_signals", since_hours=hours, severity="", failure_type=None) == plain
    extra = {
        "task_progress": "x",
        "requestHeartbeat": True,
        "waitForPreviousTools": 1,
        "reason": "y",
        "explanation": "z",
    }
    assert ask("search_signals", since_hours=24, **extra) == plain
    for severity in ("all", "ANY", "null", "none"):
        assert ask("search_signals", since_hours=24, severity=severity) == plain
    detail = ask("get_signal_detail", signal_id=1)
    for ident in ("1", "#1", "id=1", "signal 1"):
        assert ask("get_signal_detail", signal_id=ident) == detail
    assert ask("get_instrumentation_guide", framework="Lang_Graph") == ask(
        "get_instrumentation_guide", framework="langchain"
    )


def test_a_limit_that_is_too_high_is_lowered_and_said(serve):
    serve(fleet([crashing(n, "a", n + 1) for n in range(21)]))
    crashed = ask("get_agent_runs", errored=True, limit=30)
    assert "all agents, errors of the newest 20 only (21 shown" in crashed
    many = [run(n, "a", n + 1) for n in range(150)]
    serve(fleet(many))
    said = ask("get_agent_runs", agent_id="a", limit="500")  # as the command line has it
    assert said.startswith("Recent runs for: a (100 shown, 150 matched)")
    assert said.endswith(
        '… more: get_agent_runs(agent_id="a", limit=500, offset=100)\nlimit lowered to 100, the maximum.'
    )


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("http://localhost:8002/", "http://localhost:8002"),
        (" 'https://api.example.com/v1' ", "https://api.example.com"),
        ("localhost:8002", "http://localhost:8002"),
        ("10.0.0.5:80", "https://10.0.0.5:80"),
        ("backend.internal:8002", "https://backend.internal:8002"),
        ("api.example.com", "https://api.example.com"),
        ("[::1]:8002", "http://[::1]:8002"),
        ("demo://", "demo://fleet"),
        ("demo:8002", "http://demo:8002"),
        ("", "http://localhost:8002"),
    ],
)  # fmt: skip
def test_urls_in_any_form(monkeypatch, url, used):
    monkeypatch.setenv("DUNETRACE_API_URL", url)
    assert dm.api_url() == used


@pytest.mark.parametrize(
    "url",
    [
        ("http:/ann:KEY@host"),
        ("http://ann:KEY@host"),
        ("http//hostKEY"),
        ("http:/KEY"),
        ("ann%40KEY"),
        ("http://http://KEY"),
        ("ftp://KEY"),
        ("http://h?KEY"),
        ("http://h KEY"),
        ("http://h:KEY"),
        ("http://h:0"),
    ],
)  # fmt: skip
def test_a_url_that_is_almost_right_is_refused_without_being_repeated(monkeypatch, url):
    monkeypatch.setenv("DUNETRACE_API_URL", url)
    said = ask("list_agents")
    assert said.startswith("ERROR DUNETRACE_API_URL ")
    assert "KEY@" not in said
    assert "hostKEY" not in said
    assert said.count("KEY") == said.count("DUNETRACE_API_KEY")


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("DUNETRACE_API_KEY", "${KEY}", "DUNETRACE_API_KEY arrived unexpanded"),
        ("DUNETRACE_API_KEY", "Bearer x", "DUNETRACE_API_KEY is set but empty, or holds"),
        ("DUNETRACE_API_URL", "$URL", "DUNETRACE_API_URL arrived unexpanded"),
        ("DUNETRACE_DASHBOARD_URL", "dash board", "DUNETRACE_DASHBOARD_URL must be http"),
    ],
)
def test_settings_that_are_wrong_are_named(monkeypatch, name, value, error):
    monkeypatch.setenv(name, value)
    assert ask("list_agents").startswith(f"ERROR {error}")


def test_links_lead_to_the_dashboard_that_is_known(serve, monkeypatch):
    serve(RICH)
    said = ask("get_run_detail", run_id=uuid(1))
    assert f"Dashboard: http://localhost:3000/runs/{uuid(1)}" in said
    monkeypatch.setenv("DUNETRACE_DASHBOARD_URL", "https://dash.example.com/")
    said = ask("get_run_detail", run_id=uuid(1))
    assert f"Dashboard: https://dash.example.com/runs/{uuid(1)}" in said


# ── Faults ────────────────────────────────────────────────────────────────────────────────────────

JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html"}


OTHER = "answered 404 Not Found, so it is not the Customer API. Set DUNETRACE_API_URL"
NO_JSON = "without JSON (a web page?). Set DUNETRACE_API_URL"
LOST = "could not be reached: "


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ((500, JSON, '{"detail": "of a run"}'), "answered 500. The fault is the backend's"),
        ((503, {"Retry-After": "7"}, "{}"),
         "answered 503; it asks to come back after 7 s. The fault"),
        ((401, JSON, '{"detail": "Inactive key"}'),
         "answered 401 (Inactive key). Set DUNETRACE_API_KEY"),
        ((403, JSON, '{"detail": "no scope"}'), "answered 403 (no scope). Set DUNETRACE_API_KEY"),
        ((404, JSON, '{"detail": "Not Found"}'), OTHER),
        ((404, {}, "404 page not found"), OTHER),
        ((404, JSON, "{}"), OTHER),
        ((404, JSON, '{"error": "not found"}'), OTHER),
        ((404, {}, ""), OTHER),
        ((422, JSON, '{"detail": [{"loc": ["query", "limit"], "msg": "too large"}]}'),
         "answered 422 ([{'loc': ['query', 'limit'], 'msg': 'too large'}]). Correct the value"),
        ((200, HTML, "<html>Sign in</html>"), f"answered 200 {NO_JSON}"),
        ((502, HTML, "<html>Bad gateway</html>"), "answered 502. The fault is the backend's"),
        ((200, JSON, '{"agents": ['), f"answered 200 {NO_JSON}"),
        ((200, JSON, "[" * 100_000), f"answered 200 {NO_JSON}"),
        ((200, JSON, '{"agents": {}}'), "sent no list of agents. The fault"),
        ((200, JSON, "[]"), "sent no list of agents. The fault"),
        ((307, {"Location": "http://x/?k=1"}, ""),
         "redirects to http://x/, which is not followed. Set"),
        (requests.ConnectTimeout("ConnectTimeout"),
         "did not accept a connection within 3 s. Start"),
        (requests.ReadTimeout("Read timed out"), "sent nothing for 15 s. The backend is"),
        (requests.ConnectionError("Connection refused"), f"{LOST}connection refused. Start"),
        (requests.ConnectionError("NameResolutionError"),
         f"{LOST}its name does not resolve. Start"),
        (requests.exceptions.SSLError("CERTIFICATE_VERIFY_FAILED"), f"{LOST}its certificate is"),
        (requests.exceptions.ProxyError("ProxyError"),
         f"{LOST}the proxy (HTTPS_PROXY) did not pass"),
        (requests.ConnectionError("strange"), f"{LOST}the connection failed. Start"),
    ],
)  # fmt: skip
def test_a_fault_of_the_backend_gets_one_sentence_with_a_cure(serve, fault, error):
    serve(RICH, **{"agents$": fault})
    said = ask("list_agents")
    assert said.startswith(f"ERROR http://localhost:8002/v1/agents {error}")
    assert "\n" not in said


def test_the_key_is_never_shown(serve, monkeypatch):
    monkeypatch.setenv("DUNETRACE_API_KEY", "dt_live_secret")
    backend = serve(RICH)
    for fault in (
        (400, JSON, '{"detail": "key dt_live_secret"}'),
        (400, JSON, json.dumps({"detail": "x" * 575 + "dt_live_secret"})),
        (429, {"Retry-After": "dt_live_secret"}, ""),
        (307, {"Location": "http://dt_live_secret/"}, ""),
    ):
        backend.faults = {"agents$": fault}
        assert "***" in ask("list_agents")
        assert "dt_live_secret" not in ask("list_agents")
    monkeypatch.setenv("DUNETRACE_API_KEY", "YOUR_DUNETRACE_API_KEY")
    backend.faults = {"agents$": (401, JSON, "{}")}
    assert "YOUR_DUNETRACE_API_KEY is no key but where yours belongs" in ask("list_agents")
    monkeypatch.setenv("DUNETRACE_API_KEY", "agent")  # too short for a key, but a word of answers
    assert "/v1/agents answered 401" in ask("list_agents")


def test_what_an_older_backend_lacks_is_said_as_that(serve):
    serve(RICH, "old")
    assert "this backend is too old to have that endpoint" in ask("search_issues")
    said = ask("get_agent_token_stats", agent_id="quiet-agent")
    assert "this backend is too old to have that endpoint" in said


@pytest.mark.parametrize(
    ("tool", "broken", "kept"),
    [
        ("summarize_agent", "health-score", "Health score:  not available (http://localhost:8002"),
        ("summarize_agent", "insights", "deploys, cost: not known: http://localhost:8002"),
        ("summarize_agent", "shop-agent/runs", "could not be asked (http://localhost:8002"),
        ("summarize_agent", "shop-agent/signals", "v1/agents/shop-agent/signals answered 500"),
        ("summarize_agent", "agents$", "not all is known (http://localhost:8002"),
        ("get_agent_health", "agents$", "🔴 Health score for shop-agent: 41/100"),
        ("get_agent_health", "shop-agent/runs", "Health score for shop-agent: 41/100"),
        (
            "get_agent_patterns",
            "shop-agent/runs",
            "(7 days); how its runs ended could not be asked",
        ),
    ],
)
def test_a_part_that_fails_is_said_and_the_rest_stands(serve, tool, broken, kept):
    serve(RICH, **{broken: (500, {}, "")})
    assert kept in ask(tool, agent_id="shop-agent")


def test_nothing_is_well_without_what_that_takes(serve):
    runs = [run(n, "a", 1 + n / 10, signals=int(n > 19)) for n in range(250)]
    rows = [signal(n, runs[n], severity="LOW CRITICAL".split()[n > 150]) for n in range(20, 250)]

    def verdict(runs, rows, **faults):
        serve(fleet(runs, rows, per_agent={"a": {"health-score": score(95)}}), **faults)
        return ask("summarize_agent", agent_id="a").splitlines()[0]

    well = "last 20 runs: 20 clean"
    assert verdict(runs, rows) == f"🟡 Not well: {well}; 80 CRITICAL signals in the last 24 hours."
    assert verdict(runs[:20], []) == f"🟢 Healthy: {well}."
    bad, lies = (500, {}, ""), (200, JSON, '{"signals": [], "page": {"total": 3}}')
    parts = (("insights$", bad, URL), ("/signals", bad, URL), ("/signals", lies, "The backend's"))
    for part, fault, why in parts:
        said = verdict(runs[:20], [], **{part: fault})
        assert said.startswith(f"⚪ Unknown: {well}; not all is known ({why}")
    busy = [run(n, "a", n / 60, "run.errored" if n > 50 else "run.completed") for n in range(90)]
    assert verdict(busy, []) == "🔴 Failing: last 60 runs: 9 errored, 51 clean."


def test_a_part_of_the_matches_is_called_so(serve, monkeypatch):
    monkeypatch.setattr(dm, "COUNTED", 3)
    serve(fleet([], [signal(n, run(n, "a", n)) for n in range(5)]))
    said = ask("search_signals", limit=1)
    assert said.startswith("5 signals (of 3 read): HIGH×3.\nBy agent (of 3 read): a×3\n")


def test_runs_whose_events_are_gone_are_of_no_window(serve):
    gone = [run(n, "a", 1, "run.errored", started_at=None, completed_at=None) for n in range(5)]
    serve(fleet([run(9, "a", 2), *gone], [signal(9, run(9, "a", 2))]))
    said = ask("get_agent_runs", agent_id="a", errored=True, since_hours=24)
    assert said.startswith("0 of 1 run of a in the last 24 hours errored or stalled")
    assert ask("get_agent_runs", agent_id="a", errored=True).startswith("5 of 6 runs of a errored")


def test_every_run_is_read_for_those_that_crashed(serve, monkeypatch):
    monkeypatch.setattr(dm, "LARGEST_PAGE", 2)
    monkeypatch.setattr(dm, "READ_RUNS", 2)
    ends = [*["run.completed"] * 8, "run.errored"]
    serve(fleet([run(n, "a", 1 + n, end) for n, end in enumerate(ends)]))
    assert ask("get_agent_runs", errored=True, limit=1).startswith("1 of 9 runs of all agents")


def test_reading_an_issue_is_asked_once_and_others_again(serve):
    backend = serve(RICH, **{"issues/3": (503, {}, "")})
    assert ask("get_issue", issue_id=3).endswith("once: asking again may be paid for again.")
    assert backend.asked == ["/v1/issues/3"]


def test_the_backends_clock_counts_and_is_named_where_it_differs(serve):
    backend = serve(RICH)
    backend.date = NOW + DAY
    said = ask("get_agent_runs", agent_id="quiet-agent")
    assert "1d ago" in said
    assert said.endswith("The backend's clock is +1440 minutes from ours; ages are by it.")
    backend.date = NOW + 299
    assert "clock" not in ask("get_agent_runs", agent_id="quiet-agent")
    call = dm.Call(ahead=DAY)
    call.told_time(formatdate(NOW, usegmt=True))  # the newest answer counts
    assert abs(call.ahead) < 2


def test_a_call_ends_in_its_time_whatever_the_backend_does(serve, monkeypatch):
    monkeypatch.setattr(dm, "CALL_SECONDS", 0.0)
    serve(RICH)
    late = "ERROR The backend did not complete the answer within 0 s."
    assert ask("list_agents").startswith(late)


def test_a_fault_of_ours_is_said_as_ours(serve, monkeypatch, caplog):
    serve(RICH)
    monkeypatch.setattr(dm, "fleet_text", lambda *_: 1 / 0)
    assert ask("list_agents").startswith(
        "ERROR list_agents could not make sense of the backend's answer. That is a fault of dunetrace-mcp"
    )


# ── Lists ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("api", ["new", "old"])
def test_a_search_finds_what_a_plain_filter_finds(serve, api):
    dice = random.Random(3)
    runs = [run(n, dice.choice("abc"), dice.uniform(0, 72), signals=1) for n in range(200)]
    kinds, severities = ("TOOL_LOOP", "RETRY_STORM", "COST_SPIKE", "CUSTOM_Z"), list(dm.SEVERITIES)
    signals = [
        signal(n + 1, of, dice.choice(kinds), dice.choice(severities), title=f"t{n}")
        for n, of in enumerate(runs)
    ]
    serve(fleet(runs, signals), api)
    for _ in range(25):
        given = {
            "severity": dice.choice(["", *severities]),
            "failure_type": dice.choice(["", *kinds]),
            "since_hours": dice.choice([0, 0, 5, 24]),
            "agent_id": dice.choice(["", "a"]),
        }
        limit, offset = dice.choice([5, 200]), dice.choice([0, 3])
        rows = [
            one
            for one in sorted(signals, key=lambda one: -one["detected_at"])
            if all(
                given[name] in ("", one[name]) for name in ("severity", "failure_type", "agent_id")
            )
            and (
                not given["since_hours"] or one["detected_at"] >= NOW - given["since_hours"] * HOUR
            )
        ]
        said = ask("search_signals", **given, limit=limit, offset=offset)
        shown = [int(one) for one in re.findall(r"^   id=(\d+)", said, re.M)]
        assert shown == [one["id"] for one in rows[offset : offset + limit]]
        if rows:
            assert said.startswith(f"{len(rows)} signal")


@pytest.mark.parametrize("api", ["new", "mid", "old"])
def test_a_signal_is_found_by_its_id_wherever_it_stands(serve, api):
    runs = [run(n, f"agent-{n % 7}", n / 10, signals=1) for n in range(700)]
    signals = [signal(1_000 - n, of) for n, of in enumerate(runs)]
    backend = serve(fleet(runs, signals), api)
    for n in (0, 350, 699):
        assert f"Run:       {uuid(n)}" in ask("get_signal_detail", signal_id=1_000 - n)
    ask("search_signals", limit=1)
    backend.asked.clear()
    ask("get_signal_detail", signal_id=1_000)
    assert [path for path in backend.asked if "fix-status" not in path] == [f"/v1/runs/{uuid(0)}"]


def lying(change):
    """A backend whose list of runs is changed on its way."""
    backend = Backend(fleet([run(n, "a", n + 1) for n in range(30)]))
    honest = backend.answer

    def answer(parts, query):
        status, body = honest(parts, query)
        if parts[-1] == "runs":
            change(body)
        return status, body

    backend.answer = answer
    return backend


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body: None, "30 shown, 30 matched"),
        (lambda body: body["page"].update(total=20), "30 shown, at least 30 matched"),
        (lambda body: body["page"].update(total=None), "30 shown, at least 30 matched"),
        (lambda body: body.update(runs=body["runs"][:10]), "10 shown, at least 30 matched"),
        (lambda body: body["page"].update(has_more=True), "30 shown, at least 30 matched"),
        (lambda body: body.update(runs=body["runs"][:15] * 2), "15 shown, at least 30 matched"),
        (lambda body: body["runs"][0].update(agent_id="b"), "29 shown, at least 30 matched"),
        (lambda body: body["page"].update(offset=9), "30 shown, at least 30 matched"),
        (lambda body: body["runs"].insert(0, None), "31 shown, at least 31 matched"),
        (
            lambda body: body["runs"].append({**body["runs"][0], "step_count": 9}),
            "30 shown, at least 31 matched",
        ),
    ],
)
def test_a_list_that_contradicts_itself_is_said_to_be_incomplete(serve, change, said):
    serve(lying(change))
    text = ask("get_agent_runs", agent_id="a", limit=100)
    assert f"({said})" in text
    assert (dm.INCOMPLETE in text) == ("at least" in said)


def test_a_page_that_is_shorter_than_its_own_total_says_has_a_gap(serve):
    serve(lying(lambda body: body.update(runs=body["runs"][:10])))
    assert not dm.api().page("runs", "a", limit=20).exact


def test_a_window_is_read_until_a_page_ends_in_rows_that_are_older(serve):
    backend = serve(fleet([run(n, "a", 1 if n < 250 else 30) for n in range(1_200)]))
    assert len(dm.api().read("runs", "a", age=DAY).rows) == 500
    assert len(backend.asked) == 1
    backend.data["runs"][260]["completed_at"] = NOW - HOUR
    assert len(dm.api().read("runs", "a", age=DAY).rows) == 1_200


def test_an_agent_that_cannot_be_asked_is_named_and_the_rest_is_searched(serve):
    odd = run(900, "team/agent", 2, signals=1)
    data = fleet([*RICH["runs"], odd], [*RICH["signals"], signal(500, odd)])
    serve(data, "old")
    said = ask("search_signals")
    assert said.startswith("at least 10 signals since 10h ago")
    assert "1 agent could not be asked: team/agent (this backend is too old for it)" in said
    serve(data, "new")
    said = ask("get_agent_signals", agent_id="team/agent")
    assert said.startswith("Signals of team/agent (1 shown, 1 matched)")


def test_an_answer_never_exceeds_its_budget_and_says_what_is_left_out(serve):
    many = [run(f"{n:04d}" + "r" * 600, "a" * 300, n / 100, signals=1) for n in range(200)]
    long = {"title": "t" * 500, "what": "w " * 400}
    serve(fleet(many, [signal(n, one, f"A_{n}", **long) for n, one in enumerate(many, 1)]))
    for tool, given in (
        ("get_agent_runs", {}),
        ("search_signals", {"limit": 200}),
        ("get_agent_signals", {"agent_id": "a" * 300, "limit": 100}),
    ):
        said = ask(tool, **given)
        assert len(said) <= dm.BUDGET
        assert "… more: " in said


# ── Gate ──────────────────────────────────────────────────────────────────────────────────────────


def gated(*words):
    """The exit status of a gate and its lines."""
    options = dm.typed_options(["gate", *words])
    lines = []

    async def run_gate():
        dm.CALL.set(dm.Call())
        return await dm.run_in_thread(lambda: dm.gate(options))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dm, "say", lambda text, *_: lines.append(text))
        return anyio.run(run_gate), lines


def states(*words):
    """The status of a gate and its states in a word: P F U W S."""
    status, lines = gated(*words)
    return status, "".join(line[0] for line in lines[1:])


def good(agent_id="a", runs=30, **more):
    """An agent that passes."""
    rows = [run(n, agent_id, 0.05 + n / 10) for n in range(runs)]
    return fleet(rows, per_agent={agent_id: {"health-score": score(90)}}, **more)


def test_a_gate_names_its_backend_and_says_a_line_for_each_criterion(serve):
    serve(good())
    assert gated("a") == (
        0,
        [
            "Gate for a at http://localhost:8002:",
            "PASS    runs processed in the last 24 h: 30",
            "PASS    errored or stalled: 0 of 30 runs, 0 of the newest 20, at most 10%",
            "PASS    signals of severity CRITICAL or worse in the last 24 h: 0, allowed 0",
            "PASS    health score 90, needs 70",
        ],
    )


def test_a_gate_counts_what_it_cannot_tell(serve):
    serve(with_runs((20, 0.1, DONE, 0), (3, 1, DONE, None)))
    assert gated("a")[1][2] == (
        "UNKNOWN errored or stalled: 0 of 23 runs, 0 of the newest 20, at most 10%; "
        "up to 3 more in flight, or of unknown end or time"
    )


def with_runs(*specs, **more):
    """An agent whose runs are written as (how many, hours ago of the first, end, signals)."""
    rows, n = [], 0
    for many, hours, end, signals in specs:
        rows += [run(n + k, "a", hours + k / 1000, end, signals) for k in range(many)]
        n += many
    data = fleet(rows, per_agent={"a": {"health-score": score(90)}})
    for name, value in more.items():
        data["agents"][0][name] = value
    return data


DONE, CRASH = "run.completed", "run.errored"


@pytest.mark.parametrize(
    ("data", "words", "outcome"),
    [
        (with_runs((18, 0.1, DONE, 0), (2, 3, CRASH, 0)), "--min-runs 1", (0, "PPPP")),  # a tenth
        (with_runs((17, 0.1, DONE, 0), (3, 3, CRASH, 0)), "", (1, "PFPP")),
        (with_runs((17, 0.1, DONE, 0), (3, 3, CRASH, 0)), "--max-errored 15%", (0, "PPPP")),
        (with_runs((17, 0.1, DONE, 0), (3, 3, "stalled", 0)), "", (1, "PFPP")),
        # 8.6 %, but the newest; 2.9 %, but the newest; 45 wait
        (with_runs((160, 8, DONE, 0), (15, 0.1, CRASH, 0)), "", (1, "PFPP")),
        (with_runs((100, 8, DONE, 0), (3, 0.1, "stalled", 0)), "", (1, "PFPP")),
        (with_runs((50, 2, DONE, 0), run_count=95, last_seen=NOW - 7200), "", (2, "PUPP")),
        (with_runs((50, 0.1, DONE, 0), run_count=52), "", (0, "PPPP")),
        (with_runs((50, 0.1, DONE, 0), run_count=53), "", (2, "PUPP")),  # 3 of 23 may have failed
        (with_runs((18, 0.1, DONE, 0), (2, 1, DONE, None)), "", (0, "PPPP")),
        (with_runs((17, 0.1, DONE, 0), (3, 1, DONE, None)), "", (2, "PUPP")),
        (with_runs((30, 0.1, DONE, 0), run_count=None), "", (0, "PPPP")),
        (with_runs((30, 0.1, DONE, 0), run_count=None, last_seen=NOW + 500), "", (2, "UPPP")),
        (with_runs((30, 0.1, DONE, 0), run_count=5), "", (0, "PPPP")),  # pruned
        (with_runs((30, 0.5, DONE, 0), run_count=5, last_seen=NOW - 60), "", (2, "UPPP")),
        (with_runs((30, 0.1, DONE, 0), last_seen=NOW - 60 * DAY), "", (2, "UPPP")),
        (with_runs((30, 0.1, DONE, 0), last_seen=None), "", (2, "UPPP")),
        (with_runs((30, 20, DONE, 0), last_seen=NOW - 60), "", (2, "UPPP")),  # a dead detector
        (with_runs((30, 20, DONE, 0), last_seen=NOW - 60, run_count=31), "", (0, "PPPP")),
        (with_runs((30, 20, DONE, 0), last_seen=NOW - 60, run_count=35), "", (2, "PUPP")),
        (with_runs((30, 0.1, DONE, 0), last_seen=NOW + 20 * HOUR, run_count=31), "", (2, "UPPP")),
        (with_runs((30, 25, DONE, 0), last_seen=NOW), "", (2, "U")),
        (with_runs((30, 25, DONE, 0), last_seen=NOW - 25 * HOUR), "--since 2d", (0, "PPPP")),
        (with_runs((1, 0.1, DONE, 0)), "", (0, "PPPP")),
        (with_runs((4, 0.1, DONE, 0)), "--min-runs 5", (2, "PUPP")),
        (EMPTY, "", (2, "U")),
        ({**good(), "agents": []}, "", (2, "UPPP")),
        ({**good(), "agents": good("b")["agents"]}, "", (2, "UPPP")),
    ],
)
def test_gate_by_its_runs(serve, data, words, outcome):
    serve(data)
    assert states("a", *words.split()) == outcome


def test_failed_runs_of_a_slow_clock_may_belong_to_the_window(serve):
    rows = [run(n, "a", 0.1 + n / 100) for n in range(10)]
    slow = [run(50 + n, "a", 26, "run.errored") for n in range(5)]
    data = fleet(rows + slow, per_agent={"a": {"health-score": score(90)}})
    data["runs"] = [*slow, *rows]  # in the order of processing
    serve(data)
    assert states("a") == (2, "PUPP")
    data["runs"] = [*rows, *slow]
    serve(data)
    assert states("a") == (0, "PPPP")
    gone = [{**one, "started_at": None, "completed_at": None} for one in slow]
    for runs, outcome in (
        ([*rows, *gone], (2, "PUPP")),
        ([*rows[:5], *gone, *rows[5:], slow[0] | {"run_id": "old"}], (2, "PUPP")),
        ([*rows, slow[0] | {"run_id": "old"}, *gone], (0, "PPPP")),
    ):
        serve({**data, "runs": runs, "agents": [data["agents"][0] | {"run_count": len(runs) - 5}]})
        assert states("a") == outcome


def with_signals(*rows):
    """An agent of thirty good runs and signals of (hours ago, type, severity)."""
    data = good()
    data["signals"] = [
        signal(n, data["runs"][0], kind, severity, run_id=f"r{n}", detected_at=NOW - hours * HOUR)
        for n, (hours, kind, severity) in enumerate(rows)
    ]
    data["agents"][0]["failure_types"] = {kind: 1 for _, kind, _ in rows}
    return data


@pytest.mark.parametrize(
    ("rows", "words", "outcome"),
    [
        ([(1, "TOOL_LOOP", "CRITICAL")], "", (1, "PPFP")),
        ([(1, "TOOL_LOOP", "critical")], "", (1, "PPFP")),
        ([(1, "TOOL_LOOP", "odd")], "", (1, "PPFP")),  # an unknown severity is worst
        ([(1, "TOOL_LOOP", "HIGH")], "", (0, "PPPP")),
        ([(1, "TOOL_LOOP", "HIGH")], "--fail-on high", (1, "PPFP")),
        ([(1, "TOOL_LOOP", "LOW")], "--fail-on MEDIUM", (0, "PPPP")),
        ([(25, "TOOL_LOOP", "CRITICAL")], "", (0, "PPPP")),
        ([(1, "TOOL_LOOP", "LOW")], "--failure-type tool-loop", (1, "PPFP")),
        ([(1, "TOOL_LOOP", "LOW")], "--failure-type RETRY_STORM", (0, "PPPP")),
        ([(1, "TOOL_LOOP", "LOW")], "--failure-type TOOL_LOOP --fail-on HIGH", (0, "PPPP")),
        ([(1, None, "LOW")], "--failure-type TOOL_LOOP", (1, "PPFP")),  # could be any
        ([(1, "tool loop\n", "LOW")], "--failure-type TOOL_LOOP", (1, "PPFP")),
    ],
)
def test_gate_by_its_signals(serve, rows, words, outcome):
    serve(with_signals(*rows))
    assert states("a", *words.split()) == outcome


@pytest.mark.parametrize(
    ("points", "sample", "words", "outcome"),
    [
        (70, 3, "", (0, "PPPP")),
        (69, 3, "", (1, "PPPF")),
        (69, 3, "--min-score 69", (0, "PPPP")),
        (None, 3, "", (2, "PPPU")),
        (850, 3, "", (2, "PPPU")),
        (-3, 3, "", (1, "PPPF")),  # of a backend whose parts may be negative
        (95, 2, "", (2, "PPPU")),
        (95, None, "", (2, "PPPU")),
    ],
)
def test_gate_by_its_score(serve, points, sample, words, outcome):
    health = {"score": points, "sample_runs": sample}
    serve({**good(), "per_agent": {"a": {"health-score": health}}})
    assert states("a", *words.split()) == outcome


def test_gate_where_the_backend_has_no_scores(serve):
    serve(good(), "old")
    assert states("a") == (0, "PPPS")
    assert states("a", "--min-score", "70") == (2, "PPPU")
    rows = [run(n, "a", 0.1 + n / 100, signals=n % 2) for n in range(11)]
    high = [signal(n, one) for n, one in enumerate(rows) if one["signal_count"]]
    serve(fleet(rows, high), "old")
    assert states("a") == (0, "PPPS")  # 5 of 11
    rows[0]["signal_count"] = 1
    serve(fleet(rows, [*high, signal(50, rows[0])]), "old")
    assert states("a") == (0, "PPPW")


@pytest.mark.parametrize(
    ("path", "outcome"),
    [("agents$", "UPPP"), ("/runs", "U"), ("/signals", "PPUP"), ("health-score", "PPPU")],
)
def test_gate_where_something_could_not_be_asked(serve, path, outcome):
    for fault in ((500, {}, ""), requests.ReadTimeout("Read timed out")):
        serve(good(), **{path: fault})
        assert states("a") == (2, outcome)


def test_a_gate_says_how_many_runs_have_signals_that_are_not_listed(serve):
    serve(with_runs((30, 0.1, DONE, 1)))
    assert gated("a")[1][3].endswith("allowed 0; 30 runs count more than are listed")


@pytest.mark.parametrize("date", [None, NOW - 3 * DAY, NOW + DAY, NOW + 301, NOW - 301])
def test_gate_where_the_answers_may_be_old(serve, date):
    backend = serve(good())
    backend.date = date
    assert states("a")[0] == 2
    backend.data = with_runs((30, (NOW - (date or NOW)) / HOUR + 0.1, DONE, 0))  # as old as that
    assert states("a")[0] == 2


def test_gate_reads_a_date_without_a_zone_as_utc(serve, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()

    class Bare(Backend):
        def __call__(self, request):
            status, headers, body = super().__call__(request)
            return status, {**headers, "Date": formatdate(NOW).replace("+0000", "-0000")}, body

    serve(Bare(good()))
    assert states("a")[0] == 0
    monkeypatch.delenv("TZ")
    time.tzset()


@pytest.mark.parametrize(("name", "outcome"), [("runs", (2, "UUPP")), ("agents", (2, "UPPP"))])
@pytest.mark.parametrize("page", [{"total": 99}, {"total": 40, "has_more": True}, {}])
def test_gate_where_a_list_lies(serve, name, outcome, page):
    class Lying(Backend):
        def answer(self, parts, query):
            status, data = super().answer(parts, query)
            return status, data | {"page": page} if parts[-1] == name else data

    serve(Lying(good(runs=40)))
    assert states("a") == outcome


@pytest.mark.parametrize(
    "words",
    [
        "--since 0", "--since soon", "--max-errored 101", "--max-errored nan", "--min-runs 0", "--min-score 101",
        "--fail-on URGENT", "--fail-on any", "--fail-on=", "--failure-type tool!", "--failure-type any", "--failure-type=", "--since 3 --since 4", "--fail-on HIGH --fail-on LOW", "--failure-type A --failure-type B", "--min-score 5 --min-score=6", "--sinze 3",
    ],
)  # fmt: skip
def test_a_gate_that_is_written_wrongly_is_a_usage_error(words, capsys):
    with pytest.raises(SystemExit) as error:
        dm.typed_options(["gate", "a", *words.split()])
    assert error.value.code == 64
    assert "usage: dunetrace-mcp" in capsys.readouterr().err


# ── Fixes and the next run ────────────────────────────────────────────────────────────────────────


def version_trial(serve, rows, hits, first_seen, others=()):
    """verify_fix over runs of (hours ago it ended, version): `hits` failed, `others` otherwise."""
    bad = {**dict.fromkeys(others, "RETRY_STORM"), **dict.fromkeys(hits, "TOOL_LOOP")}
    runs = [
        run(n, "a", hours, signals=int(n in bad), version=version)
        for n, (hours, version) in enumerate(rows)
    ]
    signals = [signal(n, runs[n], kind) for n, kind in bad.items()]
    names = dict.fromkeys(version for _, version in rows)
    told = versions(*((name, 1, 1, first_seen.get(name, 50), 1) for name in names))
    serve(fleet(runs, signals, per_agent={"a": {"insights": {"versions": told}}}))
    return ask("verify_fix", agent_id="a", failure_type="TOOL_LOOP").splitlines()[0]


def test_the_sides_of_a_version_are_told_by_the_runs_own_version(serve):
    old, new = [(20 + n, "v1") for n in range(12)], [(3 + n, "v2") for n in range(6)]
    late = {"v2": 4.5, "v1": 60}  # when the first run of v2 was processed: two of them began before
    said = version_trial(serve, old + new, set(range(12, 18)), late)
    assert said == "🔴 Worse: TOOL_LOOP in 0 of 12 runs before and 6 of 6 after version v2, 4h ago."
    old, new = [(20 + n, "v1") for n in range(20)], [(3 + n, "v2") for n in range(13)]
    said = version_trial(serve, old + new, {*range(10), *range(20, 28)}, {"v2": 8, "v1": 60})
    told = "TOOL_LOOP in 10 of 20 runs before and 8 of 13 after version v2, 8h ago."
    assert said == f"🔴 Still there: {told}"
    said = version_trial(serve, [*old, *new, (1, "v1"), (2, "")], set(), {"v2": 8, "v1": 60})
    assert " in 0 of 21 runs before and 0 of 13 after version v2, 8h ago." in said
    said = ask("verify_fix", agent_id="a", failure_type="TOOL_LOOP")
    assert "before it on; other versions still run, the newest 1h ago:\n" in said
    assert f"On neither side:\n  1 {dm.UNPLACED}" in said
    rows = [(100 + n, "v1") for n in range(20)] + [(50 + n, "v2") for n in range(20)]
    rows += [(1 + n, "v3") for n in range(20)]
    version_trial(serve, rows, {*range(15), *range(40, 55)}, {"v1": 120, "v2": 70, "v3": 21})
    said = ask("verify_fix", agent_id="a", failure_type="TOOL_LOOP", since="v2")
    assert "TOOL_LOOP in 15 of 20 runs before and 15 of 40 after version v2, 2d ago." in said


def test_a_failure_that_gives_way_to_another_is_not_fixed(serve):
    rows = [(30 + n, "v1") for n in range(20)] + [(1 + n / 2, "v2") for n in range(20)]
    said = version_trial(serve, rows, range(20), {"v2": 11, "v1": 60}, range(20, 40))
    assert said.startswith(f"{NOT_FIXED}: TOOL_LOOP in ")
    said = ask("verify_fix", agent_id="a", failure_type="TOOL_LOOP")
    assert "  after:      0% (0/20), 95% interval 0–16%; 20 with any failure\n" in said


def test_a_moment_divides_runs_by_their_own_times(serve):
    runs = [run(n, "a", 30 + n, signals=1) for n in range(20)]
    runs += [run(50 + n, "a", 1 + n) for n in range(10)]
    long = run(90, "a", 20, signals=1, started_at=NOW - 26 * HOUR)
    serve(fleet([*runs, long], [signal(n, one) for n, one in enumerate([*runs[:20], long])]))
    said = ask("verify_fix", agent_id="a", failure_type="TOOL_LOOP", since="24h")
    assert said.startswith(
        "✅ Fixed: TOOL_LOOP in 20 of 20 runs before and 0 of 10 after 2027-01-14 08:00 UTC, 1d ago."
    )
    assert "On neither side:\n  1 under way at that moment" in said


def test_a_fix_is_not_surer_than_what_waits_or_was_read(serve):
    runs = [run(n, "a", 30 + n, signals=1) for n in range(20)]
    runs += [run(50 + n, "a", 1 + n) for n in range(10)]
    signals = [signal(n, one) for n, one in enumerate(runs[:20])]

    def verdict(backend):
        serve(backend)
        return ask("verify_fix", agent_id="a", failure_type="TOOL_LOOP", since="24h")

    data = fleet(runs, signals)
    for count, said in ((35, "✅ Fixed: "), (36, "⚪ Too early to tell (6 runs not processed yet")):
        data["agents"][0]["run_count"] = count
        assert verdict(data).startswith(said)
    lost = run(90, "a", 2, signals=1, started_at=None, completed_at=None)
    gone = fleet([*runs, lost], [*signals, signal(90, lost, detected_at=NOW - 60 * DAY)])
    assert verdict(gone).startswith("✅ Fixed: ")
    hidden = fleet([*runs, lost], [*signals, signal(90, lost, detected_at=NOW)])
    assert verdict(hidden).startswith(
        "⚪ Too early to tell (1 run not processed yet or of no known"
    )
    backend = Backend(data)
    honest = backend.answer
    backend.answer = lambda parts, query: (
        (200, {"signals": honest(parts, query)[1]["signals"]})
        if parts[-1] == "signals"
        else honest(parts, query)
    )
    assert verdict(backend).startswith("⚪ Unknown (The backend's list")


def test_too_few_runs_after_the_newest_change_are_judged_by_the_one_before_too(serve):
    rows = [(30 + n, "v1") for n in range(10)] + [(5 + n, "v2") for n in range(8)]
    rows += [(1, "v3"), (2, "v3")]
    said = version_trial(serve, rows, set(range(10)), {"v3": 2, "v2": 13, "v1": 60})
    told = "TOOL_LOOP in 10 of 18 runs before and 0 of 2 after version v3, 2h ago."
    assert said == f"⚪ Too early to tell: {told}"
    said = ask("verify_fix", agent_id="a", failure_type="TOOL_LOOP")
    told = re.findall(r"(?m)^After (.*)", said)
    assert told == ["version v2, 13h ago: ✅ Fixed, 10 of 10 runs before and 0 of 10 after."]


def arriving(serve, monkeypatch, before, later, **given):
    """wait_for_run while the runs `later` come at the second look."""
    backend = serve(fleet(before[0], before[1]))

    async def sleep(_):
        backend.data = Backend(fleet([*before[0], *later[0]], [*before[1], *later[1]])).data

    monkeypatch.setattr(dm.anyio, "sleep", sleep)
    return ask("wait_for_run", agent_id="a", **given)


def test_the_next_run_is_told_against_those_before_it(serve, monkeypatch):
    old = [run(n, "a", 10 + n, signals=n % 2) for n in range(6)]
    signals = [signal(n, one) for n, one in enumerate(old) if one["signal_count"]]
    new = run(90, "a", 0.01, signals=1)
    spike = signal(90, new, "COST_SPIKE", "MEDIUM")
    said = arriving(serve, monkeypatch, (old, signals), ([new], [spike]))
    assert said == (
        "🟡 Completed with 1 signal, at worst COST_SPIKE (MEDIUM).\n"
        f"New run of a: {uuid(90)}, 36s ago\n\n"
        "Before it, last 6 runs: 3 with signals, 3 clean.\n"
        "Its failures: COST_SPIKE; those before it: TOOL_LOOP.\n\n"
        f'Next: compare_runs(run_id="{uuid(90)}").'
    )


def test_of_several_new_runs_the_worst_is_told(serve, monkeypatch):
    old = [run(n, "a", 10 + n) for n in range(3)]
    new = [run(90, "a", 0.01), run(91, "a", 0.02, "run.errored"), run(92, "a", 0.03, signals=1)]
    said = arriving(serve, monkeypatch, (old, []), (new, [signal(92, new[2])]))
    assert said.startswith(
        "🔴 Errored without signals. By its end and signals it is the worst of 3 new ones: last 3 runs: 1 errored, 1 with signals, 1 clean."
    )
    serve(fleet([*old, *new]))
    said = ask("wait_for_run", agent_id="a", after_run_id=uuid(92))
    assert "it is the worst of 2 new ones" in said
    assert uuid(91) in said
    new = [run(90, "a", 0.01), run(91, "a", 0.02, None)]
    assert arriving(serve, monkeypatch, (old, []), (new, [])).startswith("⚪ End unknown without")


def test_waiting_ends_and_says_how_to_go_on(serve, monkeypatch):
    async def sleep(_):
        monkeypatch.setattr(dm.anyio, "current_time", lambda: 1e9)

    monkeypatch.setattr(dm.anyio, "sleep", sleep)
    serve(fleet([run(1, "a", 2)]))
    said = ask("wait_for_run", agent_id="a", timeout_s=1)
    assert re.sub(r"within \d+ s", "within N s", said) == (
        "No new run of a was listed within N s; the newest is 019e0001-bd24, 2h ago. A run is listed once it "
        "has ended, or after about 90 s without an event. To go on waiting: "
        'wait_for_run(agent_id="a", after_run_id="019e0001-bd24")'
    )


# ── The live tool list ────────────────────────────────────────────────────────────────────────────


def listed():
    return anyio.run(SERVER.list_tools)


def definitions(tools):
    """What a client is sent of tools, in bytes."""
    return sum(len(one.model_dump_json(by_alias=True, exclude_none=True)) + 1 for one in tools)


def test_tools_are_described_and_only_read():
    tools = listed()
    assert len(tools) == 17
    for one in tools:
        schema = dm.schema_of(one)
        assert 40 < len(one.description) < 300
        assert one.title
        assert one.meta["anthropic/searchHint"]
        assert (
            one.annotations.model_dump(exclude_none=True).get("readOnlyHint")
            or one.annotations.model_dump().get("read_only_hint")
        ) is True
        assert getattr(one, "outputSchema", getattr(one, "output_schema", None)) is None
        assert "title" not in schema
        for parameter in schema["properties"].values():
            assert parameter["description"]
            assert "title" not in parameter
            assert "" not in parameter.get("enum", ["x"])
            assert "enum" not in parameter or "default" not in parameter
            assert not {"minimum", "maximum"} & parameter.keys()
    assert definitions(tools) <= 10_500


def test_core_is_smaller(monkeypatch):
    monkeypatch.setenv("DUNETRACE_TOOLS", "core")
    tools = listed()
    assert [one.name for one in tools] == [name for name in dm.TOOLS if name in dm.CORE.split()]
    assert definitions(tools) < 7_100
    said = ask("verify_fix", agent_id="a", failure_type="TOOL_LOOP")
    assert said.startswith("ERROR There is no tool verify_fix.")


def test_instructions_are_short_and_name_only_what_is_on(monkeypatch):
    first, rest = dm.instructions().split("\n", 1)
    assert len(first) <= 240
    assert len(rest) <= 500
    assert all(
        name in dm.instructions()
        for name in ("summarize_agent", "search_signals", "get_run_detail", "verify_fix")
    )
    monkeypatch.setenv("DUNETRACE_TOOLS", "summarize_agent, nonsense")
    assert "verify_fix" not in dm.instructions()
    assert dm.instructions().splitlines()[0].endswith("why did a run loop?")
    assert "search_signals" not in dm.instructions()
    assert dm.misnamed_text() == "DUNETRACE_TOOLS names no tool with nonsense"


def test_next_steps_name_no_tool_that_is_off(serve, monkeypatch):
    serve(RICH)
    monkeypatch.setenv("DUNETRACE_TOOLS", "summarize_agent")
    assert "Next:" not in ask("summarize_agent", agent_id="shop-agent")


def test_descriptions_hold_the_words_that_people_ask_with():
    described = {one.name: f"{one.description} {one.title}".lower() for one in listed()}
    for tool, words in {
        "search_signals": "critical alert crash failed",
        "get_agent_runs": "crash errored",
        "summarize_agent": "healthy fix",
        "verify_fix": "fix work",
        "list_policies": "policy policies",
    }.items():
        assert all(word in described[tool] for word in words.split())


def test_progress_of_a_fan_out_reaches_the_client(serve, monkeypatch):
    told = []
    monkeypatch.setattr(dm, "send_progress", lambda client, done, total: told.append((done, total)))
    serve(
        fleet(
            [run(n, f"agent-{n}", 1, signals=1) for n in range(40)],
            [signal(n, run(n, f"agent-{n}", 1)) for n in range(40)],
        ),
        "old",
    )
    ask("search_signals")
    assert told == [(16, 40), (32, 40)]


# ── Documents and prompts ─────────────────────────────────────────────────────────────────────────


def read(uri):
    return next(iter(anyio.run(SERVER.read_resource, uri))).content


def test_documents(serve):
    serve(RICH)
    uris = [str(one.uri) for one in anyio.run(SERVER.list_resources)]
    names = "detectors mcp-server python langchain typescript haystack otel policies"
    assert uris == [f"dunetrace://docs/{name}" for name in names.split()]
    assert all(len(read(uri)) > 400 for uri in uris)
    assert "TOOL_LOOP" in read("dunetrace://docs/detectors")
    said = read("dunetrace://docs/mcp-server")
    assert all(f"\n{name}: " in said for name in [*dm.TOOLS, "    severity (string, default '')"])
    assert len(anyio.run(SERVER.list_resource_templates)) == 3
    assert read("dunetrace://agents/shop-agent") == ask("summarize_agent", agent_id="shop-agent")
    assert read("dunetrace://agents/%F0%9F%9F%A2%20All%20agents%20healthy") == ask(
        "summarize_agent", agent_id="🟢 All agents healthy"
    )
    assert read(f"dunetrace://runs/{uuid(1)}") == ask("get_run_detail", run_id=uuid(1))
    assert read("dunetrace://signals/1") == ask("get_signal_detail", signal_id=1)
    for uri in ("dunetrace://agents/nope", "dunetrace://signals/x"):
        with pytest.raises(Exception, match=r"There is no agent nope|is a whole number"):
            read(uri)


def test_guides_compile_and_answer_to_their_other_names():
    for heading, text in dm.chapters(dm.GUIDES).items():
        for code in re.findall(r"```python\n(.*?)```", text, re.S):
            compile(code, heading, "exec", flags=0x2000)  # top-level await
        guides = {dm.get_instrumentation_guide(name) for name in heading.split()}
        assert len(guides) == 1
        assert "Trap: " in guides.pop()


def prompted(name, **given):
    return anyio.run(SERVER.get_prompt, name, given).messages[0].content.text


def test_prompts(monkeypatch):
    alert = "HIGH: loop · agent shop-agent · run r7 · step 7 TOOL_LOOP\nignore this"
    said = prompted("triage_alert", agent_id=alert)
    assert said.splitlines()[0].endswith(f": {alert}".replace("\n", " "))
    assert '1. If it names a run, get_run_detail(run_id="r7"): ' in said
    assert 'summarize_agent(agent_id="shop-agent")' in said
    assert 'search_signals(agent_id="shop-agent", since_hours=24)' in said
    assert 'went wrong in run "r7".' in prompted("investigate_run", run_id="http://d/runs/r7")
    assert "for the last 24 hours" in prompted("audit_fleet")
    assert "for the last 24 hours" in prompted("audit_fleet", since_hours="1d")
    assert 'summarize_agent(agent_id="a-b")' in prompted("triage_alert", agent_id="a-b")
    assert prompted("decide_deploy", agent_id="a").startswith('Decide whether the agent "a" is')
    monkeypatch.setenv("DUNETRACE_TOOLS", "summarize_agent")
    said = prompted("decide_deploy", agent_id="a")
    assert "1. summarize_agent" in said
    assert "2." not in said


def completed(name, start):
    class Argument:
        pass

    argument = Argument()
    argument.name, argument.value = name, start

    async def complete():
        return await dm.complete(None, argument, None)

    return anyio.run(complete).values


def test_completions_come_from_live_data_and_never_fail(serve, monkeypatch):
    monkeypatch.setattr(dm, "COMPLETION_SECONDS", 5)
    backend = serve(RICH)
    assert completed("agent_id", "AGENT")[0].endswith("-agent")
    assert completed("agent_id", "shop") == ["shop-agent"]
    assert completed("run_id", "019e0028") == [uuid(40)]
    assert completed("failure_type", "tool_l") == ["TOOL_LOOP"]
    assert completed("nonsense", "") == []
    backend.faults = {".": (500, {}, "")}
    assert completed("agent_id", "shop") == []
    serve(fleet([run(n, f"a{n}", n + 1) for n in range(101)]))
    assert len(completed("agent_id", "a")) == 100


# ── Values ────────────────────────────────────────────────────────────────────────────────────────


FIRST = dm.EARLIEST
UNTIMED = [{}, {"timestamp": FIRST + 1}, {"step_index": 2}, {"timestamp": FIRST + 2}]


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (dm.ranges([9, 3, 5, 6, None, 7, 8]), "3, 5-9"),
        (dm.ranges([]), ""),
        (dm.duration(5.64), "5.6s"),
        (dm.duration(99.9), "99.9s"),
        (dm.duration(130), "2m 10s"),
        (dm.duration(5_999), "99m 59s"),
        (dm.duration(-1), "—"),
        (dm.duration(float("nan")), "—"),
        (dm.dollars(1234.5), "$1,234.50"),
        (dm.dollars(0.01), "$0.01"),
        (dm.dollars(0.00423), "$0.0042"),
        (dm.dollars(0), "$0.00"),
        (dm.dollars(float("nan")), "—"),
        (dm.price(0), "—"),
        (dm.percent(0.004), "0%"),
        (dm.percent(1.01), "—"),
        (dm.plural(1, "run"), "1 run"),
        (dm.plural(2, "policy"), "2 policies"),
        (dm.plural(None, "run"), "— runs"),
        (dm.first_of("abc", 2), "a, b and 1 more"),
        (dm.first_of("ab", 2), "a, b"),
        (dm.named_counts({"a": 1, "b": 2, "c": 0}), "b×2, a×1"),
        (dm.named_counts(dict.fromkeys("abcdefghi", 1))[-18:], "g×1, h×1 and 1 more"[-18:]),
        (dm.safe("", dict.fromkeys("abcdefghijklm", 1))[-18:], "k: 1, l: 1 and 1 more}"[-18:]),
        (len(list(dm.breakdown(dm.Agent.of({"failure_types": dict.fromkeys("ABCDEFGHI", 1)}), dm.Insights.of()))), 9),
        (dm.clean("a\n\tb\x1b[31m\u202e```"), "a b[31m` ` `"),
        (dm.clean("x" * 400), "x" * 300 + "…(+100 chars)"),
        (dm.clean(""), "—"),
        (dm.gist("one two " * 40, 20), "one two one two …"),
        (dm.shortened(["a", "b", "c"], 2, "x"), ["a", "b", "c"]),
        (dm.shortened(["a", "b", "c", "d"], 2, "x"), ["a", "b", "  … 2 x not shown"]),
        ([row.at - FIRST for row in dm.newest_first(map(dm.Event.of, UNTIMED)) if row.at > 0], [2, 1]),
        ([row.step_index for row in dm.newest_first(map(dm.Event.of, UNTIMED))], [None, None, None, 2]),
        (dm.Run.of({"run_id": "r" * 4_001}).run_id, ""),
        (dm.fitting(["a" * 10] * 5, 30), ["a" * 10] * 2),
        (dm.fitting(["a" * 100], 30), ["a" * 100]),
        (dm.code_block("a```\n\tb", "python", " "), [" ```python", " a` ` `", "     b", " ```"]),
        (dm.code_block("", "python", ""), []),
        (dm.delivered("a\u202e\x00b\n"), "ab\n"),
        (dm.delivered("ab\n" * 11_000)[-57:], "b\n… 1153 more characters not shown: ask for less at once."),
        ("".join(dm.entries([dm.Signal.of({"title": n, "suggested_fixes": [{"description": "Stop."}]}) for n in "ab"])).count("Fix: Stop."), 1),
        (dm.facts([dm.Signal.of({"id": n}) for n in (7, 8)])["times"], "  ×2 back to — (ids 7-8)"),
        (dm.delivered("a ##[error]b #\x00#VSO[c]\n ::d a::b"), "a # #[error]b # #VSO[c]\n : :d a::b"),
        (dm.where_to_look(dm.Signal.of({"failure_type": "TOOL_LOOP"})).partition(": ")[2], "a guard against equal, or too many, calls."),
        (dm.where_to_look(dm.Signal.of({"failure_type": "TOOL_AVOIDANCE", "evidence": {"available_tools": ["pay"]}})), ""),
        (dm.input_lines(dm.Insights.of({**SHOP_INSIGHTS, **insights(("TOOL_LOOP", 20, 20, True))})), ["  hash=e47617d3  8/8 runs (100%)  COST_SPIKE"]),
        (dm.input_lines(dm.Insights.of({**SHOP_INSIGHTS, **insights(("TOOL_LOOP", 16, 20, True))})), ["  hash=e47617d3  8/8 runs (100%)  COST_SPIKE"]),
        (dm.input_lines(dm.Insights.of({**SHOP_INSIGHTS, **insights(("TOOL_LOOP", 15, 20, True))})), ["  hash=e47617d3  8/8 runs (100%)  TOOL_LOOP, COST_SPIKE"]),
        (dm.Event.of({"event_type": "::error::x"}).event_type, "sha256:2045b801 (10 chars)"),
        (dm.Event.of({"event_type": "🟢 fine"}).event_type, "hidden (6 chars)"),
        (str(dm.Policy.of({"id": 1, "agent_id": "*", "name": "🟢 All agents healthy", "enforcement": "degraded", "enforcement_reason": "::error::x"})).splitlines()[0], '  ⚠ #1 "🟢 All agents healthy"  (all agents)  degraded ("::error::x")'),
        (dm.facts([dm.Signal.of({"shadow": True})])["shadow"], "  (shadow: not counted, not alerted)"),
        (dm.safe("score", 0.123456), "0.1235"),
        (dm.Patient().get_retry_after(dm.HTTPResponse(headers={"Retry-After": "9"})), 5),
        (dm.misnamed_text(), ""),
        (dm.parting(*([dm.Step(dm.Event.of({"payload": said}))] for said in ({"args": "1"}, {})))[0], "their recorded steps are alike"),
        ("(10%), — runs" in dm.Window.of({"total_cost_usd": 0.5, "wasted_pct": 0.1}).row("x"), True),
        (len({dm.did(dm.Step(dm.Event.of({"payload": {"result_count": n}}))) for n in (0, 5)}), 2),
        (len(dm.remarks(dm.Step(dm.Event.of({"payload": {f"k{n}": n for n in range(99)}})), True)), 672),
        ("— (25%), — runs" in dm.Window.of({"total_tokens": 100, "wasted_tokens": 25, "wasted_pct": 0}).row("x"), True),
        ('after_run_id="r1")' in dm.no_arrival("a", [dm.Run.of({"run_id": "r1"})], 1), True),
        (dm.version_text("1.0"), "v1.0"),
        (dm.version_text("v1"), "v1"),
        (dm.version_text(""), "—"),
    ],
)  # fmt: skip
def test_values(said, text):
    assert said == text


@pytest.mark.parametrize(
    ("back", "text"),
    [(0, "0s ago"), (59, "59s ago"), (60, "1m ago"), (3_600, "1h ago"), (86_399, "23h ago"), (86_400, "1d ago"), (-60, "1m ago"), (-61, "in 1m"), (-90_000, "in 1d")],
)  # fmt: skip
def test_ago(back, text):
    assert dm.ago(NOW - back) == text


@pytest.mark.parametrize(
    ("value", "moment"),
    [(NOW, NOW), (dm.EARLIEST, None), (dm.EARLIEST + 1, dm.EARLIEST + 1), (NOW + DAY - 1, NOW + DAY - 1), (NOW + DAY, None), ("2027", None), (True, None), (None, None)],
)  # fmt: skip
def test_a_time_is_one_between_2017_and_tomorrow(value, moment):
    assert dm.Event.of({"timestamp": value}).timestamp == pytest.approx(
        moment or float("nan"), nan_ok=True
    )


@pytest.mark.parametrize(
    ("evidence", "steps"),
    [
        ({}, "3"),
        ({"first_step": 2, "last_step": 4}, "2-4"),
        ({"first_fail_step": 5}, "5"),
        ({"step_indices": [1, 2, 9]}, "1-2, 9"),
        ({"step_index": 7, "all_slow_steps": {"9" * 5_000: 1}}, "7"),
        ({"current_steps": 14, "max_step": 2}, "3"),
        ({"step_indices": list(range(0, 40, 2))}, "0, 2, 4, 6, 8, 10 and 14 more"),
    ],
)
def test_a_signal_points_at_the_steps_of_its_evidence(evidence, steps):
    said = dm.facts([dm.Signal.of({"step_index": 3, "evidence": evidence})])
    assert said["step"] == steps


def test_the_cause_of_a_crash_is_the_call_that_was_open():
    def cause(*events):
        return dm.Run.of(
            {"events": [*events, event("run.errored", 4, NOW, error_type="KeyError", step_index=9)]}
        ).cause

    open_call = event("tool.called", 2, NOW, tool_name="t")
    answered = event("tool.responded", 2, NOW, tool_name="t", success=True)
    assert cause(open_call, event("external.signal", 3, NOW)) == "KeyError in tool `t`, step 4"
    assert cause(open_call, answered) == "KeyError, step 4"
    assert (
        cause(open_call, {**answered, "payload": {"tool_name": "t", "success": False}})
        == "KeyError in tool `t`, step 4"
    )
    assert cause(event("llm.called", 2, NOW)) == cause() == "KeyError, step 4"
    assert dm.Run.of({"events": [event("run.errored", 4, NOW)]}).cause == ""


# ── Processes ─────────────────────────────────────────────────────────────────────────────────────
# The module as people start it, against nothing but loopback.

MODULE = dm.__file__


def command(*words, stdin="", **variables):
    """What a command prints, and its exit status."""
    known = {name: os.environ.get(name, "") for name in ("PATH", "HOME", "SYSTEMROOT")}
    done = subprocess.run(
        [sys.executable, MODULE, *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env={**known, "PYTHONDONTWRITEBYTECODE": "1", **variables},
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--version"], 0, f"dunetrace-mcp {dm.__version__}"),
        (["--demo", "check"], 0, "(the default)\n✅ Customer API: 5 agents, last seen 1h ago\n"),
        (["--demo", "call", "get_run_detail", "f7703579-092c"], 0, "tool=web_search  ok=True  200ms  ×6 to [  7], same arguments"),
        (["--demo", "call", "search_signals", "severity=CRITICAL", "--since-hours=24"], 0, "of severity CRITICAL in the last 24 hours"),
        (["--demo", "call", "summarize_agent", "research-agent"], 0, "═══ Agent summary: research-agent ═══"),
        (["call", "verify_fix", "--help"], 0, "    failure_type (string, required): "),
        (["call", "--help"], 0, "{list_agents,"),
        (["gate", "--help"], 0, "exit status: 0 every criterion passes, 1 one fails, 2 one cannot be told (UNKNOWN), 64"),
        (["--demo", "call", "list_agent"], 64, "invalid choice: 'list_agent' (choose from "),
        (["--demo", "call", "list_agents", "a", "b"], 64, "There is no argument of list_agents called b. There are: contains."),
        (["--demo", "call", "get_run_detail", "ab", "ab"], 2, "There is no run ab."),
        (["--demo", "call", "list_agents", "--foo"], 64, "There is no argument of list_agents called --foo."),
        (["--demo", "call", "get_agent_runs", "limit=x"], 64, "get_agent_runs: limit: Input should be a valid integer"),
        (["--demo", "call", "get_run_detail", "nope"], 2, "There is no run nope."),
        (["--demo", "gate", "support-agent"], 0, "PASS    health score"),
        (["--demo", "gate", "billing-agent"], 1, "Gate for billing-agent at demo://fleet:"),
        (["--demo", "gate", "nobody"], 2, "UNKNOWN runs processed in the last 24 h: 0; there is no agent nobody."),
        (["gate", "a"], 2, "UNKNOWN runs processed in the last 24 h"),
        (["gate"], 64, "agent"),
        (["--since"], 64, "unrecognized arguments"),
        (["config", "claude"], 64, "invalid choice: 'claude' (choose from "),
        (["--port", "9"], 64, "--host and --port go with --http or --sse."),
        (["--http", "--host", "0.0.0.0"], 2, "refusing to listen on 0.0.0.0 without a token"),
    ],
)  # fmt: skip
def test_commands(words, status, said):
    code, out, err = command(*words, DUNETRACE_API_URL="http://127.0.0.1:9")
    assert code == status
    assert said in out + err


def test_a_command_survives_optimization_and_shows_the_same_text():
    for words in (["--demo", "call", "list_agents"], ["call", "verify_fix", "--help"]):
        assert command(*words, PYTHONOPTIMIZE="2") == command(*words)


def test_help_shows_the_variables_as_they_are_but_no_secret():
    _, out, _ = command("--help", DUNETRACE_API_KEY="dt_live_secret", DUNETRACE_TOOLS="core")
    assert "now: DUNETRACE_API_KEY is 14 characters, DUNETRACE_TOOLS is core\n" in out
    assert "secret" not in out


@pytest.mark.parametrize(
    ("prefix", "found", "starts"),
    [
        ("/venv", "/venv/bin/dunetrace-mcp", ["/venv/bin/dunetrace-mcp"]),
        ("/venv", None, [sys.executable, MODULE]),
        ("/uv/environments-v2/x", None, ["uv", "run", "--script", MODULE]),
        ("/uv/archive-v0/x", "/x/dunetrace-mcp", "uvx runs it from a cache"),
    ],
)
def test_an_editor_is_told_what_starts_this_server(monkeypatch, prefix, found, starts):
    monkeypatch.setattr(sys, "prefix", prefix)
    monkeypatch.setattr(dm.shutil, "which", lambda _: found)
    told = dm.result_or_error(dm.own_command)
    assert told == starts or str(told).startswith(starts)


def test_importing_has_no_effect():
    said = (
        "import logging, dunetrace_mcp as dm; "
        "print(logging.root.handlers, dm.log.handlers, len(dm.TOOLS))"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", said],
        capture_output=True,
        text=True,
        cwd=Path(MODULE).parent,
        timeout=60,
    )
    assert done.stdout == "[] [] 17\n"
    assert done.stderr == ""


def test_a_full_or_closed_output_does_not_change_the_status():
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-B", MODULE, "--demo", "gate", "billing-agent"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.DEVNULL, timeout=60)
        assert done.returncode == 1


def rpc(ident, method, **params):
    return json.dumps({"jsonrpc": "2.0", "id": ident, "method": method, "params": params}) + "\n"


CLIENT = {"name": "t", "version": "0"}
HELLO = rpc(1, "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=CLIENT)
READY = '{"jsonrpc": "2.0", "method": "notifications/initialized"}\n'


def session(stdin, **variables):
    """What the server answers over stdio to what a client writes before it leaves, by id."""
    done = subprocess.run(
        [sys.executable, "-B", MODULE],
        input=stdin,
        capture_output=True,
        timeout=60,
        env={**os.environ, "DUNETRACE_API_URL": "demo://", **variables},
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return {one.get("id"): one for one in answers}


def test_a_session_over_stdio():
    with subprocess.Popen(
        [sys.executable, "-B", MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DUNETRACE_API_URL": "demo://"},
    ) as server:

        def ask_server(line):
            server.stdin.write(line)
            server.stdin.flush()
            return json.loads(server.stdout.readline())["result"]

        hello = ask_server(HELLO)
        assert hello["serverInfo"] == {"name": "dunetrace", "version": dm.__version__} | {
            k: v for k, v in hello["serverInfo"].items() if k not in ("name", "version")
        }
        assert hello["instructions"] == dm.instructions()
        server.stdin.write(READY)
        assert len(ask_server(rpc(2, "tools/list"))["tools"]) == 17
        result = ask_server(rpc(3, "tools/call", name="list_agents", arguments={}))
        assert not result.get("isError")
        assert "structuredContent" not in result
        assert "worst first" in result["content"][0]["text"]
        given = {"name": "summarize_agent", "arguments": {"agent_id": "nobody"}}
        result = ask_server(rpc(4, "tools/call", **given))
        assert result["isError"]
        assert result["content"][0]["text"].startswith("There is no agent nobody")
        server.stdin.close()
        assert server.wait(30) == 0
        assert server.stderr.read() == ""


@pytest.mark.parametrize(
    "last",
    [
        b"",
        b"\xff\xfe\n",
        rpc(3, "tools/call", name="list_agents", arguments={}).encode(),
        b"no json\n",
    ],
)
def test_an_input_that_ends_or_breaks_leaves_no_trace(last):
    session((HELLO + READY).encode() + last)


@pytest.mark.parametrize("client", [name for name in dm.chapters(dm.LETTERS) if " " not in name])
@pytest.mark.parametrize("remote", ["", "https://mcp.example.com"])
def test_what_an_editor_needs(client, remote):
    more = ["--url", remote] if remote else []
    code, out, _ = command(
        "config",
        client,
        *more,
        DUNETRACE_API_KEY="dt_live_secret",
        DUNETRACE_API_URL="http://api.example.com:8002",
    )
    assert code == 0
    assert "dt_live_secret" not in out
    assert "$start" not in out
    assert "$told" not in out
    for block in re.findall(r"^\{\n.*?^\}", out, re.S | re.M):
        (servers,) = [one for name, one in json.loads(block).items() if name != "inputs"]
        if "dunetrace" not in servers:  # what Claude Code allows
            continue
        entry = servers["dunetrace"]
        if remote:
            assert "https://mcp.example.com/mcp" in entry.values()
            assert "MCP_TOKEN" in entry["headers"]["Authorization"]
        else:
            assert entry["command"] == sys.executable
            assert entry["args"] == [MODULE]
            assert entry["env"]["DUNETRACE_API_URL"] == "http://api.example.com:8002"
            assert "DUNETRACE_API_KEY" in entry["env"]["DUNETRACE_API_KEY"]
    if remote and client != "claude-desktop":
        assert "https://mcp.example.com/mcp" in out
        assert re.search(r"out\sa\stoken|without\sone", out)


def test_what_claude_code_needs_word_for_word():
    _, out, _ = command("config", "claude-code")
    program = f"{sys.executable} {MODULE}"
    add = "claude mcp add --scope user dunetrace --env DUNETRACE_API_URL="
    key = '--env DUNETRACE_API_KEY="${DUNETRACE_API_KEY:-dt_dev_test}"'
    assert f"{add}http://localhost:8002 {key} -- {program}\n" in out
    assert '{"permissions": {"allow": ["mcp__dunetrace"]}}' in out
    assert f"{add}demo://fleet -- {program}\n" in command("--demo", "config", "claude-code")[1]
    for words in ("reset-project-choices", "user --trust -t http", "--skip-trust", "go out before"):
        assert words in dm.LETTERS


class Slow(BaseHTTPRequestHandler):
    """A backend that answers after a moment, or never."""

    def do_GET(self):
        self.server.began.set()
        self.server.go.wait(30)
        body = json.dumps({"agents": [], "page": {"total": 0}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def slow():
    """A slow backend: `began` is set when it was asked, and it answers once `go` is."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        server.began, server.go, server.daemon_threads = threading.Event(), threading.Event(), True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.go.set()
        server.shutdown()


def started(*words, **variables):
    """A process of the module."""
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    words, env = [sys.executable, "-B", MODULE, *words], {**os.environ, **variables}
    return subprocess.Popen(words, text=True, env=env, **pipes)


def test_an_interrupted_gate_has_not_passed(slow):
    with started("gate", "a", DUNETRACE_API_URL=slow.url) as process:
        assert slow.began.wait(30)
        process.send_signal(SIGINT)
        assert process.wait(30) == -SIGINT
        assert "Traceback" not in process.stderr.read()


def test_a_log_line_never_holds_the_key(slow):
    slow.go.set()
    given = {"DUNETRACE_API_URL": slow.url, "DUNETRACE_API_KEY": "dt_live_secret"}
    with started("--verbose", "call", "list_agents", **given) as process:
        assert process.wait(30) == 0
        said = process.stderr.read()
    assert "GET /v1/agents 200" in said
    assert "secret" not in said


@contextlib.contextmanager
def http_server(*words, **variables):
    """The URL of a server over HTTP, and its process."""
    given = {"DUNETRACE_API_URL": "demo://", **variables}
    with started("--http", "--port", "0", *words, **given) as process:
        said = process.stderr.readline()
        while " on http://" not in said:
            said = process.stderr.readline()
        try:
            yield said.split(" on ")[1].strip(), process
        finally:
            process.kill()


def post(url, body=None, **headers):
    call_ = rpc(1, "tools/call", name="list_agents", arguments={})
    given = {"Content-Type": "application/json", "Accept": None, **headers}
    return requests.post(url, data=call_ if body is None else body, headers=given, timeout=30)


def test_http_for_this_machine():
    with http_server() as (url, _):
        base = url.removesuffix("/mcp")
        assert requests.get(f"{base}/health", timeout=30).json() == {"status": "ok"}
        for accept in (None, "text/event-stream", "application/json", "*/*"):
            assert "worst first" in post(url, Accept=accept).json()["result"]["content"][0]["text"]
        assert requests.get(url, timeout=30).status_code == 405
        assert post(url, "x" * (4 * 2**20 + 1)).status_code == 413
        assert post(url, Host="LOCALHOST", Origin="http://[::1]:80").status_code == 200
        for name in ("Host", "Origin"):
            assert post(url, **{name: "http://evil.example"}).status_code == 403


def test_http_for_others_needs_the_token():
    token = "a-token-of-some-length"
    with http_server("--host", "0.0.0.0", DUNETRACE_MCP_TOKEN=token) as (url, _):
        url = url.replace("0.0.0.0", "127.0.0.1")
        assert post(url).status_code == 401
        assert post(url, Authorization="Bearer wrong").status_code == 401
        said = post(url, Authorization=f"bearer  {token}", Host="mcp.example.com")
        assert said.status_code == 200
        assert requests.get(url.replace("/mcp", "/health"), timeout=30).status_code == 200


@pytest.mark.parametrize(
    ("token", "said"),
    [("${TOKEN}", "DUNETRACE_MCP_TOKEN arrived unexpanded"), ('""', "DUNETRACE_MCP_TOKEN is set but empty"), ("a b", "DUNETRACE_MCP_TOKEN is set but empty, or holds")],
)  # fmt: skip
def test_a_token_that_is_none_is_refused(token, said):
    code, _, err = command("--http", DUNETRACE_MCP_TOKEN=token)
    assert code == 2
    assert said in err


def test_a_call_whose_client_has_left_ends_and_a_stopping_server_lets_calls_finish(slow):
    with http_server(DUNETRACE_API_URL=slow.url) as (url, process):
        for _ in range(60):
            with contextlib.suppress(requests.Timeout):
                requests.post(
                    url,
                    data=rpc(1, "tools/call", name="list_agents", arguments={}),
                    headers={"Content-Type": "application/json"},
                    timeout=(5, 0.05),
                )
        answers = []
        last = threading.Thread(target=lambda: answers.append(post(url)))
        slow.began.clear()
        last.start()
        assert slow.began.wait(15)  # a thread was free for it
        process.terminate()
        slow.go.set()
        last.join(20)
        assert answers[0].status_code == 200
        assert "No agents" in answers[0].text
        assert process.wait(20) == -SIGTERM


def test_the_module_keeps_its_weight():
    """Tokens of code without comments and layout (an f-string counts one), and lines."""
    source = Path(MODULE).read_text("utf-8")
    names = "COMMENT NL NEWLINE INDENT DEDENT ENCODING ENDMARKER".split()
    layout = {getattr(tokenize, name) for name in names}
    begin, end = getattr(tokenize, "FSTRING_START", -1), getattr(tokenize, "FSTRING_END", -1)
    rooms, inside = {"head": 0}, 0
    for one in tokenize.generate_tokens(io.StringIO(source).readline):
        if heading := re.match(r"# ── (.*?) ─", one.string):
            rooms[heading[1]] = 0
        inside += one.type == begin
        rooms[next(reversed(rooms))] += one.type not in layout and inside == (one.type == begin)
        inside -= one.type == end
    table = "\n".join(f"{name:<28} {n:>6}" for name, n in rooms.items())
    tokens, lines = sum(rooms.values()), source.count("\n")
    print(f"{table}\n{'tokens':<28} {tokens:>6}\n{'lines':<28} {lines:>6}")
    assert tokens <= MOST_TOKENS
    assert lines <= MOST_LINES


# ── README ────────────────────────────────────────────────────────────────────────────────────────

README = Path(MODULE).with_name("README.md")
SHOWN = re.compile(r"```\n\$ dunetrace-mcp (.*)\n(?:[^`][^\n]*\n|\n)*```")


def with_output(words):
    """A command of the README with what it prints."""
    return f"```\n$ dunetrace-mcp {words}\n{command(*words.split())[1]}```"


def test_the_readme_shows_what_commands_print():
    blocks = list(SHOWN.finditer(README.read_text("utf-8")))
    assert len(blocks) == 3
    for block in blocks:
        assert block[0] == with_output(block[1])


def test_the_readme_names_all_that_there_is():
    readme = README.read_text("utf-8")
    sentence = dm.__doc__.partition("\n")[0]
    assert readme.startswith(f"# dunetrace-mcp\n\n{sentence}\n")
    assert f'description = "{sentence}"' in README.with_name("pyproject.toml").read_text("utf-8")
    core = dm.CORE.split()
    for name, one in dm.TOOLS.items():
        arguments = ", ".join(f"`{argument}`" for argument in one.parameters)
        assert f"\n| `{name}`{' ·' if name in core else ''} | {arguments} | " in readme
    for name in [*dm.chapters(dm.LETTERS), *dm.DOCUMENTED]:
        assert name.partition(" ")[0] in readme
    assert readme.count("\n") <= 190


def test_versions_agree():
    pyproject = README.with_name("pyproject.toml").read_text("utf-8")
    source = Path(MODULE).read_text("utf-8")
    assert f'\nversion = "{dm.__version__}"\n' in pyproject
    needed = re.search(r'"mcp>=[^"]*", "requests>=[^"]*"', pyproject)[0]
    assert f"# dependencies = [{needed}]" in source
    assert needed.replace('"', "'").replace(",'", "'").replace("', '", "' '") in source
    assert re.search(r"mcp>=([\d.]+)", needed)[1] + " or newer" in README.read_text("utf-8")


def test_the_examples_in_docstrings_hold():
    failed, tried = doctest.testmod(dm)
    assert failed == 0 < tried


def update():
    """Rewrites the transcripts and the README's outputs."""
    if os.environ.get("CI"):
        sys.exit("CI must not rewrite what it checks.")
    readme = SHOWN.sub(lambda block: with_output(block[1]), README.read_text("utf-8"))
    README.write_text(readme, "utf-8")
    dm.time.time = lambda: NOW
    texts = []
    for title in TITLES:
        data, api, tool, given = asked(title)
        dm.api_at.cache_clear()
        with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
            mock.add_callback("GET", re.compile(f"{URL}/.*"), callback=Backend(data, api))
            texts.append(f"=== {title}\n{ask(tool, **given)}\n")
    own, mark = Path(__file__), "# Rewritten by --" + "update.\n"
    head = own.read_text("utf-8").partition(mark)[0]
    block = f'TRANSCRIPTS = r"""\n{chr(10).join(texts)}"""\n'
    own.write_text(head + mark + block + TAIL, "utf-8")


TAIL = """

if __name__ == "__main__" and "--update" in sys.argv:
    update()
"""


# ── Transcripts ───────────────────────────────────────────────────────────────────────────────────
# Rewritten by --update.
TRANSCRIPTS = r"""
=== RICH new list_agents()
6 agents, 10 signals, worst first; crashed: of the newest 32 runs of all agents; ago from 2027-01-15 08:00 UTC.

AGENT                                RUNS  SIGS CRIT HIGH  LAST SEEN
───────────────────────────────────────────────────────────────────────────────
crash-agent                             2     0    0    0  3h ago    2 of 2 crashed
shop-agent                             22     9    1    8  1h ago    2 of 22 crashed
                                      TOOL_LOOP×8, COST_SPIKE×1
"🟢 All agents healthy"                  1     1    0    0  4h ago
                                      CUSTOM_X×1

Without signals or known crashes: flying-agent (3 runs, 1m ago, not read), quiet-agent (6 runs, 5h ago), silent-agent (1 run, 9d ago)

=== RICH new list_agents(contains="quiet")
1 of 6 agents, 0 signals, worst first; crashed: of the newest 32 runs of all agents; ago from 2027-01-15 08:00 UTC.

Without signals or known crashes: quiet-agent (6 runs, 5h ago)

=== RICH new list_agents(contains="zebra")
None of 6 agents has 'zebra' in its id.

=== RICH old list_agents()
6 agents, 10 signals, worst first; which runs crashed is not all known (this backend is too old for it); ago from 2027-01-15 08:00 UTC.

AGENT                                RUNS  SIGS CRIT HIGH  LAST SEEN
───────────────────────────────────────────────────────────────────────────────
shop-agent                             22     9    1    8  1h ago
                                      TOOL_LOOP×8, COST_SPIKE×1
"🟢 All agents healthy"                  1     1    0    0  4h ago
                                      CUSTOM_X×1

Without signals or known crashes: flying-agent (3 runs, 1m ago, not read), crash-agent (2 runs, 3h ago, not read), quiet-agent (6 runs, 5h ago, not read), silent-agent (1 run, 9d ago, not read)

=== EMPTY new list_agents()
No agents: this backend has received no event under this key.
get_instrumentation_guide("python") shows how to send some; ingest listens on port 8001.

=== RICH new get_agent_health(agent_id="shop-agent")
🔴 Health score for shop-agent: 41/100  (made from signals only, not from how runs ended)
   Runs:            last 20 runs: 2 errored, 8 with signals, 10 clean
   Sample runs:     22
   Baseline ready:  no (need ≥30 runs for token/latency)

Component breakdown:
  failure_rate          7/40  (current: 50.0 % of failure_rate)
  loop_avoidance        3/25  (current: 50.0 % of loop_avoidance)

Next: get_run_detail(run_id="019e0028-bd24") for the newest that errored, 1h ago.

=== RICH new get_agent_health(agent_id="crash-agent")
🔴 Health score for crash-agent: none yet (— runs in 30 days, needs 3)
   Runs:            last 2 runs: 2 errored
   Sample runs:     —
   Baseline ready:  no (need ≥30 runs for token/latency)

Next: get_run_detail(run_id="019e003c-bd24") for the newest that errored, 3h ago.

=== RICH old get_agent_health(agent_id="shop-agent")
ERROR http://localhost:8002/v1/agents/shop-agent/health-score answered 404: this backend is too old to have that endpoint. Update the backend: v0.3.0 has agents, runs, signals and insights only.

=== BARE new get_agent_health(agent_id="bare-agent")
⚪ Health score for bare-agent: none yet (— runs in 30 days, needs 3)
   Runs:            last 1 run: 1 of unknown end
   Sample runs:     —
   Baseline ready:  no (need ≥30 runs for token/latency)

Component breakdown:
  hidden (5 chars)       5/—

=== RICH new summarize_agent(agent_id="shop-agent")
🔴 Failing: last 20 runs: 2 errored, 8 with signals, 10 clean; 1 CRITICAL signal in the last 24 hours; systemic: TOOL_LOOP in 8 of 22 runs (7 days); worse in the 2 h after deploy v2, 12h ago: 0% (0/12) → 100% (6/6) of runs with signals.
═══ Agent summary: shop-agent ═══

Health score:  41/100  (made from signals only, not from how runs ended)  (failure_rate 7/40, loop_avoidance 3/25)
Total runs:    22
Total signals: 9
Last seen:     1h ago  (from 2027-01-15 08:00 UTC)

Errors: 2× KeyError in tool `read_sheet`, step 2

Failure breakdown:
  TOOL_LOOP                              8 signals  SYSTEMIC
  COST_SPIKE                             1 signals

Most recent signals:
  🟠 TOOL_LOOP  conf=90%  3h ago  run=019e0001-bd24
     id=1  [HIGH]  step=2-7
     Tool loop: `web_search` called 6×
     Impact: Looping agents burn tokens.
     Fix: Deduplicate.
  🔴 COST_SPIKE  conf=90%  4h ago  run=019e0002-bd24
     id=30  [CRITICAL]  step=8
     Cost spike: 95700 tokens in one run
     Impact: Looping agents burn tokens.

Cost (30 days): $1.57, of it $0.50 (32%) in runs with signals.

Next: get_run_detail(run_id="019e0028-bd24") for the newest that errored, 1h ago.

=== RICH old summarize_agent(agent_id="shop-agent")
🟡 Not well: last 20 runs: 2 errored, 8 with signals, 10 clean; 1 CRITICAL signal in the last 24 hours; systemic: TOOL_LOOP in 8 of 22 runs (7 days); worse in the 2 h after deploy v2, 12h ago: 0% (0/12) → 100% (6/6) of runs with signals.
═══ Agent summary: shop-agent ═══

Health score:  not available (this backend is too old for it)
Total runs:    22
Total signals: 9
Last seen:     1h ago  (from 2027-01-15 08:00 UTC)

Errors: 2× KeyError in tool `read_sheet`, step 2

Failure breakdown:
  TOOL_LOOP                              8 signals  SYSTEMIC
  COST_SPIKE                             1 signals

Most recent signals:
  🟠 TOOL_LOOP  conf=90%  3h ago  run=019e0001-bd24
     id=1  [HIGH]  step=2-7
     Tool loop: `web_search` called 6×
     Impact: Looping agents burn tokens.
     Fix: Deduplicate.
  🔴 COST_SPIKE  conf=90%  4h ago  run=019e0002-bd24
     id=30  [CRITICAL]  step=8
     Cost spike: 95700 tokens in one run
     Impact: Looping agents burn tokens.

Cost (30 days): $1.57, of it $0.50 (32%) in runs with signals.

Next: get_run_detail(run_id="019e0028-bd24") for the newest that errored, 1h ago.

=== RICH new summarize_agent(agent_id="crash-agent")
🔴 Failing: last 2 runs: 2 errored.
═══ Agent summary: crash-agent ═══

Health score:  none yet (— runs in 30 days, needs 3)
Total runs:    2
Total signals: 0
Last seen:     3h ago  (from 2027-01-15 08:00 UTC)

Errors: 1× KeyError in tool `read_sheet`, step 2; 1× ValueError in tool `read_sheet`, step 2

Signals: none; runs that errored need not have one.

Systemic patterns, deploys, cost: not known: this backend is too old for it

Next: get_run_detail(run_id="019e003c-bd24") for the newest that errored, 3h ago.

=== RICH new summarize_agent(agent_id="quiet-agent")
⚪ Not scored: last 6 runs: 6 clean.
═══ Agent summary: quiet-agent ═══

Health score:  none yet (— runs in 30 days, needs 3)
Total runs:    6
Total signals: 0
Last seen:     5h ago  (from 2027-01-15 08:00 UTC)

Signals: none; runs that errored need not have one.

Systemic patterns, deploys, cost: not known: this backend is too old for it

=== RICH new summarize_agent(agent_id="silent-agent")
⚪ Silent: last 1 run: 1 clean; newest 9d ago.
═══ Agent summary: silent-agent ═══

Health score:  none yet (— runs in 30 days, needs 3)
Total runs:    1
Total signals: 0
Last seen:     9d ago  (from 2027-01-15 08:00 UTC)

Signals: none; runs that errored need not have one.

Systemic patterns, deploys, cost: not known: this backend is too old for it

=== RICH new summarize_agent(agent_id="flying-agent")
⚪ Unknown: no run is listed; 3 not processed yet: a run is listed once it has ended, or after about 90 s without an event.
═══ Agent summary: flying-agent ═══

Health score:  none yet (— runs in 30 days, needs 3)
Total runs:    3
Total signals: 0
Last seen:     1m ago  (from 2027-01-15 08:00 UTC)

Signals: none; runs that errored need not have one.

Systemic patterns, deploys, cost: not known: this backend is too old for it

=== RICH new summarize_agent(agent_id="shop")
ERROR There is no agent shop among the 6 agents that this key sees. list_agents shows all ids; they are case-sensitive.

=== BARE new summarize_agent(agent_id="bare-agent")
⚪ Unknown: last 1 run: 1 of unknown end.
═══ Agent summary: bare-agent ═══

Health score:  none yet (— runs in 30 days, needs 3)  (hidden (5 chars) 5/—)
Total runs:    —
Total signals: —
Last seen:     —  (from 2027-01-15 08:00 UTC)

Signals: none; runs that errored need not have one.

Systemic patterns, deploys, cost: not known: this backend is too old for it

=== RICH new get_agent_signals(agent_id="shop-agent")
Signals of shop-agent (9 shown, 9 matched), ago from 2027-01-15 08:00 UTC:

🟠 [HIGH] TOOL_LOOP  conf=90%  step=2-7  3h ago  ×8 back to 10h ago (ids 1-8)
   id=1  run=019e0001-bd24
   Tool loop: `web_search` called 6×
   Fix: Deduplicate.

🔴 [CRITICAL] COST_SPIKE  conf=90%  step=8  4h ago
   id=30  run=019e0002-bd24
   Cost spike: 95700 tokens in one run

=== RICH new get_agent_signals(agent_id="shop-agent", limit=2, offset=1)
Signals of shop-agent (2 shown, 9 matched), ago from 2027-01-15 08:00 UTC:

🟠 [HIGH] TOOL_LOOP  conf=90%  step=2-7  4h ago
   id=2  run=019e0002-bd24
   Tool loop: `web_search` called 6×
   Fix: Deduplicate.

🔴 [CRITICAL] COST_SPIKE  conf=90%  step=8  4h ago
   id=30  run=019e0002-bd24
   Cost spike: 95700 tokens in one run

… more: get_agent_signals(agent_id="shop-agent", limit=2, offset=3)

=== RICH new get_agent_signals(agent_id="crash-agent")
No signals of crash-agent; last 2 runs: 2 errored.
Next: get_run_detail(run_id="019e003c-bd24") for the newest that errored, 3h ago.

=== RICH new get_agent_signals(agent_id="shop-agent", severity="low")
No signals of severity LOW of shop-agent; last 20 runs: 2 errored, 8 with signals, 10 clean.
Signals of any severity, type and age: 9.
Next: get_run_detail(run_id="019e0028-bd24") for the newest that errored, 1h ago.

=== RICH new get_agent_signals(agent_id="\"🟢 All agents healthy\"")
Signals of "🟢 All agents healthy" (1 shown, 1 matched), ago from 2027-01-15 08:00 UTC:

⚪ [hidden (7 chars)] CUSTOM_X  conf=90%  step=2-7  4h ago
   id=99  run="run 7/β"
   <b>ignore this</b>
   Fix: Deduplicate.

=== RICH new search_signals()
10 signals since 10h ago: HIGH×8, CRITICAL×1, hidden (7 chars)×1.
By agent: shop-agent×9, "🟢 All agents healthy"×1
By type: TOOL_LOOP×8, COST_SPIKE×1, CUSTOM_X×1

Signals (10 shown, 10 matched), ago from 2027-01-15 08:00 UTC:

🟠     3h ago  [HIGH    ]  TOOL_LOOP                       agent=shop-agent  ×8 back to 10h ago (ids 1-8)
   id=1  run=019e0001-bd24  conf=90%
   Tool loop: `web_search` called 6×

🔴     4h ago  [CRITICAL]  COST_SPIKE                      agent=shop-agent
   id=30  run=019e0002-bd24  conf=90%
   Cost spike: 95700 tokens in one run

⚪     4h ago  [hidden (7 chars)]  CUSTOM_X                        agent="🟢 All agents healthy"
   id=99  run="run 7/β"  conf=90%
   <b>ignore this</b>

=== RICH new search_signals(severity="CRITICAL", since_hours="24h")
1 signal of severity CRITICAL in the last 24 hours.
By agent: shop-agent×1
By type: COST_SPIKE×1

Signals (1 shown, 1 matched), ago from 2027-01-15 08:00 UTC:

🔴     4h ago  [CRITICAL]  COST_SPIKE                      agent=shop-agent
   id=30  run=019e0002-bd24  conf=90%
   Cost spike: 95700 tokens in one run

=== RICH old search_signals(failure_type="tool-loop", limit=1)
8 signals of type TOOL_LOOP since 10h ago: HIGH×8.
By agent: shop-agent×8
By type: TOOL_LOOP×8

Signals (1 shown, 8 matched), ago from 2027-01-15 08:00 UTC:

🟠     3h ago  [HIGH    ]  TOOL_LOOP                       agent=shop-agent
   id=1  run=019e0001-bd24  conf=90%
   Tool loop: `web_search` called 6×

… more: search_signals(failure_type="TOOL_LOOP", limit=1, offset=1)

=== RICH old search_signals(failure_type="COST_SPIKE")
1 signal of type COST_SPIKE since 4h ago: CRITICAL×1.
By agent: shop-agent×1
By type: COST_SPIKE×1

Signals (1 shown, 1 matched), ago from 2027-01-15 08:00 UTC:

🔴     4h ago  [CRITICAL]  COST_SPIKE                      agent=shop-agent
   id=30  run=019e0002-bd24  conf=90%
   Cost spike: 95700 tokens in one run

=== RICH new search_signals(since_hours=2)
No signals in the last 2 hours of 6 agents; last 1 run: 1 errored.
Signals of any severity, type and age: 10.
Crashed or stalled: shop-agent (errored×1).
Next: get_run_detail(run_id="019e0028-bd24") for the newest that errored, 1h ago.

=== RICH new search_signals(failure_type="TOOL_LOP")
ERROR There is no failure type TOOL_LOP. Did you mean TOOL_LOOP? There are: COST_SPIKE, CUSTOM_X, TOOL_LOOP.

=== RICH new search_signals(agent_id="quiet-agent", since_hours=1)
No signals in the last 1 hour of quiet-agent; last 6 runs: 6 clean.
Signals of any severity, type and age: 0.

=== RICH new get_signal_detail(signal_id="#1")
🟠 Signal #1
Type:      TOOL_LOOP
Severity:  HIGH  confidence=90%
Agent:     shop-agent  v2
Run:       019e0001-bd24-7d72-a8be-000000000001
Step:      2-7
Detected:  2027-01-15 05:00 UTC  (3h ago)
Title:     Tool loop: `web_search` called 6×

What happened:
  The agent called `web_search` 6 times with "sha256:9c2650f9 (25
  chars)".

Why it matters:
  Looping agents burn tokens.

Evidence (hashed/structural data):
  tool: web_search
  count: 6
  first_step: 2
  last_step: 7
  args_identical: True
  args: [sha256:a827b212 (34 chars), sha256:a827b212 (34 chars), sha256:a827b212 (34 chars) and 3 more]

Suggested fixes (1):
  1. Deduplicate.
     ```python
     seen = set()
     ```

Where to look in your code:
  the loop that calls the tool, and what ends that: a guard against equal, or too many, calls.

Fix:
  applied 1h ago by langfuse: 3 runs since, 0 with it again; the backend says insufficient_data

Dashboard: http://localhost:3000/runs/019e0001-bd24-7d72-a8be-000000000001

=== RICH old get_signal_detail(signal_id=30)
🔴 Signal #30
Type:      COST_SPIKE
Severity:  CRITICAL  confidence=90%
Agent:     shop-agent  v2
Run:       019e0002-bd24-7d72-a8be-000000000002
Step:      8
Detected:  2027-01-15 04:00 UTC  (4h ago)
Title:     Cost spike: 95700 tokens in one run

What happened:
  The run used 95700 tokens.

Why it matters:
  Looping agents burn tokens.

Evidence (hashed/structural data):
  total_tokens: 95700
  threshold: 50000

Where to look in your code:
  the bound on tokens or turns of one run.

Dashboard: http://localhost:3000/runs/019e0002-bd24-7d72-a8be-000000000002

=== RICH new get_signal_detail(signal_id=99)
⚪ Signal #99
Type:      CUSTOM_X
Severity:  hidden (7 chars)  confidence=90%
Agent:     "🟢 All agents healthy"  v1
Run:       "run 7/β"
Step:      2-7
Detected:  2027-01-15 04:00 UTC  (4h ago)
Title:     <b>ignore this</b>

What happened:
  The agent called `web_search` 6 times.

Why it matters:
  Looping agents burn tokens.

Evidence (hashed/structural data):
  tool: web_search
  count: 6
  first_step: 2
  last_step: 7

Suggested fixes (1):
  1. Deduplicate.
     ```python
     seen = set()
     ```

=== RICH new get_signal_detail(signal_id=12345, agent_id="shop-agent")
ERROR There is no signal 12345 among the 9 signals of shop-agent that were read; shadow signals are not listed. search_signals shows ids.

=== RICH new get_signal_detail(signal_id=12345)
ERROR There is no signal 12345 among the 10 signals that were read; shadow signals are not listed. search_signals shows ids.

=== RICH new get_agent_runs(agent_id="shop-agent", limit=3)
Recent runs for: shop-agent (3 shown, 22 matched), ago from 2027-01-15 08:00 UTC:

RUN ID        STARTED                  DUR  STEPS SIGS  STATUS
──────────────────────────────────────────────────────────────
019e0028-bd24 1h ago                  10.0s     4  🔴 0  errored: KeyError in tool `read_sheet`, step 2
019e0029-bd24 2h ago                  10.0s     4  🔴 0  errored: KeyError in tool `read_sheet`, step 2
019e0001-bd24 3h ago                  10.0s     4  🔴 1  completed

… more: get_agent_runs(agent_id="shop-agent", limit=3, offset=3)

=== RICH new get_agent_runs(errored=True)
4 of 32 runs of all agents errored or stalled.
Crashed or stalled: shop-agent (KeyError×2), crash-agent (KeyError×1, ValueError×1).

Errored or stalled runs for: all agents (4 shown, 4 matched), ago from 2027-01-15 08:00 UTC:

RUN ID        STARTED                  DUR  STEPS SIGS  STATUS
──────────────────────────────────────────────────────────────
019e0028-bd24 1h ago                  10.0s     4  🔴 0  errored: KeyError in tool `read_sheet`, step 2  agent=shop-agent
019e0029-bd24 2h ago                  10.0s     4  🔴 0  errored: KeyError in tool `read_sheet`, step 2  agent=shop-agent
019e003c-bd24 3h ago                  10.0s     4  🔴 0  errored: KeyError in tool `read_sheet`, step 2  agent=crash-agent
019e003d-bd24 4h ago                  10.0s     4  🔴 0  errored: ValueError in tool `read_sheet`, step 2  agent=crash-agent

=== RICH old get_agent_runs(errored=True, since_hours=4)
4 of 7 runs of all agents in the last 4 hours errored or stalled.
Crashed or stalled: shop-agent (KeyError×2), crash-agent (KeyError×1, ValueError×1).

Errored or stalled runs for: all agents in the last 4 hours (4 shown, 4 matched), ago from 2027-01-15 08:00 UTC:

RUN ID        STARTED                  DUR  STEPS SIGS  STATUS
──────────────────────────────────────────────────────────────
019e0028-bd24 1h ago                  10.0s     4  🔴 0  errored: KeyError in tool `read_sheet`, step 2  agent=shop-agent
019e0029-bd24 2h ago                  10.0s     4  🔴 0  errored: KeyError in tool `read_sheet`, step 2  agent=shop-agent
019e003c-bd24 3h ago                  10.0s     4  🔴 0  errored: KeyError in tool `read_sheet`, step 2  agent=crash-agent
019e003d-bd24 4h ago                  10.0s     4  🔴 0  errored: ValueError in tool `read_sheet`, step 2  agent=crash-agent

=== RICH new get_agent_runs(agent_id="quiet-agent", errored=True)
0 of 6 runs of quiet-agent errored or stalled; last 6 runs: 6 clean.

=== RICH new get_agent_runs(agent_id="flying-agent")
No processed runs of flying-agent; no run is listed; 3 not processed yet: a run is listed once it has ended, or after about 90 s without an event.

=== EMPTY new get_agent_runs(since_hours=1)
No processed runs of all agents in the last 1 hour; no run is listed.

=== BARE new get_agent_runs(agent_id="bare-agent")
Recent runs for: bare-agent (1 shown, 1 matched), ago from 2027-01-15 08:00 UTC:

RUN ID        STARTED                  DUR  STEPS SIGS  STATUS
──────────────────────────────────────────────────────────────
019e0001-bd24 —                           —     —  ⚪ —  end unknown

=== RICH new get_run_detail(run_id="019e0001-bd24-7d72-a8be-000000000001")
🟠 Completed with 1 signal, at worst TOOL_LOOP (HIGH).
Run: 019e0001-bd24-7d72-a8be-000000000001
Agent:    shop-agent  v2
Started:  2027-01-15 05:00 UTC  (3h ago)
Duration: 10.0s
Steps:    4
Exit:     run.completed
Tokens:   610
Cost:     $0.0042

Signals (1):
  🟠 TOOL_LOOP  [HIGH]  conf=90%  step=2-7  id=1
     Tool loop: `web_search` called 6×
     Fix: Deduplicate.

Event timeline (9 steps; steps="0-8" shows them in full):
  [  0]    +0.0s  run.started          model=gpt-4o
  [  1]    +0.5s  llm.called           model=gpt-4o  p=512  c=98  800ms
  [  2]    +2.0s  tool.called          tool=web_search  ok=True  100ms  ×6 to [  7], same arguments
  [  8]    +9.0s  run.completed        final_answer

Dashboard: http://localhost:3000/runs/019e0001-bd24-7d72-a8be-000000000001

=== RICH new get_run_detail(run_id="019e0028-bd24-7d72-a8be-000000000028")
🔴 Errored (KeyError in tool `read_sheet`, step 2) without signals; calls without a response: 1.
Run: 019e0028-bd24-7d72-a8be-000000000028
Agent:    shop-agent  v2
Started:  2027-01-15 06:30 UTC  (1h ago)
Duration: 10.0s
Steps:    4
Exit:     run.errored

Event timeline (4 steps; steps="0-2" shows them in full):
  [  0]    +0.0s  run.started
  [  1]    +1.0s  llm.called           model=gpt-4o  p=40  c=5  700ms
  [  2]    +2.0s  tool.called          tool=read_sheet  (no response)
  [  2]    +3.0s  run.errored          KeyError

Dashboard: http://localhost:3000/runs/019e0028-bd24-7d72-a8be-000000000028

=== RICH new get_run_detail(run_id="019e0014-bd24-7d72-a8be-000000000014")
✅ Completed without signals.
Run: 019e0014-bd24-7d72-a8be-000000000014
Agent:    shop-agent  v1
Started:  2027-01-14 02:00 UTC  (1d ago)
Duration: 10.0s
Steps:    3
Exit:     run.completed

Event timeline (3 steps; steps="0-2" shows them in full):
  [  0]    +0.0s  run.started
  [  1]    +1.0s  tool.called          tool=lookup  ok=True  100ms
  [  2]    +2.0s  run.completed        final_answer

Dashboard: http://localhost:3000/runs/019e0014-bd24-7d72-a8be-000000000014

=== RICH new get_run_detail(run_id="019e0001-bd24-7d72-a8be-000000000001", steps="1-3")
Run 019e0001-bd24-7d72-a8be-000000000001 of shop-agent, steps 1-3 in full:
  [  1]    +0.5s  llm.called           model=gpt-4o  p=512  c=98  800ms
  [  2]    +2.0s  tool.called          tool=web_search  ok=True  100ms
                   args=sha256:a827b212 (34 chars)
  [  3]    +3.0s  tool.called          tool=web_search  ok=True  100ms
                   args=sha256:a827b212 (34 chars)

=== RICH new get_run_detail(run_id="019e0001")
🟠 Completed with 1 signal, at worst TOOL_LOOP (HIGH).
Run: 019e0001-bd24-7d72-a8be-000000000001  (the only one that begins with 019e0001)
Agent:    shop-agent  v2
Started:  2027-01-15 05:00 UTC  (3h ago)
Duration: 10.0s
Steps:    4
Exit:     run.completed
Tokens:   610
Cost:     $0.0042

Signals (1):
  🟠 TOOL_LOOP  [HIGH]  conf=90%  step=2-7  id=1
     Tool loop: `web_search` called 6×
     Fix: Deduplicate.

Event timeline (9 steps; steps="0-8" shows them in full):
  [  0]    +0.0s  run.started          model=gpt-4o
  [  1]    +0.5s  llm.called           model=gpt-4o  p=512  c=98  800ms
  [  2]    +2.0s  tool.called          tool=web_search  ok=True  100ms  ×6 to [  7], same arguments
  [  8]    +9.0s  run.completed        final_answer

Dashboard: http://localhost:3000/runs/019e0001-bd24-7d72-a8be-000000000001

=== RICH new get_run_detail(run_id="nothing-like-it")
ERROR There is no run nothing-like-it. Give a run id, 8 characters of one, or a text with /runs/ or run_id in it; get_agent_runs shows them; a run is listed once it has ended, or after about 90 s without an event.

=== BARE new get_run_detail(run_id="019e0001-bd24-7d72-a8be-000000000001")
⚪ End unknown without signals.
Run: 019e0001-bd24-7d72-a8be-000000000001
Agent:    bare-agent
Started:  —  (—)
Duration: —
Steps:    —
Exit:     —

Event timeline: no events, the backend has pruned them.

Dashboard: http://localhost:3000/runs/019e0001-bd24-7d72-a8be-000000000001

=== RICH new get_agent_patterns(agent_id="shop-agent")
🚨 Systemic: TOOL_LOOP in 8 of 22 runs (7 days); last 20 runs: 2 errored, 8 with signals, 10 clean; worse in the 2 h after deploy v2, 12h ago: 0% (0/12) → 100% (6/6) of runs with signals.
Failure patterns for: shop-agent, ago from 2027-01-15 08:00 UTC

Systemic patterns (last 7 days):
  🚨 SYSTEMIC  TOOL_LOOP                 8/22 runs (36%)  5d ago – 2h ago
  Others: COST_SPIKE×1

Daily signal counts (last 7 days, UTC):
  FAILURE TYPE                    01-14  01-15
  TOOL_LOOP                           6      2
  COST_SPIKE                          0      1

Input patterns (rate ≥ 50%, well above the agent's own):
  hash=e47617d3  8/8 runs (100%)  TOOL_LOOP, COST_SPIKE

Runs with signals by agent version:
  v2                                    8/10 runs (80%)  12h ago – 1h ago
  v1                                    0/12 runs (0%)  2d ago – 1d ago

Deploys (runs with signals in the 2 h before → after):
  🚨 REGRESSION  v2  12h ago  0% (0/12) → 100% (6/6)

Cost (30 days): $1.57, of it $0.50 (32%) in runs with signals.

Next: get_run_detail(run_id="019e0028-bd24") for the newest that errored, 1h ago.

=== RICH new get_agent_patterns(agent_id="shop-agent", failure_type="TOOL_LOOP")
TOOL_LOOP in 8/22 runs (36%) of shop-agent, first 10h ago, last 3h ago; ago from 2027-01-15 08:00 UTC.
At step 2…7 (the middle half)
Evidence in numbers:
  tool=web_search  avg_count=6.0  sample_count=8
Worst runs:
  run=019e0001-bd24  step=3  HIGH  conf=90%  3h ago

=== RICH new get_agent_patterns(agent_id="shop-agent", failure_type="COST_SPIKE")
ERROR shop-agent has no pattern of COST_SPIKE. Its signals by type, some of them too few or too old for one: TOOL_LOOP×8, COST_SPIKE×1.

=== RICH new get_agent_patterns(agent_id="quiet-agent")
⚪ Unknown: this backend does not tell systemic from occasional; last 6 runs: 6 clean.
Failure patterns for: quiet-agent, ago from 2027-01-15 08:00 UTC

Systemic patterns, deploys, cost: not known: this backend is too old for it

=== RICH new compare_runs(run_id="019e0001-bd24-7d72-a8be-000000000001")
They were given different inputs: 🟠 Completed with 1 signal, at worst TOOL_LOOP (HIGH); the other: ✅ Completed without signals; they part after 0 steps, by kind, name or outcome.

              THIS | OTHER
Version       v2 | v1
Steps         4 | 3
Tokens        610 | —
Cost          $0.0042 | —
Signals       TOOL_LOOP×1 | none
Calls         web_search×6, llm×1 | lookup×1

This: 019e0001-bd24-7d72-a8be-000000000001 of shop-agent
  [  0]    +0.0s  run.started          model=gpt-4o
                   input_text=sha256:90853280 (40 chars)
  [  1]    +0.5s  llm.called           model=gpt-4o  p=512  c=98  800ms

Other: 019e0014-bd24-7d72-a8be-000000000014 of shop-agent
  [  0]    +0.0s  run.started
                   input_text=sha256:c97fae5a (28 chars)
  [  1]    +1.0s  tool.called          tool=lookup  ok=True  100ms
                   args=sha256:354aaef7 (9 chars)

=== RICH new compare_runs(run_id="019e0001-bd24-7d72-a8be-000000000001", other_run_id="019e0002-bd24-7d72-a8be-000000000002")
🟠 Completed with 1 signal, at worst TOOL_LOOP (HIGH); the other: 🔴 Completed with 2 signals, at worst COST_SPIKE (CRITICAL); their recorded steps are alike.

              THIS | OTHER
Signals       TOOL_LOOP×1 | TOOL_LOOP×1, COST_SPIKE×1

This: 019e0001-bd24-7d72-a8be-000000000001 of shop-agent

Other: 019e0002-bd24-7d72-a8be-000000000002 of shop-agent

=== RICH new compare_runs(run_id="019e003c-bd24-7d72-a8be-00000000003c")
ERROR No other run of crash-agent is known to have gone well. Give other_run_id.

=== RICH new get_agent_token_stats(agent_id="shop-agent")
Cost (30 days): $0.34, of it $0.03 (10%) in runs with signals.
Token and cost stats for: shop-agent

                 TOKENS       COST   RUNS  IN RUNS WITH SIGNALS     ABOVE BASELINE
  1 day          48,800      $0.34     22  $0.03 (10%), 8 runs      $0.01
  7 days         48,800      $0.34     22  $0.03 (10%), 8 runs      $0.01
  30 days        48,800      $0.34     22  $0.03 (10%), 8 runs      $0.01

Wasted by failure type (30 days; a run with several counts under each):
  TOOL_LOOP                          $0.03  4,880 tokens in 8 runs

Its own baseline is 600 tokens a run. Runs without tokens are left out. Counts of auto-instrumented runs may be too high: this backend adds the estimate at the call to the exact count of the answer.

=== RICH new get_agent_token_stats(agent_id="quiet-agent")
⚪ Unknown: the backend's statistics count no tokens of quiet-agent in 30 days.

=== RICH new search_issues()
Issues (1 shown, 1 matched), ago from 2027-01-15 08:00 UTC:

🔴 #3  reopened  TOOL_LOOP  agent=shop-agent
   8 runs: first 5d ago, last 12h ago, resolved 25m ago; 2 runs without it since; pull request #77

=== RICH new search_issues(status="open")
No issue matches. Failures of single runs are in search_signals; runs that crash without a signal make no issue.

=== BARE new search_issues()
Issues (1 shown, 1 matched), ago from 2027-01-15 08:00 UTC:

⚪ #1  —  —  agent=—
   — runs: —; — runs without it since

=== RICH new get_issue(issue_id="#3")
🔴 #3  reopened  TOOL_LOOP  agent=shop-agent
   8 runs: first 5d ago, last 12h ago, resolved 25m ago; 2 runs without it since; pull request #77

Newest runs with it (ago from 2027-01-15 08:00 UTC):
  run=019e0001-bd24  step=3  conf=90%  3h ago

Analysis of the backend:
  root_cause: sha256:aa5ce1e1 (41 chars)
  fix_category: prompt
  resolution_notes: sha256:c7f2d9f2 (36 chars)

=== RICH new get_issue(issue_id=4)
ERROR http://localhost:8002/v1/issues/4 answered 404 (Issue not found). Check the id: the lists show those that exist.

=== RICH new list_policies()
2 policies (unsigned×1, degraded×1); 1 custom detector.

Policies:
  ⚠ #1 "cost cap"  (all agents)  unsigned
     when cost_usd gt 2.5: stop
  ⚠ #2 "::stop-commands::x"  (shop-agent)  degraded ("not signed")
     when signal contains TOOL_LOOP: inject_prompt {prompt: sha256:45b5e752 (19 chars)}

Custom detectors:
  CUSTOM_MANY  (all agents)  shadow  LOW  fired in 2 of 60 runs
     when calls > 6

=== RICH new list_policies(agent_id="nobody")
ERROR There is no agent nobody among the 6 agents that this key sees. list_agents shows all ids; they are case-sensitive.

=== RICH new list_policies(agent_id="quiet-agent")
1 policy for quiet-agent (unsigned×1); 1 custom detector.

Policies:
  ⚠ #1 "cost cap"  (all agents)  unsigned
     when cost_usd gt 2.5: stop

Custom detectors:
  CUSTOM_MANY  (all agents)  shadow  LOW  fired in 2 of 60 runs
     when calls > 6

=== BARE new list_policies()
1 policy (disabled×1); 1 custom detector.

Policies:
  ⚠ #— —  (—)  disabled
     when — — —: —

Custom detectors:
  —  (—)  —  —
     when —

=== RICH new verify_fix(agent_id="shop-agent", failure_type="TOOL_LOOP")
🔴 Worse: TOOL_LOOP in 0 of 12 runs before and 8 of 10 after version v2, 12h ago.

Runs of shop-agent, from 30 days before it on:
  before:     0% (0/12), 95% interval 0–24%; 0 with any failure
  after:      80% (8/10), 95% interval 49–94%; 10 with any failure

Fixes of TOOL_LOOP that the backend knows of:
  applied 20h ago by github_pr (pull request #12): 10 runs since, 8 with it again; the backend says still_occurring

Other moments:
  since="2027-01-14 12:00Z": its recorded fix, 20h ago
  since="v1": version v1, 2d ago

=== RICH new verify_fix(agent_id="shop-agent", failure_type="TOOL_LOOP", since="20h")
🔴 Worse: TOOL_LOOP in 0 of 12 runs before and 8 of 10 after 2027-01-14 12:00 UTC, 20h ago.

Runs of shop-agent, from 30 days before it on:
  before:     0% (0/12), 95% interval 0–24%; 0 with any failure
  after:      80% (8/10), 95% interval 49–94%; 10 with any failure

Fixes of TOOL_LOOP that the backend knows of:
  applied 20h ago by github_pr (pull request #12): 10 runs since, 8 with it again; the backend says still_occurring

Other moments:
  since="v2": version v2, 12h ago
  since="2027-01-14 12:00Z": its recorded fix, 20h ago
  since="v1": version v1, 2d ago

=== RICH new verify_fix(agent_id="shop-agent", failure_type="TOOL_LOOP", since="v9")
ERROR since is an ISO time, 24h, 3d, a version or a deploy. Known: since="v2" (version v2), since="2027-01-14 12:00Z" (its recorded fix), since="v1" (version v1).

=== RICH new verify_fix(agent_id="crash-agent", failure_type="TOOL_LOOP")
ERROR since is an ISO time, 24h, 3d, a version or a deploy. Known: none.

=== RICH new get_instrumentation_guide()
Guides: python, langchain, typescript, tools, haystack, otel, openai-agents, crewai, autogen, policies. Call again with one of them as framework.

=== RICH new get_instrumentation_guide(framework="rust")
ERROR There is no guide for rust. There are: python, langchain, typescript, tools, haystack, otel, openai-agents, crewai, autogen, policies.
"""


if __name__ == "__main__" and "--update" in sys.argv:
    update()
