"""A Streamlit session with a task; the script runs anew at each click."""

import os
import time

import streamlit as st

from session_client import SessionClient

tracker = SessionClient.get_tracker(app_name=os.environ["APP_NAME"], server_url=os.environ["MONITOR_URL"])
if "runs" not in st.session_state:
    st.session_state.runs = 0
    tracker.on_kill(lambda: print("CALLBACK", flush=True))
    print("NEW SESSION", tracker.session_id, flush=True)
st.session_state.runs += 1
st.write("ready", st.session_state.runs)
if st.button("Report"):
    with tracker.task("Generating Report"):
        time.sleep(0.5)
