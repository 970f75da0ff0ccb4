"""Behind TLS, and under a base path, as a monitor may stand."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from support import Gate, Monitor, python

USE = """
from session_client import SessionClient
tracker = SessionClient.get_tracker("app", server_url={url!r})
print("seen", tracker.flush({patience}), tracker.connected, flush=True)
with tracker.task("secret work"):
    print("shown", tracker.flush({patience}), flush=True)
    input()
"""


@pytest.fixture
def certificate(tmp_path):
    """A certificate for this machine, signed by itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    return cert, key


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
def test_over_tls(certificate, websocket):
    cert, key = certificate
    monitor = Monitor("--tls-cert", str(cert), "--tls-key", str(key))
    try:
        url = monitor.url.replace("http:", "https:")
        program = USE.format(url=url, patience=10)
        if not websocket:
            program = "import sys; sys.modules['websockets.asyncio.client'] = None\n" + program
        with python(program, {"SSL_CERT_FILE": str(cert)}) as process:
            assert process.wait_for_line("seen") == "seen True True"
            assert process.wait_for_line("shown") == "shown True"
    finally:
        monitor.close()


def test_a_certificate_that_is_not_trusted_is_a_monitor_that_is_away(certificate):
    cert, key = certificate
    monitor = Monitor("--tls-cert", str(cert), "--tls-key", str(key))
    try:
        with python(USE.format(url=monitor.url.replace("http:", "https:"), patience=1), {"SSL_CERT_FILE": "/dev/null"}) as process:
            assert process.wait_for_line("seen") == "seen False False"
            process.wait_for_line("CERTIFICATE_VERIFY_FAILED")
    finally:
        monitor.close()


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
def test_under_a_base_path(websocket):
    monitor = Monitor("--base-path", "/monitor")
    try:
        with Gate(monitor, websocket=websocket) as gate:
            with python(USE.format(url=gate.url + "/monitor/", patience=10)) as process:
                assert process.wait_for_line("seen") == "seen True True"
                assert process.wait_for_line("shown") == "shown True"
                assert monitor.ask("GET", "/monitor/sessions")[1]["sessions"][0]["current_task"] == "secret work"
    finally:
        monitor.close()
