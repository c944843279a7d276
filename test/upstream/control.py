"""The control interface under /control: fields come in a JSON body, a form, or the query; a later one outranks."""

import json
from urllib.parse import parse_qsl

from behaviour import Behaviour, behaviour_from, to_whole
from messages import BadRequest, error_response, json_response

PREFIX = "/control"


class Control:
    def __init__(self, api, traffic, behaviours):
        self.api = api
        self.traffic = traffic
        self.behaviours = behaviours
        self.routes = {
            "behave": self.behave,
            "clear": self.clear,
            "reset": self.reset,
            "counts": self.counts,
            "log": self.log,
            "fixture": self.fixture,
            "price_version": self.price_version,
        }

    def respond(self, request, body):
        name = request.path[len(PREFIX):].strip("/")
        route = self.routes.get(name)
        if route is None:
            return error_response(404, "not_found", f"There are: {', '.join(self.routes)}.")
        try:
            return json_response(200, route(control_fields(request, body)))
        except BadRequest as error:
            return error_response(400, "bad_request", str(error))

    def behave(self, fields):
        """Sets a behaviour; without fields, only lists the active ones."""
        if fields:
            self.behaviours.add(behaviour_from(fields))
        return {"behaviours": self.behaviours.describe()}

    def clear(self, fields):
        self.behaviours.clear()
        return {"ok": True}

    def reset(self, fields):
        self.traffic.reset()
        self.behaviours.clear()
        return {"ok": True}

    def counts(self, fields):
        return self.traffic.counts(path_filter(fields))

    def log(self, fields):
        limit = to_whole("limit", fields.get("limit", 1000))
        after = to_whole("after", fields.get("after", 0))
        return {"requests": self.traffic.recent(path_filter(fields), limit, after)}

    def fixture(self, fields):
        """Sets a fixture's status; an empty one lets the clock decide again."""
        fixture_id, status = str(fields.get("id", "")), fields.get("status") or None
        if not self.api.set_status(fixture_id, None if status is None else str(status)):
            raise BadRequest(f"no fixture has the id {fixture_id!r}")
        return {"id": fixture_id, "status": status}

    def price_version(self, fields):
        fixture_id = fields.get("id")
        if fixture_id is not None and fixture_id not in self.api.fixtures:
            raise BadRequest(f"no fixture has the id {fixture_id!r}")
        return {"price_version": self.api.change_prices(fixture_id)}


def control_fields(request, body):
    """{name: value} of the query and the body. Throws BadRequest for a body that is neither JSON object nor form."""
    fields = dict(request.query())
    text = body.decode("utf-8", "replace").strip()
    if text.startswith(("{", "[")):
        try:
            document = json.loads(text)
        except ValueError as error:
            raise BadRequest(f"the body is no valid JSON: {error}") from error
        if not isinstance(document, dict):
            raise BadRequest("the body must be a JSON object")
        fields.update(document)
    else:
        fields.update(parse_qsl(text, keep_blank_values=True))
    return fields


def path_filter(fields):
    """A function path -> whether the field `path` asks for it; everything does without one."""
    glob = Behaviour(path=str(fields.get("path", "*")))
    return lambda path: glob.matches(path, path)
