"""A FastAPI chat, each of its WebSockets a session in sessionwatch.

    pip install fastapi "uvicorn[standard]" sessionwatch
    uvicorn --app-dir examples/starlette chat:app --port 8080

Try it with `python -m websockets ws://localhost:8080/chat?user=ada`; a kill ends exactly that connection, with close code
1001. Plain Starlette works the same way.
"""

import os

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from session_adapters import websocket_session

app = FastAPI()
present: set[WebSocket] = set()
SETTINGS = {"app_name": "chat", "server_url": os.environ.get("SESSIONWATCH_URL", "http://localhost:8000")}


@app.websocket("/chat")
async def chat(websocket: WebSocket, user: str = "somebody"):
    await websocket.accept()
    async with websocket_session(websocket, user_id=user, **SETTINGS) as tracker:
        present.add(websocket)
        try:
            while True:
                text = await websocket.receive_text()
                async with tracker.task("talking"):
                    for other in list(present):
                        await other.send_text(f"{user}: {text}")
        except WebSocketDisconnect:
            pass
        finally:
            present.discard(websocket)
