"""A usual implementation with FastAPI, uvicorn and SQLite: every request has its own
transaction, also a heartbeat. A peer for the benchmarks, not a part of sessionwatch.

    python fastapi_server.py PORT DATABASE
"""

import sqlite3
import sys
import threading
import uuid
from datetime import datetime, timezone

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

DATABASE = sys.argv[2]
app = FastAPI()
local = threading.local()


class Registration(BaseModel):
    app_name: str
    user_id: str | None = None
    session_id: str | None = None
    client: str | None = None


class Report(BaseModel):
    status: str
    current_task: str | None = None


def connection() -> sqlite3.Connection:
    """One connection a worker thread, as `check_same_thread` wants it."""
    if not hasattr(local, "connection"):
        local.connection = sqlite3.connect(DATABASE, timeout=30)
        local.connection.execute("PRAGMA journal_mode=WAL")
        local.connection.execute("PRAGMA synchronous=FULL")
    return local.connection


def now() -> str:
    return datetime.now(timezone.utc).isoformat()


with sqlite3.connect(DATABASE) as first:
    first.execute(
        """CREATE TABLE IF NOT EXISTS sessions (
            session_id TEXT PRIMARY KEY, app_name TEXT, user_id TEXT, start_time TEXT,
            last_heartbeat TEXT, status TEXT, current_task TEXT, kill_requested INTEGER DEFAULT 0)"""
    )


@app.post("/sessions", status_code=201)
def register(registration: Registration):
    session_id = registration.session_id or str(uuid.uuid4())
    with connection() as database:
        database.execute(
            "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, 'idle', NULL, 0)",
            (session_id, registration.app_name, registration.user_id, now(), now()),
        )
    return {"session_id": session_id}


@app.post("/sessions/{session_id}/heartbeat")
def heartbeat(session_id: str):
    with connection() as database:
        row = database.execute(
            "UPDATE sessions SET last_heartbeat = ? WHERE session_id = ? RETURNING kill_requested", (now(), session_id)
        ).fetchone()
    if row is None:
        raise HTTPException(404, "Session not found")
    return {"kill_requested": bool(row[0])}


@app.put("/sessions/{session_id}/status")
def status(session_id: str, report: Report):
    with connection() as database:
        changed = database.execute(
            "UPDATE sessions SET status = ?, current_task = ?, last_heartbeat = ? WHERE session_id = ?",
            (report.status, report.current_task, now(), session_id),
        )
    if changed.rowcount == 0:
        raise HTTPException(404, "Session not found")
    return {"status": "updated"}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
