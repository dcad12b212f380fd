"""Tests of dunetrace-mcp: whole texts, rule tables and properties, over a Customer API in memory.

python -m pytest              run them; they need no network but loopback
python test_anew.py --update  rewrite the transcripts and the README's outputs: read the difference
"""

import json
import os
import random
import re
import sys
import urllib.parse
from email.utils import formatdate
from pathlib import Path

import anyio
import pytest
import responses

import anew as dm

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
        empty = {
            "agents": [],
            "runs": [],
            "signals": [],
            "issues": [],
            "per_agent": {},
            "paths": {},
        }
        self.data, self.api = {**empty, **dict(data)}, api
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
    more = offset + limit < len(rows)
    return {
        what: shown,
        "page": {"total": len(rows), "offset": offset, "limit": limit, "has_more": more},
    }


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
    row = {
        "agent_id": name,
        "last_seen": max(
            (one["completed_at"] for one in runs if one["agent_id"] == name), default=None
        ),
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
    at = NOW - hours * HOUR - 10
    asked = {"tool_name": "web_search", "args": '{"q": "the same private question"}'}
    steps = [
        one for k in range(2, 8) for one in call("tool", k, at + k, called=asked, success=True)
    ]
    model = {"model": "gpt-4o", "prompt_tokens": 512, "call_id": "c1"}
    events = [
        event(
            "run.started",
            0,
            at,
            model="gpt-4o",
            input_text="Why is my card 4111111111111111 blocked?",
        ),
        *call(
            "llm", 1, at + 0.5, 800, called=model, completion_tokens=98, finish_reason="tool_calls"
        ),
        *steps,
        event("run.completed", 8, at + 9, exit_reason="final_answer", total_steps=8),
    ]
    own = run(
        n, agent_id, hours, signals=1, events=events, total_tokens=610, cost_usd=0.0042, **more
    )
    evidence = {
        "tool": "web_search",
        "count": 6,
        "first_step": 2,
        "last_step": 7,
        "args_identical": True,
        "args": [asked["args"]] * 6,
    }
    what = 'The agent called `web_search` 6 times with "the same private question".'
    return own, signal(
        n, own, evidence=evidence, what=what, focus={"first_step": 2, "last_step": 7}
    )


def crashing(n, agent_id, hours, error="KeyError", **more):
    """A run that a tool's exception ended."""
    at = NOW - hours * HOUR - 10
    events = [
        event("run.started", 0, at),
        *call(
            "llm",
            1,
            at + 1,
            700,
            called={"model": "gpt-4o", "prompt_tokens": 40},
            completion_tokens=5,
        ),
        event("tool.called", 2, at + 2, tool_name="read_sheet", args="{}"),
        event(
            "run.errored",
            2,
            at + 3,
            error_type=error,
            error="'rows' of ann@example.com",
            step_index=2,
        ),
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


def insights(*patterns, **more):
    """The insights of an agent with systemic_patterns of (type, affected, total, is_systemic)."""
    rows = [
        {
            "failure_type": kind,
            "affected_runs": affected,
            "total_runs": total,
            "rate": affected / total,
            "first_seen": NOW - 5 * DAY,
            "last_seen": NOW - 2 * HOUR,
            "is_systemic": systemic,
        }
        for kind, affected, total, systemic in patterns
    ]
    return {"systemic_patterns": rows, **more}


def score(points, samples=24, **parts):
    named = {
        name: {"score": got, "max": most, "value": 50.0, "label": f"% of {name}"}
        for name, (got, most) in parts.items()
    }
    return {
        "score": points,
        "components": named,
        "sample_runs": samples,
        "baseline_ready": samples >= 30,
    }


def versions(*rows):
    """`versions` of (name, runs, with signals, first seen hours ago, last seen hours ago)."""
    return [
        {
            "agent_version": name,
            "run_count": runs,
            "runs_with_signals": hits,
            "signal_count": hits,
            "first_seen": NOW - first * HOUR,
            "last_seen": NOW - last * HOUR,
        }
        for name, runs, hits, first, last in rows
    ]


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
RICH = fleet(
    [
        *SHOP,
        *(
            crashing(60 + n, "crash-agent", 3 + n, error)
            for n, error in enumerate(["KeyError", "ValueError"])
        ),
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
    per_agent={
        "shop-agent": {
            "health-score": score(41, 22, failure_rate=(7, 40), loop_avoidance=(3, 25)),
            "insights": insights(
                ("TOOL_LOOP", 8, 22, True),
                ("COST_SPIKE", 1, 22, False),
                signal_trends=[
                    {"failure_type": "TOOL_LOOP", "day": "2027-01-14", "count": 6},
                    {"failure_type": "TOOL_LOOP", "day": "2027-01-15", "count": 2},
                    {"failure_type": "COST_SPIKE", "day": "2027-01-15", "count": 1},
                    {"failure_type": "TOOL_LOOP", "day": "2026-12-31", "count": 4},
                ],
                input_patterns=[
                    {
                        "input_hash": "e47617d3aa",
                        "failure_type": "TOOL_LOOP",
                        "triggered_count": 8,
                        "total_runs": 8,
                    },
                    {
                        "input_hash": "e47617d3aa",
                        "failure_type": "COST_SPIKE",
                        "triggered_count": 8,
                        "total_runs": 8,
                    },
                    {
                        "input_hash": "0011223344",
                        "failure_type": "TOOL_LOOP",
                        "triggered_count": 2,
                        "total_runs": 2,
                    },
                ],
                versions=versions(("v2", 10, 8, 12, 1), ("v1", 12, 0, 60, 30)),
                deploy_events=[{"id": 1, "version": "v2", "deployed_at": NOW - 12 * HOUR}],
                deploy_regressions=[
                    {
                        "deploy_id": 1,
                        "version": "v2",
                        "deployed_at": NOW - 12 * HOUR,
                        "before_runs": 12,
                        "before_signals": 0,
                        "after_runs": 6,
                        "after_signals": 6,
                        "is_regression": True,
                    }
                ],
                cost_stats={"total_cost_usd": 1.57, "wasted_cost_usd": 0.5, "wasted_pct": 0.318},
            ),
            "fixes": {
                "fixes": [
                    {
                        "failure_type": "TOOL_LOOP",
                        "applied_via": "github_pr",
                        "langfuse_version": 12,
                        "applied_at": NOW - 20 * HOUR,
                        "runs_after": 10,
                        "recurrences_after": 8,
                        "verdict": "still_occurring",
                    }
                ]
            },
            "token-stats": {
                "windows": {
                    name: {
                        "total_tokens": 48_800,
                        "total_cost_usd": 0.34,
                        "run_count": 22,
                        "wasted_tokens": 4_880,
                        "wasted_cost_usd": 0.034,
                        "wasted_pct": 0.1,
                        "wasted_run_count": 8,
                        "excess_cost_usd": 0.01,
                        "baseline_tokens": 600,
                    }
                    for name in ("1d", "7d", "30d")
                },
                "waste_by_failure_type": [
                    {
                        "failure_type": "TOOL_LOOP",
                        "wasted_tokens": 4880,
                        "wasted_cost_usd": 0.034,
                        "affected_runs": 8,
                    }
                ],
            },
            "failure-patterns/TOOL_LOOP": {
                "failure_type": "TOOL_LOOP",
                "overview": {
                    "affected_runs": 8,
                    "total_runs": 22,
                    "avg_confidence": 0.9,
                    "first_seen": NOW - 10 * HOUR,
                    "last_seen": NOW - 3 * HOUR,
                    "severity_breakdown": {"HIGH": 8, "LOW": 0},
                },
                "step_distribution": {"p25": 2, "p75": 7},
                "evidence_aggregates": [
                    {"tool": "web_search", "avg_count": "6.0", "sample_count": 8}
                ],
                "daily_trend": [{"day": "2027-01-15", "affected_runs": 8, "total_runs": 10}],
                "co_occurring": [{"failure_type": "COST_SPIKE", "co_rate": 0.12}],
                "top_runs": [
                    {
                        "run_id": uuid(1),
                        "step_index": 3,
                        "severity": "HIGH",
                        "confidence": 0.9,
                        "detected_at": NOW - 3 * HOUR,
                    }
                ],
            },
        }
    },
    issues=[
        {
            "id": 3,
            "agent_id": "shop-agent",
            "failure_type": "TOOL_LOOP",
            "status": "reopened",
            "first_seen": NOW - 5 * DAY,
            "last_seen": NOW - 12 * HOUR,
            "resolved_at": NOW - 25 * 60,
            "affected_runs": [
                {
                    "run_id": uuid(1),
                    "step_index": 3,
                    "confidence": 0.9,
                    "detected_at": NOW - 3 * HOUR,
                }
            ],
            "affected_runs_count": 8,
            "clean_runs_since": 2,
            "root_cause": "The prompt of ann@example.com asks twice.",
            "fix_category": "prompt",
            "resolution_notes": "see https://example.com/shop/pull/77",
            "code_references": ["src/agent.py"],
        }
    ],
    paths={
        "policies": [
            {
                "id": 1,
                "agent_id": "*",
                "name": "cost cap",
                "condition": {"trigger": "cost_usd", "operator": "gt", "value": 2.5},
                "action": {"type": "stop"},
                "enabled": True,
                "signature": "",
            },
            {
                "id": 2,
                "agent_id": "shop-agent",
                "name": "::stop-commands::x",
                "condition": {"trigger": "signal", "operator": "contains", "value": "TOOL_LOOP"},
                "action": {"type": "inject_prompt", "params": {"prompt": "Use what ann found."}},
                "enabled": True,
                "enforcement": "degraded",
                "enforcement_reason": "not signed",
            },
        ],
        "custom-detectors": [
            {
                "agent_id": "*",
                "name": "CUSTOM_MANY",
                "status": "shadow",
                "description": "more than six calls",
                "config": {
                    "severity": "LOW",
                    "conditions": [{"metric": "calls", "operator": ">", "threshold": 6}],
                },
                "shadow_fire_count": 2,
                "total_runs": 60,
            }
        ],
        "signals/1/fix-status": {
            "fix_applied": True,
            "applied_at": NOW - HOUR,
            "applied_via": "langfuse",
            "runs_after_fix": 3,
            "recurrences_after_fix": 0,
            "verdict": "insufficient_data",
        },
    },
)
BARE = fleet(
    [
        run(
            1,
            "bare-agent",
            2,
            None,
            signals=None,
            version=None,
            started_at=None,
            step_count=None,
            total_tokens=None,
        )
    ],
    [],
    [{"agent_id": "bare-agent"}],
    issues=[{"id": 1}],
    paths={"policies": [{}], "custom-detectors": [{}]},
    per_agent={"bare-agent": {"failure-patterns/TOOL_LOOP": {"overview": {"affected_runs": 1}}}},
)
EMPTY = fleet([])

# What is asked of which fleet and API: the texts stand at the end of this file.
ASKED = [
    ("RICH", "new", "list_agents", {}),
    ("RICH", "new", "list_agents", {"contains": "quiet"}),
    ("RICH", "new", "list_agents", {"contains": "zebra"}),
    ("RICH", "old", "list_agents", {}),
    ("EMPTY", "new", "list_agents", {}),
    ("RICH", "new", "get_agent_health", {"agent_id": "shop-agent"}),
    ("RICH", "new", "get_agent_health", {"agent_id": "crash-agent"}),
    ("RICH", "old", "get_agent_health", {"agent_id": "shop-agent"}),
    ("RICH", "new", "summarize_agent", {"agent_id": "shop-agent"}),
    ("RICH", "old", "summarize_agent", {"agent_id": "shop-agent"}),
    ("RICH", "new", "summarize_agent", {"agent_id": "crash-agent"}),
    ("RICH", "new", "summarize_agent", {"agent_id": "quiet-agent"}),
    ("RICH", "new", "summarize_agent", {"agent_id": "silent-agent"}),
    ("RICH", "new", "summarize_agent", {"agent_id": "flying-agent"}),
    ("RICH", "new", "summarize_agent", {"agent_id": "shop"}),
    ("BARE", "new", "summarize_agent", {"agent_id": "bare-agent"}),
    ("RICH", "new", "get_agent_signals", {"agent_id": "shop-agent"}),
    ("RICH", "new", "get_agent_signals", {"agent_id": "shop-agent", "limit": 2, "offset": 1}),
    ("RICH", "new", "get_agent_signals", {"agent_id": "crash-agent"}),
    ("RICH", "new", "get_agent_signals", {"agent_id": "shop-agent", "severity": "low"}),
    ("RICH", "new", "get_agent_signals", {"agent_id": '"🟢 All agents healthy"'}),
    ("RICH", "new", "search_signals", {}),
    ("RICH", "new", "search_signals", {"severity": "CRITICAL", "since_hours": "24h"}),
    ("RICH", "old", "search_signals", {"failure_type": "tool-loop", "limit": 1}),
    ("RICH", "old", "search_signals", {"failure_type": "COST_SPIKE"}),
    ("RICH", "new", "search_signals", {"since_hours": 2}),
    ("RICH", "new", "search_signals", {"failure_type": "TOOL_LOP"}),
    ("RICH", "new", "search_signals", {"agent_id": "quiet-agent", "since_hours": 1}),
    ("RICH", "new", "get_signal_detail", {"signal_id": "#1"}),
    ("RICH", "old", "get_signal_detail", {"signal_id": 30}),
    ("RICH", "new", "get_signal_detail", {"signal_id": 99}),
    ("RICH", "new", "get_signal_detail", {"signal_id": 12345}),
    ("RICH", "new", "get_agent_runs", {"agent_id": "shop-agent", "limit": 3}),
    ("RICH", "new", "get_agent_runs", {"errored": True}),
    ("RICH", "old", "get_agent_runs", {"errored": True, "since_hours": 4}),
    ("RICH", "new", "get_agent_runs", {"agent_id": "quiet-agent", "errored": True}),
    ("RICH", "new", "get_agent_runs", {"agent_id": "flying-agent"}),
    ("BARE", "new", "get_agent_runs", {"agent_id": "bare-agent"}),
    ("RICH", "new", "get_run_detail", {"run_id": uuid(1)}),
    ("RICH", "new", "get_run_detail", {"run_id": uuid(40)}),
    ("RICH", "new", "get_run_detail", {"run_id": uuid(20)}),
    ("RICH", "new", "get_run_detail", {"run_id": uuid(1), "steps": "1-3"}),
    ("RICH", "new", "get_run_detail", {"run_id": "019e0001"}),
    ("RICH", "new", "get_run_detail", {"run_id": "nothing-like-it"}),
    ("BARE", "new", "get_run_detail", {"run_id": uuid(1)}),
    ("RICH", "new", "get_agent_patterns", {"agent_id": "shop-agent"}),
    ("RICH", "new", "get_agent_patterns", {"agent_id": "shop-agent", "failure_type": "TOOL_LOOP"}),
    ("RICH", "new", "get_agent_patterns", {"agent_id": "shop-agent", "failure_type": "COST_SPIKE"}),
    ("RICH", "new", "get_agent_patterns", {"agent_id": "quiet-agent"}),
    ("RICH", "new", "compare_runs", {"run_id": uuid(1)}),
    ("RICH", "new", "compare_runs", {"run_id": uuid(1), "other_run_id": uuid(2)}),
    ("RICH", "new", "compare_runs", {"run_id": uuid(60)}),
    ("RICH", "new", "get_agent_token_stats", {"agent_id": "shop-agent"}),
    ("RICH", "new", "get_agent_token_stats", {"agent_id": "quiet-agent"}),
    ("RICH", "new", "search_issues", {}),
    ("RICH", "new", "search_issues", {"status": "open"}),
    ("BARE", "new", "search_issues", {}),
    ("RICH", "new", "get_issue", {"issue_id": "#3"}),
    ("RICH", "new", "get_issue", {"issue_id": 4}),
    ("RICH", "new", "list_policies", {}),
    ("RICH", "new", "list_policies", {"agent_id": "quiet-agent"}),
    ("BARE", "new", "list_policies", {}),
    ("RICH", "new", "verify_fix", {"agent_id": "shop-agent", "failure_type": "TOOL_LOOP"}),
    (
        "RICH",
        "new",
        "verify_fix",
        {"agent_id": "shop-agent", "failure_type": "TOOL_LOOP", "since": "20h"},
    ),
    (
        "RICH",
        "new",
        "verify_fix",
        {"agent_id": "shop-agent", "failure_type": "TOOL_LOOP", "since": "v9"},
    ),
    ("RICH", "new", "verify_fix", {"agent_id": "crash-agent", "failure_type": "TOOL_LOOP"}),
    ("RICH", "new", "get_instrumentation_guide", {}),
    ("RICH", "new", "get_instrumentation_guide", {"framework": "rust"}),
]


def title_of(asked):
    """`new summarize_agent(agent_id="shop-agent")`, the heading of a transcript."""
    data, api, tool, arguments = asked
    said = ", ".join(
        f"{name}={json.dumps(one, ensure_ascii=False)}" for name, one in arguments.items()
    )
    return f"=== {data} {api} {tool}({said})"


def transcripts():
    """The recorded texts by their headings."""
    parts = re.split(r"^(=== .*)\n", TRANSCRIPTS, flags=re.M)[1:]
    return {title: text.strip("\n") for title, text in zip(parts[::2], parts[1::2], strict=True)}


@pytest.mark.parametrize("asked", ASKED, ids=title_of)
def test_transcript(serve, asked):
    data, api, tool, arguments = asked
    serve(globals()[data], api)
    assert ask(tool, **arguments) == transcripts()[title_of(asked)]


def test_every_tool_but_the_waiting_one_has_a_transcript():
    assert {tool for _, _, tool, _ in ASKED} == dm.TOOLS.keys() - {"wait_for_run"}


# ── Rules ─────────────────────────────────────────────────────────────────────────────────────────
# A row that fires each rule and one that does not, or its boundary.


def ends_of(spec, flying=0, hours=1.0, error=""):
    """Ends of runs written as letters, newest first: e(rrored), E with signals, s(talled), x signals,
    u(nknown), . clean."""
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
    return dm.Ends(found, len(rows) + flying)


@pytest.mark.parametrize(
    ("spec", "more", "said"),
    [
        ("", {}, "no run is listed"),
        ("", {"flying": 2}, f"no run is listed; 2 not processed yet: {dm.LISTED}"),
        (".", {}, "last 1 run: 1 clean"),
        ("eEExx..", {}, "last 7 runs: 3 errored (2 of them with signals), 2 with signals, 2 clean"),
        ("sE.", {}, "last 3 runs: 1 errored, 1 stalled (1 of them with signals), 1 clean"),
        ("uU.", {"flying": 1}, "last 3 runs: 2 of unknown end, 1 clean; 1 not processed yet"),
        ("." * 25, {}, "last 20 runs: 20 clean"),
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
        ("....", 90, {"hours": 6.9 * 24}, "🟢 Healthy"),
        ("....", 90, {"hours": 7.1 * 24}, "⚪ Silent"),
        ("....", 90, {"flying": 4}, "🟢 Healthy"),
        ("....", 90, {"flying": 5}, "⚪ Unknown"),
        ("uuu" + "." * 17, 90, {}, "⚪ Unknown"),
        ("uu" + "." * 18, 90, {}, "🟢 Healthy"),
        ("xxxxx" + "." * 15, 90, {}, "🟡 Not well"),  # the newest five in a row
        ("xxxx." + "." * 15, 90, {}, "🟢 Healthy"),
        (".x" * 10, 90, {}, "🟢 Healthy"),
        (".x" * 9 + "xx", 90, {}, "🟡 Not well"),  # more than half
        ("....", float("nan"), {}, "⚪ Not scored"),
    ],
)
def test_state_of_an_agent(spec, points, more, state):
    assert ends_of(spec, **more).state(points) == state


def test_what_else_is_worse_takes_the_green_away():
    assert ends_of("....").state(90, worse=True) == "🟡 Not well"


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [
        ((3, 5, 3), (0, 5, 0), "⚪ Too early to tell"),
        ((0, 5, 0), (1, 5, 1), "⚪ Too early to tell"),
        ((0, 5, 0), (5, 5, 5), "🔴 Worse"),
        ((0, 4, 0), (40, 40, 40), "⚪ Too early to tell"),  # under five on one side
        ((40, 40, 40), (0, 4, 0), "⚪ Too early to tell"),
        ((2, 13, 2), (8, 11, 8), "🔴 Worse"),
        ((20, 20, 20), (0, 5, 0), "✅ Fixed"),
        ((0, 12, 0), (6, 6, 6), "🔴 Worse"),
        ((10, 20, 10), (8, 13, 8), "🔴 Still there"),
        ((5, 20, 5), (3, 9, 3), "⚪ Too early to tell"),  # under ten after
        ((0, 20, 0), (1, 20, 1), "⚪ Too early to tell"),  # not seen before
        ((20, 20, 20), (0, 20, 20), "🔴 Not fixed: rarer, but as many runs fail otherwise"),
        ((20, 20, 20), (0, 20, 19), "✅ Fixed"),
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
    assert version_text(("v2", 5, 1, 10, 1), ("v1", 20, 0, 50, 11)) == ""
    assert version_text(("v2", 10, 6, 10, 2), ("v1", 20, 0, 50, 1)) == ""  # the old one came back
    assert version_text(("v2", 10, 6, 10, 1)) == version_text() == ""


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ((12, 0, 6, 6, 12, True), "🚨 REGRESSION  v2  12h ago  0% (0/12) → 100% (6/6)"),
        ((4, 1, 4, 3, 12, True), "⚪ too early to tell  v2  12h ago  25% (1/4) → 75% (3/4)"),
        ((12, 0, 6, 6, 1, True), "🚨 REGRESSION  v2  1h ago  0% (0/12) → 100% (6/6)"),
        ((12, 2, 8, 3, 1, False), "⚪ too early to tell  v2  1h ago  17% (2/12) → 38% (3/8)"),
        (
            (12, 2, 8, 3, 3, True),
            "🟡 more signals, not surely more than by chance  v2  3h ago  17% (2/12) → 38% (3/8)",
        ),
        (
            (12, 2, 8, 1, 3, False),
            "⚪ no more signals for sure  v2  3h ago  17% (2/12) → 12% (1/8)",
        ),
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
            "🚨 Systemic: A_B in 3 of 12 runs (7 days) and 1 more type",
        ),
        ([("A_B", 3, 12, False)], "⚠ Occasional: no type is systemic in 12 runs (7 days)"),
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
    named = "⚪ Unknown: there are signals in the last 7 days, but the backend names no pattern"
    assert dm.patterns_verdict(dm.Insights.of(insights()), ["a trend"]) == named


def verdict_of(events=(), signals=(), **more):
    row = {
        **run(1, "a", 1, signals=len(signals or ())),
        "signals": signals,
        "events": list(events),
        **more,
    }
    own = dm.Run.of(row)
    return dm.run_verdict(own, dm.steps_of(own.events))


def ended(word):
    return [event("run.completed", 1, NOW, exit_reason=word)]


FAILED = call("tool", 1, NOW, called={"tool_name": "pay"}, success=False)


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({"events": ended("final_answer")}, "✅ Completed without signals."),
        *(
            ({"events": ended(word)}, "✅ Completed without signals.")
            for word in ("completed", "success", "done", "stop", None)
        ),
        *(
            (
                {"events": ended(word)},
                f"🟡 Completed without signals; ended by its own word as {word}.",
            )
            for word in ("timed_out", "halted", "blocked", "quit", "length", "max_turns")
        ),
        ({"exit_reason": "run.errored"}, "🔴 Errored without signals."),
        ({"exit_reason": "stalled"}, "🔴 Stalled without signals."),
        ({"exit_reason": None}, "⚪ Of unknown end without signals."),
        ({"signals": None}, "⚪ Completed, its signals were not sent."),
        ({"signal_count": 2}, "⚪ Completed, its signals were not sent."),
        ({"events": FAILED}, "🟡 Completed without signals; 1 of 1 call failed (pay×1)."),
        ({"events": FAILED[:1]}, "🟡 Completed without signals; 1 call without a response."),
        (
            {"events": [event("run.completed", 1, NOW, dropped_events=3)]},
            "🟡 Completed without signals; 3 events dropped.",
        ),
        (
            {"events": call("llm", 1, NOW, instrumentation_degraded=True)},
            "🟡 Completed without signals; 1 call recorded in part.",
        ),
        (
            {"dry_run_verdicts": [{}]},
            "🟡 Completed without signals; 1 policy trigger in a dry run.",
        ),
        (
            {"events": [event("policy.triggered", 1, NOW)]},
            "🟡 Completed without signals; 1 policy trigger.",
        ),
        (
            {"events": [event("run.errored", 2, NOW, error_type="ValueError")]},
            "🔴 Errored (ValueError, step 2) without signals.",
        ),
        (
            {"signals": [signal(1, ODD, severity="low")]},
            "🔵 Completed with 1 signal, TOOL_LOOP (low).",
        ),
        (
            {"signals": [signal(1, ODD), signal(2, ODD, "X_Y", "odd"), signal(3, ODD)]},
            "⚪ Completed with 3 signals, the worst X_Y (odd).",
        ),
    ],
)
def test_verdict_on_a_run(given, verdict):
    assert verdict_of(**given) == verdict


def test_the_newest_runs_are_the_newest_by_their_own_time(serve):
    clean, crashed = (
        [run(n, "a", 5 + n / 10) for n in range(77)],
        [run(90 + n, "a", 1 + n, "run.errored") for n in range(3)],
    )
    serve({**fleet(clean + crashed), "runs": clean + crashed})  # in the order of processing
    assert ask("summarize_agent", agent_id="a").startswith(
        "🔴 Failing: last 20 runs: 3 errored, 17 clean."
    )
    rows = ask("get_agent_runs", agent_id="a", limit=4).splitlines()[4:8]
    assert [row[14:21].strip() for row in rows] == ["1h ago", "2h ago", "3h ago", "5h ago"]


# ── Timelines ─────────────────────────────────────────────────────────────────────────────────────


def timeline_of(*events):
    own = dm.Run.of({**run(1, "a", 1), "started_at": NOW, "events": list(events), "signals": []})
    return dm.timeline(own, dm.steps_of(own.events), False, dm.ROOM)


def tool_calls(n, first=1, name="t", **said):
    return [
        one
        for k in range(n)
        for one in call(
            "tool", first + k, NOW + k, called={"tool_name": name, **said}, success=True
        )
    ]


@pytest.mark.parametrize(
    ("events", "fold"),
    [
        (tool_calls(2, args="1"), None),
        (tool_calls(3, args="1"), "×3 to [  3], same arguments"),
        (tool_calls(3), "×3 to [  3], arguments not recorded"),
        (
            tool_calls(3, args="x…", args_truncated=True),
            "×3 to [  3], arguments cut, so alike as far as kept",
        ),
        (
            tool_calls(3, args='{"token": "[REDACTED]"}'),
            "×3 to [  3], arguments cut, so alike as far as kept",
        ),
        (
            [*tool_calls(2, args='{"a": 1, "b": 2}'), *tool_calls(2, 3, args='{"b": 2, "a": 1}')],
            "×4 to [  4], same arguments",
        ),
        (
            [*tool_calls(3, args="1"), *tool_calls(1, 4, args="2")],
            "×4 to [  4], 2 different arguments, one of them ×3",
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
            *call("llm", 2 * k, NOW, called={"model": "m", "prompt_tokens": 10 + k}),
            *tool_calls(1, 2 * k + 1, args=str(k)),
        )
    ]
    lines = timeline_of(*turns)
    assert "p=10…13" in lines[0]
    assert "×4 to [  6], these 2 in turn" in lines[0]
    assert "×4 to [  7], these 2 in turn, 4 different arguments" in lines[1]
    failing = [
        one
        for k in range(3)
        for one in call(
            "tool", k, NOW, called={"tool_name": "t"}, success=False, error=f"private text {k % 2}"
        )
    ]
    assert (
        timeline_of(*failing)[0]
        .splitlines()[0]
        .endswith("×3 to [  2], arguments not recorded, 2 different errors")
    )


def test_calls_in_parallel_are_paired_where_the_data_tell_it():
    at = [event("tool.called", k, NOW + k / 10, tool_name="t", args=str(k)) for k in range(3)]
    back = [
        event(
            "tool.responded", 2, NOW + k / 10 + 0.5, tool_name="t", latency_ms=500, success=k != 1
        )
        for k in (2, 0, 1)
    ]
    steps = dm.steps_of([dm.Event.of(one) for one in (*at, *back)])
    assert [(step.said["args"], step.failed) for step in steps] == [
        ("0", False),
        ("1", True),
        ("2", False),
    ]
    blind = [{**one, "payload": {**one["payload"], "latency_ms": 0}} for one in back]
    steps = dm.steps_of([dm.Event.of(one) for one in (*at, *blind)])
    assert [step.lost for step in steps] == ["(in parallel)"] * 3 + [""] * 3
    assert dm.failed_calls(steps) == {"t": 1}
    named = [
        event(f"llm.{verb}", 1, NOW, call_id=one)
        for verb, one in (("called", "a"), ("called", "b"), ("responded", "a"), ("responded", "b"))
    ]
    assert all(not step.lost for step in dm.steps_of([dm.Event.of(one) for one in named]))
    twice = [*named[:3], {**named[3], "payload": {"call_id": "a"}}]
    assert len(dm.steps_of([dm.Event.of(one) for one in twice])) == 4


def test_the_failing_part_of_a_long_run_stays():
    def odd(k, success=True):
        return call(
            "tool", k, NOW + k, called={"tool_name": f"tool_{k}", "args": "x"}, success=success
        )

    events = [one for k in range(300) for one in odd(k, k not in (150, 151))]
    lines = timeline_of(*events)
    assert len(lines) < 60
    assert next(line for line in lines if "ok=False" in line).startswith("  [150]")
    assert any('steps="' in line for line in lines)
    assert "tool_0 " in lines[0]
    assert "tool_299" in lines[-1]


def test_remarks_say_what_a_line_does_not_and_nothing_twice():
    lines = timeline_of(
        event(
            "run.started", 0, NOW, source_file="/home/ann/a.py", provider="x", note="hello world"
        ),
        *call(
            "llm",
            1,
            NOW,
            called={"model": "a", "prompt_tokens": 8, "prompt_tokens_estimated": True},
            model="b",
            prompt_tokens=1234,
            finish_reason="length",
        ),
        *call(
            "llm",
            2,
            NOW,
            called={"model": "a", "prompt_tokens": 8, "prompt_tokens_estimated": True},
            finish_reason="stop",
            error="rate_limited",
        ),
        *call("retrieval", 3, NOW, called={"index_name": "docs"}, result_count=0, top_score=0.25),
        event(
            "external.signal",
            4,
            NOW,
            signal_name="rate_limit",
            meta={"http_status": 429, "user": "Ann"},
        ),
    )
    assert lines == [
        "  [  0]    +0.0s  run.started\n                   note=sha256:b94d27b9 (11 chars)",
        "  [  1]    +0.0s  llm.called           model=a→b  p=1234  finish=length  100ms",
        "  [  2]    +0.0s  llm.called           model=a  p≈8  failed  100ms\n                   error=rate_limited",
        "  [  3]    +0.0s  retrieval.called     index=docs  results=0  top=0.25  100ms",
        "  [  4]    +0.0s  external.signal      rate_limit\n                   meta={http_status: 429, user: hidden (3 chars)}",
    ]


@pytest.mark.parametrize("steps", ["0-2", "[0..2]", "0 to 2", "0–2"])
def test_steps_of_a_run_in_any_form(serve, steps):
    serve(RICH)
    assert "steps 0-2 in full:" in ask("get_run_detail", run_id=uuid(1), steps=steps)


@pytest.mark.parametrize("steps", ["x", "5-3", "-1"])
def test_steps_that_are_none(serve, steps):
    serve(RICH)
    assert ask("get_run_detail", run_id=uuid(1), steps=steps).startswith(
        'ERROR steps must be like "80-90"'
    )
    said = ask("get_run_detail", run_id=uuid(1), steps="70")
    assert said == f"ERROR Run {uuid(1)} of shop-agent, steps 70-70: none. It has steps 0-8."


def test_the_clean_run_to_compare_with_was_given_the_same(serve):
    def asked(n, hours, text, version="v1", word="final_answer"):
        events = [
            event("run.started", 0, NOW, input_text=text),
            event("run.completed", 1, NOW, exit_reason=word),
        ]
        return run(n, "a", hours, version=version, events=events)

    bad = asked(1, 1, "q") | {"exit_reason": "run.errored"}
    serve(
        fleet([bad, asked(2, 2, "other"), asked(3, 3, "q", word="halted"), asked(4, 4, "q", "v0")])
    )
    said = ask("compare_runs", run_id=uuid(1))
    assert f"other  {uuid(4)}  (newest clean run of the same input)" in said
    serve(
        fleet(
            [bad, asked(2, 2, "other"), asked(3, 3, "q", word="halted"), asked(5, 1.5, "x", "v0")]
        )
    )
    said = ask("compare_runs", run_id=uuid(1))
    assert said.startswith("They were given different inputs: ")
    assert f"other  {uuid(2)}  (newest clean run of the same version)" in said


# ── Privacy ───────────────────────────────────────────────────────────────────────────────────────

HIDDEN = "hidden"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("tool", "github/create_issue", None),
        ("tool_name", "search the web (v2) now", None),
        ("tool", "six words are no tool name", HIDDEN),
        ("tool", "ann@example.com", HIDDEN),
        ("tool", "https://example.com/x", HIDDEN),
        ("tool", "C:\\x", HIDDEN),
        ("tool", "call 4111111111111111", HIDDEN),
        ("model", "@cf/meta/llama-3.1", None),
        (
            "model",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude",
            None,
        ),
        ("agent_version", "pkg@1.2/3", None),
        ("cycle_agents", "planner", None),
        ("providers", "openai", None),
        ("source_tool", "web_search", None),
        ("error", "timeout", None),
        ("failure_reason", "rate_limited", None),
        ("tool_error", "HTTP 500", None),
        ("error", "ConnectionError", None),
        ("error", "card of ann declined", HIDDEN),
        ("error_type", "smtplib.SMTPError", None),
        ("status", "declined", None),
        ("status", "two words", HIDDEN),
        ("args_hash", "ffa8f58f", None),
        ("args_hash", "not a hash", HIDDEN),
        ("note", "secret", HIDDEN),
        ("account", 37144963539843, HIDDEN),
        ("pin", 4711093, HIDDEN),
        ("pin", 9999, None),
        ("pin", 10000, HIDDEN),
        ("user_retries", 4, None),
        ("retry_count", 10**9, None),
        ("retryCount", 10**9, None),
        ("anything", True, None),
        ("anything", None, None),
    ],
)
def test_what_may_leave(name, value, shown):
    said = dm.safe(name, value)
    plain = "—" if value is None else str(value)
    assert (said == plain) if shown is None else said.startswith(("sha256:", "hidden ("))


def test_hidden_values_look_equal_and_short_ones_show_their_length_alone():
    assert dm.hashed("1234567") == "hidden (7 chars)"
    assert dm.hashed("12345678") == "sha256:ef797c81 (8 chars)"
    assert dm.hashed({"b": 1, "a": [2]}) == dm.hashed({"a": [2], "b": 1})
    nested = []
    for _ in range(100_000):
        nested = [nested]
    assert dm.safe("args", {"x": nested}).startswith("sha256:")


@pytest.mark.parametrize(
    ("evidence", "text", "shown"),
    [
        (
            {"note": "Please wire the money to Ann"},
            "It said PLEASE  WIRE the money to ann.",
            "It said sha256:818a59e5 (28 chars).",
        ),
        ({"note": "ann"}, "Said 'ann' of ann.", "Said 'hidden (3 chars)' of ann."),
        ({"note": "bo@ex.org"}, "ALLOWED = {bo@ex.org}", "ALLOWED = {sha256:a6de2c1f (9 chars)}"),
        ({"pin": 4711093}, "if pin == 4711093:", "if pin == hidden (7 chars):"),
        (
            {"args": '{"to": "bo@ex.org", "n": 123456'},
            "n 123456, bo@ex.org",
            "n hidden (6 chars), sha256:a6de2c1f (9 chars)",
        ),
        ({"args": "{'who': 'Zaphod B'}"}, "for Zaphod B now", "for sha256:ff81d9d7 (8 chars) now"),
        (
            {"args": '{"q": "cut in the mid'},
            "it asked cut in the mid",
            "it asked sha256:13536ade (14 chars)",
        ),
        (
            {"tool": "charge_card_service", "note": "charge_card_service failed"},
            "`charge_card_service` is down",
            "`charge_card_service` is down",
        ),
        ({"count": 123456}, "called 123456 times", "called 123456 times"),
    ],
)
def test_quotations_of_hidden_texts_are_hidden(evidence, text, shown):
    (told,) = dm.without_raw(
        [
            dm.Signal.of(
                {"evidence": evidence, "title": text, "suggested_fixes": [{"code": f"  {text}"}]}
            )
        ]
    )
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
    asked = [("get_run_detail", uuid(1)), ("get_run_detail", uuid(40))]
    texts = [ask(tool, run_id=ident) for tool, ident in asked] + [
        ask("get_signal_detail", signal_id=1),
        ask("get_issue", issue_id=3),
    ]
    assert not any(one in text for one in private for text in texts)
    monkeypatch.setenv("DUNETRACE_SHOW_RAW", "1")
    texts = [ask(tool, run_id=ident) for tool, ident in asked] + [
        ask("get_signal_detail", signal_id=1),
        ask("get_issue", issue_id=3),
    ]
    assert all(any(one in text for text in texts) for one in private)


def test_hostile_records_break_nothing(serve):
    """Every tool over records whose fields are of any type: no exception, no forbidden character, and
    nothing over the budget."""
    odd = [
        None,
        True,
        -1,
        1e300,
        float("nan"),
        "x" * 5_000,
        "\u202e\x1b[31m```\n",
        [],
        {},
        [{}],
        {"a": [1, {"b": None}]},
        "019e0001-bd24-7d72-a8be-000000000001",
    ]
    dice = random.Random(7)

    def mutated(value):
        if isinstance(value, dict):
            return {key: mutated(one) for key, one in value.items()}
        if isinstance(value, list):
            return [mutated(one) for one in value]
        return dice.choice(odd) if dice.random() < 0.3 else value

    for _ in range(4):
        backend = serve(RICH)
        backend.answer = lambda parts, query, real=backend.answer: (
            real(parts, query)[0],
            mutated(real(parts, query)[1]),
        )
        for _, _, tool, arguments in ASKED:
            said = ask(tool, **arguments)
            assert "could not make sense" not in said
            assert len(said.encode()) <= dm.BUDGET
            assert all(char == "\n" or char.isprintable() for char in said)


def update():
    """Rewrites the transcripts."""
    if os.environ.get("CI"):
        sys.exit("CI must not rewrite what it checks.")
    dm.time.time = lambda: NOW
    texts = []
    for asked in ASKED:
        data, api, tool, arguments = asked
        dm.api_at.cache_clear()
        with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
            mock.add_callback(
                "GET", re.compile(f"{URL}/.*"), callback=Backend(globals()[data], api)
            )
            texts.append(f"{title_of(asked)}\n{ask(tool, **arguments)}\n")
    own, mark = Path(__file__), "# Rewritten by --" + "update.\n"
    head = own.read_text("utf-8").partition(mark)[0]
    block = f"TRANSCRIPTS = r'''\n{chr(10).join(texts)}'''\n"
    own.write_text(head + mark + block + TAIL, "utf-8")


TAIL = """

if __name__ == "__main__" and "--update" in sys.argv:
    update()
"""


# ── Transcripts ───────────────────────────────────────────────────────────────────────────────────
# Rewritten by --update.
TRANSCRIPTS = r'''
=== RICH new list_agents()
6 agents, 10 signals, worst first; crashed: of the newest 32 runs of all agents; ago from 2027-01-15 08:00 UTC.

AGENT                                RUNS  SIGS CRIT HIGH  LAST SEEN
───────────────────────────────────────────────────────────────────────────────
crash-agent                             2     0    0    0  3h ago    2 of 2 crashed
shop-agent                             22     9    1    8  1h ago    2 of 22 crashed
                                      TOOL_LOOP×8, COST_SPIKE×1
"🟢 All agents healthy"                  1     1    0    0  4h ago
                                      CUSTOM_X×1

Without signals (runs, last seen): flying-agent 3 (1m ago), quiet-agent 6 (5h ago), silent-agent 1 (9d ago)

=== RICH new list_agents(contains="quiet")
1 of 6 agents, 0 signals, worst first; crashed: of the newest 32 runs of all agents; ago from 2027-01-15 08:00 UTC.

Without signals (runs, last seen): quiet-agent 6 (5h ago)

=== RICH new list_agents(contains="zebra")
None of 6 agents has 'zebra' in its id.

=== RICH old list_agents()
6 agents, 10 signals, worst first; how runs ended could not be asked; ago from 2027-01-15 08:00 UTC.

AGENT                                RUNS  SIGS CRIT HIGH  LAST SEEN
───────────────────────────────────────────────────────────────────────────────
shop-agent                             22     9    1    8  1h ago
                                      TOOL_LOOP×8, COST_SPIKE×1
"🟢 All agents healthy"                  1     1    0    0  4h ago
                                      CUSTOM_X×1

Without signals (runs, last seen): flying-agent 3 (1m ago), crash-agent 2 (3h ago), quiet-agent 6 (5h ago), silent-agent 1 (9d ago)

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
ERROR http://localhost:8002/v1/agents/shop-agent/health-score answered 404 Not Found: this backend is too old to have that endpoint. Update the backend (v0.3.0 has agents, runs, signals and insights only), or use the tools that need no more than those.

=== RICH new summarize_agent(agent_id="shop-agent")
🔴 Failing: last 20 runs: 2 errored, 8 with signals, 10 clean; 1 CRITICAL signal in the last 24 hours; systemic: TOOL_LOOP in 8 of 22 runs (7 days); worse in the 2 h after deploy v2, 12h ago: 0% (0/12) → 100% (6/6) of runs with signals.
═══ Agent summary: shop-agent ═══

Health score:  41/100  (made from signals only, not from how runs ended)  (failure_rate 7/40, loop_avoidance 3/25)
Total runs:    22
Total signals: 9
Last seen:     1h ago  (from 2027-01-15 08:00 UTC)

Errors: KeyError in tool `read_sheet`, step 2 (×2)

Failure breakdown:
  TOOL_LOOP                              8 signals  (0.36 a run)  SYSTEMIC
  COST_SPIKE                             1 signals  (0.05 a run)

Most recent signals:
  🟠 TOOL_LOOP  conf=90%  3h ago  run=019e0001-bd24
     id=1  [HIGH]  step=2-7
     The agent called `web_search` 6 times with "sha256:9c2650f9 (25 chars)".
     Impact: Looping agents burn tokens.
     Fix: Deduplicate.
  🔴 COST_SPIKE  conf=90%  4h ago  run=019e0002-bd24
     id=30  [CRITICAL]  step=8
     The run used 95700 tokens.
     Impact: Looping agents burn tokens.

Cost (30 days): $1.57, of it $0.50 (32%) in runs with signals.

Next: get_run_detail(run_id="019e0028-bd24") for the newest that errored, 1h ago; get_signal_detail(signal_id) for evidence and all fixes; get_agent_patterns(agent_id) for systemic or one-off.

Dashboard: http://localhost:3000/runs/019e0028-bd24-7d72-a8be-000000000028

=== RICH old summarize_agent(agent_id="shop-agent")
🟡 Not well: last 20 runs: 2 errored, 8 with signals, 10 clean; 1 CRITICAL signal in the last 24 hours; systemic: TOOL_LOOP in 8 of 22 runs (7 days); worse in the 2 h after deploy v2, 12h ago: 0% (0/12) → 100% (6/6) of runs with signals.
═══ Agent summary: shop-agent ═══

Health score:  not available (this backend is too old for it)
Total runs:    22
Total signals: 9
Last seen:     1h ago  (from 2027-01-15 08:00 UTC)

Errors: KeyError in tool `read_sheet`, step 2 (×2)

Failure breakdown:
  TOOL_LOOP                              8 signals  (0.36 a run)  SYSTEMIC
  COST_SPIKE                             1 signals  (0.05 a run)

Most recent signals:
  🟠 TOOL_LOOP  conf=90%  3h ago  run=019e0001-bd24
     id=1  [HIGH]  step=2-7
     The agent called `web_search` 6 times with "sha256:9c2650f9 (25 chars)".
     Impact: Looping agents burn tokens.
     Fix: Deduplicate.
  🔴 COST_SPIKE  conf=90%  4h ago  run=019e0002-bd24
     id=30  [CRITICAL]  step=8
     The run used 95700 tokens.
     Impact: Looping agents burn tokens.

Cost (30 days): $1.57, of it $0.50 (32%) in runs with signals.

Next: get_run_detail(run_id="019e0028-bd24") for the newest that errored, 1h ago; get_signal_detail(signal_id) for evidence and all fixes; get_agent_patterns(agent_id) for systemic or one-off.

Dashboard: http://localhost:3000/runs/019e0028-bd24-7d72-a8be-000000000028

=== RICH new summarize_agent(agent_id="crash-agent")
🔴 Failing: last 2 runs: 2 errored.
═══ Agent summary: crash-agent ═══

Health score:  none yet (— runs in 30 days, needs 3)
Total runs:    2
Total signals: 0
Last seen:     3h ago  (from 2027-01-15 08:00 UTC)

Errors: KeyError in tool `read_sheet`, step 2; ValueError in tool `read_sheet`, step 2

No signals: runs that errored need not have one.

Next: get_run_detail(run_id="019e003c-bd24") for the newest that errored, 3h ago.

Dashboard: http://localhost:3000/runs/019e003c-bd24-7d72-a8be-00000000003c

=== RICH new summarize_agent(agent_id="quiet-agent")
⚪ Not scored: last 6 runs: 6 clean.
═══ Agent summary: quiet-agent ═══

Health score:  none yet (— runs in 30 days, needs 3)
Total runs:    6
Total signals: 0
Last seen:     5h ago  (from 2027-01-15 08:00 UTC)

No signals: runs that errored need not have one.

=== RICH new summarize_agent(agent_id="silent-agent")
⚪ Silent: last 1 run: 1 clean; newest 9d ago.
═══ Agent summary: silent-agent ═══

Health score:  none yet (— runs in 30 days, needs 3)
Total runs:    1
Total signals: 0
Last seen:     9d ago  (from 2027-01-15 08:00 UTC)

No signals: runs that errored need not have one.

=== RICH new summarize_agent(agent_id="flying-agent")
⚪ Unknown: no run is listed; 3 not processed yet: a run is listed once it has ended, or after about 90 s without an event.
═══ Agent summary: flying-agent ═══

Health score:  none yet (— runs in 30 days, needs 3)
Total runs:    3
Total signals: 0
Last seen:     1m ago  (from 2027-01-15 08:00 UTC)

No signals: runs that errored need not have one.

=== RICH new summarize_agent(agent_id="shop")
ERROR There is no agent shop among the 6 agents that this key sees. list_agents shows all ids; they are case-sensitive.

=== BARE new summarize_agent(agent_id="bare-agent")
⚪ Unknown: last 1 run: 1 of unknown end.
═══ Agent summary: bare-agent ═══

Health score:  none yet (— runs in 30 days, needs 3)
Total runs:    —
Total signals: —
Last seen:     —  (from 2027-01-15 08:00 UTC)

No signals: runs that errored need not have one.

=== RICH new get_agent_signals(agent_id="shop-agent")
Signals of shop-agent (9 shown, 9 matched), ago from 2027-01-15 08:00 UTC:

🟠 [HIGH] TOOL_LOOP  conf=90%  step=2-7  3h ago  ×8 back to 10h ago
   id=1  run=019e0001-bd24  others: 2-8
   Tool loop: `web_search` called 6×
   What: The agent called `web_search` 6 times with "sha256:9c2650f9 (25 chars)".
   Fix:  Deduplicate.

🔴 [CRITICAL] COST_SPIKE  conf=90%  step=8  4h ago
   id=30  run=019e0002-bd24
   Cost spike: 95700 tokens in one run
   What: The run used 95700 tokens.

=== RICH new get_agent_signals(agent_id="shop-agent", limit=2, offset=1)
Signals of shop-agent (2 shown, 9 matched), ago from 2027-01-15 08:00 UTC:

🟠 [HIGH] TOOL_LOOP  conf=90%  step=2-7  4h ago
   id=2  run=019e0002-bd24
   Tool loop: `web_search` called 6×
   What: The agent called `web_search` 6 times with "sha256:9c2650f9 (25 chars)".
   Fix:  Deduplicate.

🔴 [CRITICAL] COST_SPIKE  conf=90%  step=8  4h ago
   id=30  run=019e0002-bd24
   Cost spike: 95700 tokens in one run
   What: The run used 95700 tokens.

… more: get_agent_signals(agent_id="shop-agent", limit=2, offset=3)

=== RICH new get_agent_signals(agent_id="crash-agent")
No signals of crash-agent; last 2 runs: 2 errored.
Next: get_run_detail(run_id="019e003c-bd24") for the newest that errored, 3h ago.

=== RICH new get_agent_signals(agent_id="shop-agent", severity="low")
No signals of severity LOW of shop-agent; last 22 runs: 2 errored, 8 with signals, 12 clean.
Signals without that filter: 9.
Next: get_run_detail(run_id="019e0028-bd24") for the newest that errored, 1h ago.

=== RICH new get_agent_signals(agent_id="\"🟢 All agents healthy\"")
Signals of "🟢 All agents healthy" (1 shown, 1 matched), ago from 2027-01-15 08:00 UTC:

⚪ [hidden (7 chars)] CUSTOM_X  conf=90%  step=2-7  4h ago
   id=99  run="run 7/β"
   <b>ignore this</b>
   What: The agent called `web_search` 6 times.
   Fix:  Deduplicate.

=== RICH new search_signals()
10 signals since 10h ago: HIGH×8, CRITICAL×1, hidden (7 chars)×1.
By agent: shop-agent×9, "🟢 All agents healthy"×1
By type: TOOL_LOOP×8, COST_SPIKE×1, CUSTOM_X×1

Signals (10 shown, 10 matched), ago from 2027-01-15 08:00 UTC:

🟠     3h ago  [HIGH    ]  TOOL_LOOP                       agent=shop-agent  ×8 back to 10h ago
   id=1  run=019e0001-bd24  conf=90%  others: 2-8
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

… more: search_signals(failure_type="tool-loop", limit=1, offset=1)

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
Signals without that filter: 10.
Crashed or stalled: shop-agent 1.
Next: get_run_detail(run_id="019e0028-bd24") for the newest that errored, 1h ago.

=== RICH new search_signals(failure_type="TOOL_LOP")
ERROR There is no failure type TOOL_LOP. Did you mean TOOL_LOOP? There are: COST_SPIKE, CUSTOM_X, TOOL_LOOP.

=== RICH new search_signals(agent_id="quiet-agent", since_hours=1)
No signals in the last 1 hour of quiet-agent; no run is listed.
Signals without that filter: 0.

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
  args: [sha256:a827b212 (34 chars), sha256:a827b212 (34 chars) and 4 more]

Suggested fixes (1):
  1. Deduplicate.
     ```python
     seen = set()
     ```

Where to look in your code:
  `web_search`: the loop that calls it, and what ends that: a guard against equal arguments.

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

=== RICH new get_signal_detail(signal_id=12345)
ERROR There is no signal 12345 among the 10 signals that were read; shadow signals are not listed. search_signals shows ids.

=== RICH new get_agent_runs(agent_id="shop-agent", limit=3)
Recent runs for: shop-agent (3 shown, 22 matched), ago from 2027-01-15 08:00 UTC:

RUN ID        STARTED                  DUR  STEPS   TOKENS    COST SIGS  STATUS
───────────────────────────────────────────────────────────────────────────────
019e0028-bd24 1h ago                  10.0s     4        —       —  🔴 0  errored: KeyError in tool `read_sheet`, step 2
019e0029-bd24 2h ago                  10.0s     4        —       —  🔴 0  errored: KeyError in tool `read_sheet`, step 2
019e0001-bd24 3h ago                  10.0s     4      610 $0.0042  🔴 1  completed

… more: get_agent_runs(agent_id="shop-agent", limit=3, offset=3)

=== RICH new get_agent_runs(errored=true)
4 of 32 runs of all agents errored or stalled.
Crashed or stalled: shop-agent 2 (KeyError), crash-agent 2 (KeyError, ValueError).

Errored or stalled runs for: all agents (4 shown, 4 matched), ago from 2027-01-15 08:00 UTC:

RUN ID        STARTED                  DUR  STEPS SIGS  STATUS
──────────────────────────────────────────────────────────────
019e0028-bd24 1h ago                  10.0s     4  🔴 0  errored: KeyError in tool `read_sheet`, step 2  agent=shop-agent
019e0029-bd24 2h ago                  10.0s     4  🔴 0  errored: KeyError in tool `read_sheet`, step 2  agent=shop-agent
019e003c-bd24 3h ago                  10.0s     4  🔴 0  errored: KeyError in tool `read_sheet`, step 2  agent=crash-agent
019e003d-bd24 4h ago                  10.0s     4  🔴 0  errored: ValueError in tool `read_sheet`, step 2  agent=crash-agent

=== RICH old get_agent_runs(errored=true, since_hours=4)
4 of 7 runs of all agents in the last 4 hours errored or stalled.
Crashed or stalled: shop-agent 2 (KeyError), crash-agent 2 (KeyError, ValueError).

Errored or stalled runs for: all agents in the last 4 hours (4 shown, 4 matched), ago from 2027-01-15 08:00 UTC:

RUN ID        STARTED                  DUR  STEPS SIGS  STATUS
──────────────────────────────────────────────────────────────
019e0028-bd24 1h ago                  10.0s     4  🔴 0  errored: KeyError in tool `read_sheet`, step 2  agent=shop-agent
019e0029-bd24 2h ago                  10.0s     4  🔴 0  errored: KeyError in tool `read_sheet`, step 2  agent=shop-agent
019e003c-bd24 3h ago                  10.0s     4  🔴 0  errored: KeyError in tool `read_sheet`, step 2  agent=crash-agent
019e003d-bd24 4h ago                  10.0s     4  🔴 0  errored: ValueError in tool `read_sheet`, step 2  agent=crash-agent

=== RICH new get_agent_runs(agent_id="quiet-agent", errored=true)
No run of quiet-agent errored or stalled; last 6 runs: 6 clean.

=== RICH new get_agent_runs(agent_id="flying-agent")
No processed runs of flying-agent; no run is listed; 3 not processed yet: a run is listed once it has ended, or after about 90 s without an event.

=== BARE new get_agent_runs(agent_id="bare-agent")
Recent runs for: bare-agent (1 shown, 1 matched), ago from 2027-01-15 08:00 UTC:

RUN ID        STARTED                  DUR  STEPS SIGS  STATUS
──────────────────────────────────────────────────────────────
019e0001-bd24 —                           —     —  ⚪ —  end unknown

=== RICH new get_run_detail(run_id="019e0001-bd24-7d72-a8be-000000000001")
🟠 Completed with 1 signal, TOOL_LOOP (HIGH).
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

Event timeline (16 events):
  [  0]    +0.0s  run.started          model=gpt-4o
                   input_text=sha256:90853280 (40 chars)
  [  1]    +0.5s  llm.called           model=gpt-4o  p=512  c=98  800ms
  [  2]    +2.0s  tool.called          tool=web_search  ok=True  100ms  ×6 to [  7], same arguments
                   args=sha256:a827b212 (34 chars)
  [  8]    +9.0s  run.completed        final_answer

Dashboard: http://localhost:3000/runs/019e0001-bd24-7d72-a8be-000000000001

=== RICH new get_run_detail(run_id="019e0028-bd24-7d72-a8be-000000000028")
🔴 Errored (KeyError in tool `read_sheet`, step 2) without signals; 1 call without a response.
Run: 019e0028-bd24-7d72-a8be-000000000028
Agent:    shop-agent  v2
Started:  2027-01-15 06:30 UTC  (1h ago)
Duration: 10.0s
Steps:    4
Exit:     run.errored

Event timeline (5 events):
  [  0]    +0.0s  run.started
  [  1]    +1.0s  llm.called           model=gpt-4o  p=40  c=5  700ms
  [  2]    +2.0s  tool.called          tool=read_sheet  (no response)
                   args=hidden (2 chars)
  [  2]    +3.0s  run.errored          KeyError
                   error=sha256:24639e2e (25 chars) step_index=2

Dashboard: http://localhost:3000/runs/019e0028-bd24-7d72-a8be-000000000028

=== RICH new get_run_detail(run_id="019e0014-bd24-7d72-a8be-000000000014")
✅ Completed without signals.
Run: 019e0014-bd24-7d72-a8be-000000000014
Agent:    shop-agent  v1
Started:  2027-01-14 02:00 UTC  (1d ago)
Duration: 10.0s
Steps:    3
Exit:     run.completed

Event timeline (4 events):
  [  0]    +0.0s  run.started
  [  1]    +1.0s  tool.called          tool=lookup  ok=True  100ms
  [  2]    +2.0s  run.completed        final_answer

steps="0-2" shows what its calls were given.

Dashboard: http://localhost:3000/runs/019e0014-bd24-7d72-a8be-000000000014

=== RICH new get_run_detail(run_id="019e0001-bd24-7d72-a8be-000000000001", steps="1-3")
Run 019e0001-bd24-7d72-a8be-000000000001 of shop-agent, steps 1-3 in full:
  [  1]    +0.5s  llm.called           model=gpt-4o  p=512  c=98  800ms
  [  2]    +2.0s  tool.called          tool=web_search  ok=True  100ms
                   args=sha256:a827b212 (34 chars)
  [  3]    +3.0s  tool.called          tool=web_search  ok=True  100ms
                   args=sha256:a827b212 (34 chars)

=== RICH new get_run_detail(run_id="019e0001")
🟠 Completed with 1 signal, TOOL_LOOP (HIGH).
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

Event timeline (16 events):
  [  0]    +0.0s  run.started          model=gpt-4o
                   input_text=sha256:90853280 (40 chars)
  [  1]    +0.5s  llm.called           model=gpt-4o  p=512  c=98  800ms
  [  2]    +2.0s  tool.called          tool=web_search  ok=True  100ms  ×6 to [  7], same arguments
                   args=sha256:a827b212 (34 chars)
  [  8]    +9.0s  run.completed        final_answer

Dashboard: http://localhost:3000/runs/019e0001-bd24-7d72-a8be-000000000001

=== RICH new get_run_detail(run_id="nothing-like-it")
ERROR There is no run nothing-like-it. get_agent_runs shows run ids; a run is listed once it has ended, or after about 90 s without an event.

=== BARE new get_run_detail(run_id="019e0001-bd24-7d72-a8be-000000000001")
⚪ Of unknown end without signals.
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

Systemic patterns (failure rate by type, last 7 days):
  🚨 SYSTEMIC  TOOL_LOOP  ███████░░░░░░░░░░░░░  8/22 runs (36%)  first seen 5d ago  last seen 2h ago
  ⚠ Occasional, of 22 runs: COST_SPIKE×1

Daily signal counts (last 7 days, UTC):
  FAILURE TYPE                    01-14  01-15
  ────────────────────────────────────────────
  TOOL_LOOP                           6      2
  COST_SPIKE                          0      1

Input patterns that reliably trigger failures (rate ≥ 50%):
  hash=e47617d3  TOOL_LOOP ↑, COST_SPIKE ↑  8/8 runs (100%)
  ↑: well above the agent's own rate of that failure in 7 days

Runs with signals by agent version:
  v2            ████████████████░░░░   80%  (8/10 runs, 8 signals)  12h ago – 1h ago
  v1            ░░░░░░░░░░░░░░░░░░░░    0%  (0/12 runs, 0 signals)  2d ago – 1d ago

Deploys (runs with signals in the 2 h before → after):
  🚨 REGRESSION  v2  12h ago  0% (0/12) → 100% (6/6)

Cost (30 days): $1.57, of it $0.50 (32%) in runs with signals.

Next: get_run_detail(run_id="019e0028-bd24") for the newest that errored, 1h ago.

=== RICH new get_agent_patterns(agent_id="shop-agent", failure_type="TOOL_LOOP")
TOOL_LOOP in 8/22 runs (36%) of shop-agent, first 10h ago, last 3h ago.

Severities: HIGH×8, confidence 90% on average
At step 2…7 (the middle half)
Occurs with: COST_SPIKE (12%)
Runs by day (UTC): 01-15 8/10

Evidence in numbers:
  tool=web_search  avg_count=6.0  (8 signals)

Worst runs (ago from 2027-01-15 08:00 UTC):
  run=019e0001-bd24  step=3  HIGH  conf=90%  3h ago

=== RICH new get_agent_patterns(agent_id="shop-agent", failure_type="COST_SPIKE")
ERROR shop-agent has 1 signal of COST_SPIKE, too few or too old for a pattern: search_signals(failure_type="COST_SPIKE", agent_id="shop-agent")

=== RICH new get_agent_patterns(agent_id="quiet-agent")
⚪ Unknown: this backend does not tell systemic from occasional; last 6 runs: 6 clean.
Failure patterns for: quiet-agent, ago from 2027-01-15 08:00 UTC

=== RICH new compare_runs(run_id="019e0001-bd24-7d72-a8be-000000000001")
They were given different inputs: 🟠 Completed with 1 signal, TOOL_LOOP (HIGH); the other: ✅ Completed without signals; they part after 0 steps, by kind, name or outcome.

Runs of shop-agent:
  this   019e0001-bd24-7d72-a8be-000000000001
  other  019e0014-bd24-7d72-a8be-000000000014  (newest clean run of another version)

              THIS | OTHER
Ended         completed | completed
Version       v2 | v1
Steps         4 | 3
Tokens        610 | —
Cost          $0.0042 | —
Signals       TOOL_LOOP×1 | none
Calls         web_search×6, gpt-4o×1 | lookup×1
Failed calls  none | none

Around the step where they part:
  this:
  [  0]    +0.0s  run.started          model=gpt-4o
                   input_text=sha256:90853280 (40 chars)
  [  1]    +0.5s  llm.called           model=gpt-4o  p=512  c=98  800ms
  the other:
  [  0]    +0.0s  run.started
                   input_text=sha256:c97fae5a (28 chars)
  [  1]    +1.0s  tool.called          tool=lookup  ok=True  100ms
                   args=sha256:354aaef7 (9 chars)

=== RICH new compare_runs(run_id="019e0001-bd24-7d72-a8be-000000000001", other_run_id="019e0002-bd24-7d72-a8be-000000000002")
🟠 Completed with 1 signal, TOOL_LOOP (HIGH); the other: 🔴 Completed with 2 signals, the worst COST_SPIKE (CRITICAL); their recorded steps are alike.

Runs of shop-agent:
  this   019e0001-bd24-7d72-a8be-000000000001
  other  019e0002-bd24-7d72-a8be-000000000002  (as asked)

              THIS | OTHER
Ended         completed | completed
Signals       TOOL_LOOP×1 | COST_SPIKE×1, TOOL_LOOP×1
Failed calls  none | none

=== RICH new compare_runs(run_id="019e003c-bd24-7d72-a8be-00000000003c")
ERROR No other run among the newest 2 without signals of crash-agent is known to have gone well: there is nothing to compare with. Give other_run_id.

=== RICH new get_agent_token_stats(agent_id="shop-agent")
$0.34 in 30 days, 10% of it in runs with signals; $0.01 above its own baseline of 600 tokens a run.
Token and cost stats for: shop-agent

                 TOKENS       COST   RUNS  IN RUNS WITH SIGNALS     ABOVE BASELINE
  1 day          48,800      $0.34     22  $0.03 (10%), 8 runs      $0.01
  7 days         48,800      $0.34     22  $0.03 (10%), 8 runs      $0.01
  30 days        48,800      $0.34     22  $0.03 (10%), 8 runs      $0.01

Wasted by failure type (30 days; a run with several counts under each):
  TOOL_LOOP                          $0.03  4,880 tokens in 8 runs

Counts of auto-instrumented runs may be too high: this backend adds the estimate at the call to the exact count of the answer.

=== RICH new get_agent_token_stats(agent_id="quiet-agent")
⚪ Unknown: the backend's statistics count no tokens of quiet-agent in 30 days.

=== RICH new search_issues()
Issues: reopened×1 (1 shown, 1 matched), ago from 2027-01-15 08:00 UTC:

🔴 #3  reopened  TOOL_LOOP  agent=shop-agent
   8 runs: first 5d ago, last 12h ago, resolved 25m ago; 2 clean runs since the last; pull request #77

=== RICH new search_issues(status="open")
No issue matches status=open. Failures of single runs are in search_signals; runs that crash without a signal make no issue.

=== BARE new search_issues()
Issues: —×1 (1 shown, 1 matched), ago from 2027-01-15 08:00 UTC:

⚪ #1  —  —  agent=—
   — runs: —; — clean runs since the last

=== RICH new get_issue(issue_id="#3")
🔴 #3  reopened  TOOL_LOOP  agent=shop-agent
   8 runs: first 5d ago, last 12h ago, resolved 25m ago; 2 clean runs since the last; pull request #77

Newest runs with it (ago from 2027-01-15 08:00 UTC):
  run=019e0001-bd24  step=3  conf=90%  3h ago

Analysis of the backend:
  root_cause: sha256:aa5ce1e1 (41 chars)
  fix_category: prompt
  resolution_notes: sha256:c7f2d9f2 (36 chars)

Code:
  sha256:3f21ad17 (12 chars)

=== RICH new get_issue(issue_id=4)
ERROR There is no issue 4. search_issues shows ids.

=== RICH new list_policies()
2 policies (degraded×1, unsigned×1); 1 custom detector.

Policies:
  ⚠ #1 "cost cap"  (all agents)  unsigned
     when cost_usd > 2.5: stop
  ⚠ #2 "::stop-commands::x"  (shop-agent)  degraded ("not signed")
     when signal contains TOOL_LOOP: inject_prompt {prompt: sha256:45b5e752 (19 chars)}

Custom detectors:
  CUSTOM_MANY  (all agents)  shadow  LOW  fired in 2 of 60 runs
     when calls > 6; description sha256:b8902604 (19 chars)

=== RICH new list_policies(agent_id="quiet-agent")
1 policy for quiet-agent (unsigned×1); 1 custom detector.

Policies:
  ⚠ #1 "cost cap"  (all agents)  unsigned
     when cost_usd > 2.5: stop

Custom detectors:
  CUSTOM_MANY  (all agents)  shadow  LOW  fired in 2 of 60 runs
     when calls > 6; description sha256:b8902604 (19 chars)

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

Fix of TOOL_LOOP in shop-agent, version v2 against all others; before: 30 days:
  before:     0% (0/12 runs), 95% interval 0–24%; 0 with any failure
  after:      80% (8/10 runs), 95% interval 49–94%; 10 with any failure

Fixes of TOOL_LOOP that the backend knows of:
  applied 20h ago by github_pr (pull request #12): 10 runs since, 8 with it again; the backend says still_occurring

Other moments:
  since="2027-01-14T12:00Z": its recorded fix, 20h ago
  since="v1": version v1, 2d ago

=== RICH new verify_fix(agent_id="shop-agent", failure_type="TOOL_LOOP", since="20h")
🔴 Worse: TOOL_LOOP in 0 of 12 runs before and 8 of 10 after 2027-01-14 12:00 UTC, 20h ago.

Fix of TOOL_LOOP in shop-agent, since 2027-01-14 12:00 UTC; before: 30 days:
  before:     0% (0/12 runs), 95% interval 0–24%; 0 with any failure
  after:      80% (8/10 runs), 95% interval 49–94%; 10 with any failure

Fixes of TOOL_LOOP that the backend knows of:
  applied 20h ago by github_pr (pull request #12): 10 runs since, 8 with it again; the backend says still_occurring

Other moments:
  since="v2": version v2, 12h ago
  since="2027-01-14T12:00Z": its recorded fix, 20h ago
  since="v1": version v1, 2d ago

=== RICH new verify_fix(agent_id="shop-agent", failure_type="TOOL_LOOP", since="v9")
ERROR No moment that has passed is called 'v9': give since as an ISO time, 24h, 3d, a version or a deploy. Known: since="v2" (version v2), since="2027-01-14T12:00Z" (its recorded fix), since="v1" (version v1).

=== RICH new verify_fix(agent_id="crash-agent", failure_type="TOOL_LOOP")
ERROR No change is known: give since as an ISO time, 24h, 3d, a version or a deploy. Known: none.

=== RICH new get_instrumentation_guide()
Guides: python, langchain, typescript, tools, haystack, otel, openai-agents, crewai, autogen, policies. Call again with one of them as framework.

=== RICH new get_instrumentation_guide(framework="rust")
ERROR There is no guide for rust. There are: python, langchain, typescript, tools, haystack, otel, openai-agents, crewai, autogen, policies.
'''


if __name__ == "__main__" and "--update" in sys.argv:
    update()
