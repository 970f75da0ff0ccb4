"""The page of `page.py` mounted in a FastAPI app."""

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from panel.io.fastapi import add_applications

app = FastAPI()
panel = add_applications({"/page": str(Path(__file__).with_name("page.py"))}, app=app,
                         check_unused_sessions_milliseconds=500, unused_session_lifetime_milliseconds=3000)


@app.get("/table")
def table() -> list[str]:
    return [str(session.id) for context in panel._applications.values() for session in context.sessions]


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
