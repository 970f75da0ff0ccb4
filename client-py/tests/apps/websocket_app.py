"""A FastAPI WebSocket that echoes, each connection a session."""

import os
import sys

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from session_adapters import websocket_session
from session_client import SessionClient

app = FastAPI()


@app.websocket("/echo")
async def echo(websocket: WebSocket):
    await websocket.accept()
    settings = {"app_name": os.environ["APP_NAME"], "server_url": os.environ["MONITOR_URL"]}
    async with websocket_session(websocket, **settings, user_id=websocket.query_params["user"]) as tracker:
        assert SessionClient.get_tracker(**settings) is tracker
        tracker.on_kill(lambda: print("CALLBACK", flush=True))
        try:
            while True:
                text = await websocket.receive_text()
                async with tracker.task(text):
                    tracker.flush(1)
                    await websocket.send_text(text)
        except WebSocketDisconnect:
            print("HANDLER ENDED", flush=True)


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
