"""What WSGI Lite of 2011 promised in its tests and its README, and code that was written for it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

import gserver.api
from lite_tools import run_wsgi

LITE, WRITE, BINDINGS = "test_lite", "test_lite_write", "test_bindings"

# What its tests pin down, in their order, and the test that does it here. Where it was against PEP
# 3333, or where nothing has to fail any more, this is said.
PROMISES: list[tuple[str, str, str]] = [
    # Adapters
    ("a plain application is unaffected", LITE, "a_plain_application_stays_what_it_is"),
    ("a lightened application works as WSGI", LITE, "both_calls_work"),
    ("an adapter has name and docstring", LITE, "name_and_docstring_are_kept"),
    ("lighten is idempotent", LITE, "adapters_leave_alone_what_is_lite"),
    ("the second argument is optional", LITE, "both_calls_work"),
    ("one argument gives the triple", LITE, "lightened_returns_the_applications_own_objects"),
    ("a body without close is not registered", LITE, "a_body_without_close_is_not_registered"),
    ("a body with close is", LITE, "a_body_with_close_is_registered"),
    (
        "children of what is lightened have closing",
        LITE,
        "a_lightened_application_provides_closing_to_its_children",
    ),
    ("others have none", LITE, "a_lightened_application_provides_closing_to_its_children"),
    ("closing(x) is x", LITE, "closing_returns_its_argument_and_closes_in_reverse"),
    ("the last is closed first", LITE, "closing_returns_its_argument_and_closes_in_reverse"),
    ("lite does what lighten does", LITE, "lite_returns_the_applications_own_objects"),
    ("each leaves alone what the other made", LITE, "adapters_leave_alone_what_is_lite"),
    ("closing is provided to WSGI calls only", LITE, "closing_is_not_provided_to_a_lite_call"),
    ("a provider that is there is used", LITE, "a_provider_that_is_there_is_used"),
    # Middleware
    ("one middleware over all kinds, both ways", LITE, "stacks_can_be_called_as_lite"),
    ("every sandwich is valid", LITE, "stacks_are_valid_wsgi"),
    # Edges of WSGI
    ("empty blocks before the head", LITE, "a_head_that_comes_late_is_waited_for"),
    ("content before the head is a violation", LITE, "violations_of_wsgi_raise"),
    ("a head changed before content: with exc_info", LITE, "a_head_that_comes_late_is_waited_for"),
    ("a head changed after content is a violation", LITE, "violations_of_wsgi_raise"),
    ("and with exc_info raises that", LITE, "exc_info_after_content_is_raised_again"),
    ("exc_info before content is not raised", LITE, "exc_info_before_content_replaces_the_head"),
    # write()
    ("without greenlet: works", WRITE, "without_greenlet_blocks_are_collected"),
    ("one write()", WRITE, "stacks_give_what_was_written"),
    ("several", WRITE, "each_block_comes_out_as_it_is_written"),
    ("write(), then an iterable", WRITE, "a_generator_may_follow_what_is_written"),
    (
        "write() in the iterable is a violation",
        WRITE,
        "write_in_the_returned_iterable_is_a_violation",
    ),
    ("all of it in both nestings, and valid", WRITE, "stacks_give_what_was_written"),
    # Rules
    ("a key that is there", BINDINGS, "a_rule_finds"),
    ("a key that is missing", BINDINGS, "a_rule_finds"),
    ("several", BINDINGS, "a_rule_finds"),
    ("nested", BINDINGS, "a_rule_finds"),
    ("a function", BINDINGS, "a_rule_finds"),
    ("a function among others", BINDINGS, "a_rule_finds"),
    ("__wsgi_bind__ before calling", BINDINGS, "a_rule_finds"),
    ("a number is none", BINDINGS, "what_is_no_rule_is_refused"),
    ("a subclass of str is none", BINDINGS, "what_is_no_rule_is_refused"),
    ("the first that is found is taken", BINDINGS, "the_first_that_is_found_is_taken"),
    ("else the default", BINDINGS, "the_first_that_is_found_is_taken"),
    # Decorators that bind
    ("name, docstring, module", BINDINGS, "a_decorator_that_is_kept_has_a_name"),
    ("a name by itself", BINDINGS, "a_decorator_that_has_no_name_is_given_one"),
    ("an unknown argument", BINDINGS, "an_argument_that_the_function_lacks_is_refused"),
    ("any order", BINDINGS, "decorators_are_stacked_in_any_order_and_are_one"),
    ("not in two ways", BINDINGS, "an_argument_is_not_bound_in_two_ways"),
    ("twice in the same way", BINDINGS, "an_argument_may_be_bound_twice_in_the_same_way"),
    ("methods and classmethods", BINDINGS, "methods_are_bound"),
    ("lite()", BINDINGS, "misuse_of_lite_tells_the_right_use"),
    ("lite(name)", BINDINGS, "misuse_of_lite_tells_the_right_use"),
    ("lite(function, docstring)", BINDINGS, "misuse_of_lite_tells_the_right_use"),
    ("lite(__module__=...)", BINDINGS, "misuse_of_lite_tells_the_right_use"),
    ("lite(function, **rules)", BINDINGS, "misuse_of_lite_tells_the_right_use"),
    # Members and objects
    ("method", LITE, "members_of_classes_are_applications"),
    ("classmethod", LITE, "members_of_classes_are_applications"),
    ("lite.app", LITE, "a_class_is_an_application"),
    ("callable object, and all of is_lite", LITE, "is_lite"),
    ("attributes are kept", LITE, "attributes_of_what_is_adapted_are_reached"),
]

# What its author still wanted to test.
INTENTIONS: list[tuple[str, str, str]] = [
    ("lite.wraps in all ways", BINDINGS, "decorators_by_wraps_fit_all_kinds_of_targets"),
    ("bindings outside of it", BINDINGS, "arguments_of_a_wrapper_are_bound_below"),
    ("close once", LITE, "things_are_closed_at_most_once"),
    ("length", LITE, "a_length_is_passed_on"),
    ("the first block put back", LITE, "a_block_that_was_waited_for_is_not_left_out_of_a_length"),
    ("order of closing", LITE, "closing_returns_its_argument_and_closes_in_reverse"),
    ("stacks", BINDINGS, "decorators_are_stacked_in_any_order_and_are_one"),
    ("changed in place", BINDINGS, "what_is_decorated_stays_what_it_is"),
    ("mark_lite", LITE, "mark_lite_returns_what_it_marked"),
]


def test_there_is_a_test_for_each_promise() -> None:
    assert len(PROMISES) == 58
    there = {
        (path.stem, node.name)
        for path in Path(__file__).parent.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    named = {(module, f"test_{name}") for _, module, name in PROMISES + INTENTIONS}
    assert named - there == set()


# -- code of 2011 ----------------------------------------------------------------------------------

# Written as its README advises, with content as bytes: what Python 3 has changed, no library can.
MIDDLEWARE = """
import wsgi_lite
from wsgi_lite import lite, lighten, is_lite, mark_lite, WSGIViolation

wsgi_lite.use_greenlets = False

def shouting(app):
    app = lighten(app)

    @lite
    def middleware(environ):
        status, headers, body = app(environ)
        for name, value in headers:
            if name.lower() == "content-type" and value == "text/plain":
                break
        else:
            return status, headers, body
        headers = [(n, v) for n, v in headers if n.lower() != "content-length"]
        return status, headers, (data.upper() for data in body)

    return middleware

def plain(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    write(b"he")
    return [b"llo"]

app = shouting(lighten(shouting(plain)))
assert is_lite(app) and lite(app) is app and issubclass(WSGIViolation, AssertionError)
expected = b"HELLO"
"""

BINDING = """
from wsgi_lite import lite
from wsgi_bindings import bind, iter_bindings, with_bindings
from tempfile import TemporaryFile

class Session(object):
    def __init__(self, environ):
        self.user = environ.get("REMOTE_USER", "nobody")

    @classmethod
    def __wsgi_bind__(cls, environ):
        session = environ.get("shop.session")
        if session is None:
            session = environ["shop.session"] = cls(environ)
        yield session

@bind(closing="wsgi_lite.closing")
def temporary(environ, closing):
    yield closing(TemporaryFile())

with_session = lite(session=Session)
with_path = lite("with_path", "Bind `path`.", "__main__", path="PATH_INFO")
with_routing = lite(routing=("wsgiorg.routing_args", "x-wsgiorg.routing_args"))

@with_routing
@with_path
@with_session
@lite(one=temporary, two=temporary)
def app(environ, path, session, one, two, routing=((), {})):
    one.write(path.encode())
    two.write(session.user.encode())
    one.seek(0)
    two.seek(0)
    return "200 OK", [("Content-Type", "text/plain")], [one.read(), b" ", two.read()]

assert next(iter_bindings(Session, {"REMOTE_USER": "you"})).user == "you"
assert with_bindings({"x": "y"}, lambda environ, x=1: x, {}) == 1
assert with_path.__name__ == "with_path"
expected = b"/ nobody"
"""

BODY = """
from wsgi_lite import lite

log = []

class Resource:
    def close(self):
        log.append("resource")

@lite(closing="wsgi_lite.closing")
def inner(environ, closing):
    def body():
        try:
            yield b"chunk"
        finally:
            log.append("body")
    return "200 OK", [("Content-Type", "text/plain")], closing(body())

@lite(closing="wsgi_lite.closing")
def app(environ, closing):
    environ["some.key"] = closing(Resource())
    return inner(environ)

expected = b"chunk"
after = "assert log == ['body', 'resource']"
"""

MEMBERS = """
from wsgi_lite import lite, lighten
from wsgi_bindings import bind

def hello(environ):
    return "200 OK", [("Content-Type", "text/plain")], [b"hello "]

class Demo(object):
    @lite
    def an_app(self, environ):
        return hello(environ)

    @classmethod
    @lite
    def app_factory(cls, environ):
        return cls().an_app(environ)

class InstancesAreApps:
    @lite
    def __call__(self, environ):
        return hello(environ)

class ThisIsAnApp(lite.app):
    @bind(path="PATH_INFO")
    def __init__(self, environ, path):
        self.path = path

    def app(self, environ):
        return hello(environ)

class Bound(ThisIsAnApp):
    @lite(method="REQUEST_METHOD")
    def app(self, environ, method):
        return ThisIsAnApp.app(self, environ)

def require_method(app):
    @lite.wraps(app, method="REQUEST_METHOD")
    def wrapper(app, environ, method=None):
        if method == "GET":
            return app(environ)
        return "405 Method Not Allowed", [("Content-Type", "text/plain")], []
    return wrapper

class Decorated:
    @lite
    @require_method
    def page(self, environ):
        return hello(environ)

apps = [
    Demo().an_app, Demo.app_factory, InstancesAreApps(), ThisIsAnApp, Bound,
    require_method(lite(hello)), Decorated().page,
]

@lite
def app(environ):
    for one in apps:
        status, headers, body = lighten(one)(environ)
    return status, headers, body

expected = b"hello "
"""

CODE = {"middleware": MIDDLEWARE, "bindings": BINDING, "bodies": BODY, "members": MEMBERS}


@pytest.mark.parametrize("code", CODE.values(), ids=CODE)
def test_code_of_2011_runs_when_its_imports_are_changed(code: str) -> None:
    code = code.replace("import wsgi_lite\n", "import gserver.api as wsgi_lite\n")
    code = re.sub(r"^from wsgi_(lite|bindings) ", "from gserver.api ", code, flags=re.M)
    namespace: dict[str, Any] = {}
    try:
        exec(code, namespace)
    finally:
        # Which it may set. It need not: nothing fails without greenlets, so nobody asks for it.
        vars(gserver.api).pop("use_greenlets", None)
    environ: dict[str, Any] = {"QUERY_STRING": ""}
    setup_testing_defaults(environ)
    status, _, content = run_wsgi(validator(namespace["app"]), environ)
    assert (status, content) == ("200 OK", namespace["expected"])
    exec(namespace.get("after", ""), namespace)
