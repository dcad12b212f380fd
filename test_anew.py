"""Tests of dunetrace-mcp: whole texts, rule tables and properties, over a Customer API in memory.

python -m pytest              run them; they need no network but loopback
python test_anew.py --update  rewrite the transcripts and the README's outputs: read the difference
"""

import contextlib
import json
import os
import re
import sys
import urllib.parse
from email.utils import formatdate
from pathlib import Path

import anyio
import pytest
import requests
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
    rows = [row for row in rows if query.get("agent_id") in (None, "", row["agent_id"])]
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
    """A call and its response."""
    came = {**came, "latency_ms": ms}
    return [
        event(f"{noun}.called", step, at, **dict(called)),
        event(f"{noun}.responded", step, at + ms / 1000, **dict(called), **came),
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
