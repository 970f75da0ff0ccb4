"""A Streamlit app whose users show up in sessionwatch.

    pip install streamlit sessionwatch
    streamlit run examples/streamlit/report.py
"""

import os
import time

import streamlit as st

from session_client import SessionClient

tracker = SessionClient.get_tracker(  # the same one at each run of this user's script
    app_name="streamlit_report",
    server_url=os.environ.get("SESSIONWATCH_URL", "http://localhost:8000"),
)

st.title("Report")
seconds = st.slider("Duration in seconds", 1, 60, 5)
if st.button("Run"):
    with tracker.task("Generating Report"):
        progress = st.progress(0)
        for step in range(100):
            time.sleep(seconds / 100)
            progress.progress(step + 1)
    st.success("Done.")
