"""A plugin of `panel serve` for the tests: what the server's own session table holds, and which threads it has."""

import json
import threading

from tornado.web import RequestHandler


class Table(RequestHandler):
    def get(self):
        tables = self.application.applications.values() if hasattr(self.application, "applications") \
            else self.application._applications.values()
        self.write(json.dumps([str(session.id) for table in tables for session in table.sessions]))


class Threads(RequestHandler):
    def get(self):
        self.write(json.dumps([thread.name for thread in threading.enumerate()]))


ROUTES = [("/table", Table, {}), ("/threads", Threads, {})]
