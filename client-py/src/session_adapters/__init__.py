"""`websocket_session` under its former name; Shiny and Streamlit need no import of their own. See `sessionwatch`."""

from sessionwatch import websocket_session

__all__ = ["websocket_session"]
