"""The command: arguments, environment and file -> Config -> Server.

Together with `gserver.worker` the only place that monkey-patches. What is wrong with the command
line itself is exit status 2; what is wrong with the application or the system is status 1. Either
is one clear line, below the application's own traceback if it has one.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import platform
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

import gserver
from gserver import patching
from gserver.api.errors import ConfigError
from gserver.config import OPTIONS, Config, Option, from_environment, from_file, suggestion
from gserver.listener import Address
from gserver.loader import Reference, describe_cause
from gserver.log import Format, coloured

if TYPE_CHECKING:
    from gserver.server import Server

logger = logging.getLogger("gserver.error")

# Seconds beyond the time to stop, after which an application that holds the processor is ended.
# Those that let go and the log have two seconds for their last words.
_STUCK: Final = 3.0
_DAY: Final = 86400.0

# What other servers call it, where it is not done here, or under another name.
_BIND: Final = "give --bind HOST:PORT"
_PROCESSES: Final = "one gserver is one process: gunicorn -k gserver.Worker starts several"
_ELSEWHERE: Final = {
    "--host": _BIND,
    "--port": _BIND,
    "-p": _BIND,
    "--workers": _PROCESSES,
    "-w": _PROCESSES,
    "--worker-class": _PROCESSES,
    "-k": _PROCESSES,
    "--reload": "gunicorn -k gserver.Worker --reload does it",
    "--threads": "each request has a greenlet, as many as there are",
    "--timeout": "give --request-timeout for requests, --graceful-timeout for the stop",
}

_EPILOG = """\
examples:
  gserver hello:app
  gserver mysite.wsgi --bind 0.0.0.0:80
  gserver 'shop:create_app("production")' --bind unix:/run/shop.sock
  gserver hello:app --bind https://127.0.0.1:8443 --certfile cert.pem --keyfile key.pem

Every option can also stand in a TOML file (-c), as keepalive = 30, or in the environment, as
GSERVER_KEEPALIVE=30. The command line wins over the environment, and that over the file.
"""

_GROUPS = {
    "bind": "where to listen",
    "certfile": "TLS",
    "handshake_timeout": "timeouts (seconds; 0 for none)",
    "limit_request_line": "limits (bytes, unless said otherwise)",
    "http2": "HTTP/2",
    "access_logfile": "logging",
    "server_header": "the rest",
}
# As gunicorn spells them on the command line.
_ALIASES = {"bind": "-b", "keepalive": "--keep-alive"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    try:
        reference, config = read_settings(argv, os.environ)
    except ConfigError as exc:
        return _fail(exc, 2)
    _set_up_logging(config)
    try:
        _serve(reference, config)
    except ConfigError as exc:
        return _fail(exc, 1)
    except KeyboardInterrupt:  # while the application was imported
        return 128 + signal.SIGINT
    return 0


# -- what the user wants ---------------------------------------------------------------------


def read_settings(
    argv: Sequence[str] | None, environment: Mapping[str, str]
) -> tuple[Reference, Config]:
    """Return what to serve, and how.

    Args:
        argv: The arguments; None takes those of the process.
        environment: Its variables.

    Raises:
        ConfigError: They cannot be meant so.
    """
    given, unknown = _parser().parse_known_args(argv)
    if unknown:
        # The value of an unknown option may have been taken for the application.
        name = max(unknown, key=lambda one: one.startswith("-")).partition("=")[0]
        hint = _ELSEWHERE.get(name)
        meant = f"; {hint}" if hint else suggestion(name, _flag)
        raise ConfigError(f"unknown argument {name}{meant}; gserver --help lists all")
    if given.application is None:
        raise ConfigError("which application? give MODULE:APP, for example hello:app")
    path = given.config or environment.get("GSERVER_CONFIG")
    values = from_file(path) if path else {}
    values |= from_environment(environment)
    values |= _from_arguments(given)
    config = Config(**values)
    # What can be told now, need not wait until the application is loaded.
    Format(config.access_logformat)
    for text in config.bind:
        Address.parse(text).speaks_tls(config)
    return Reference.parse(given.application), config


def _from_arguments(given: argparse.Namespace) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in vars(given).items():
        if name in OPTIONS:
            option, flag = OPTIONS[name], _flag(name)
            if option.repeatable:
                values[name] = [option.parse(one, flag) for one in value]
            else:
                values[name] = value if option.type is bool else option.parse(value, flag)
    return values


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # Without the usage: with this many options it would bury the message.
        raise ConfigError(f"{message}; gserver --help lists all")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(f"gserver {gserver.__version__}; {_engines('auto')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gserver",
        usage="gserver MODULE:APP [OPTION ...]",
        description="Serve a Python application on gevent: WSGI, Lite or ASGI.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "application",
        nargs="?",
        default=None,
        metavar="MODULE:APP",
        help="the application, or a factory: MODULE:create_app(); MODULE alone means "
        "MODULE:application. The current folder is on the import path",
    )
    parser.add_argument(
        "-c",
        "--config",
        default=None,
        metavar="FILE",
        help="read options from a TOML file (also GSERVER_CONFIG)",
    )
    parser.add_argument(
        "-v", "--version", action=_Version, nargs=0, help="show versions and engines, and exit"
    )
    group: Any = parser
    for option in OPTIONS.values():
        if option.name in _GROUPS:
            group = parser.add_argument_group(_GROUPS[option.name])
        _add(group, option)
    return parser


def _add(group: Any, option: Option) -> None:
    names = [one for one in (_ALIASES.get(option.name), _flag(option.name)) if one]
    text = option.help
    if option.default not in (None, "", False):
        default = ", ".join(option.default) if option.repeatable else option.default
        text += f" (default: {default:g})" if option.type is float else f" (default: {default})"
    text = text.replace("%", "%%")
    if option.type is bool:
        action = argparse.BooleanOptionalAction
        group.add_argument(*names, action=action, default=argparse.SUPPRESS, help=text)
        return
    metavar = option.metavar or {int: "N", float: "SECONDS"}.get(option.type, "TEXT")
    group.add_argument(
        *names,
        dest=option.name,
        help=text,
        metavar="|".join(option.choices) or metavar,
        action="append" if option.repeatable else "store",
    )


# -- doing it --------------------------------------------------------------------------------


def _serve(reference: Reference, config: Config) -> None:
    # Before the application, and before anything else that could keep what blocks.
    for line in patching.patch():
        logger.warning("%s", line)
    import gevent

    from gserver.server import Server

    # A Ctrl-C while the application is imported: without this gevent prints it.
    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
    try:
        application = reference.load()
    except ConfigError as exc:
        print(describe_cause(exc), end="", file=sys.stderr)
        raise
    _raise_descriptor_limit()
    server = Server(application, config)
    _stop_on_signals(server)
    server.start()
    print(*_greeting(reference, server), sep="\n", file=sys.stderr, flush=True)
    server.serve_forever()
    faulthandler.cancel_dump_traceback_later()
    logger.info("stopped")


def _stop_on_signals(server: Server) -> None:
    """Stop at SIGTERM and SIGINT; at once at the second.

    These are Python's handlers, not the loop's, because they also run while the application
    keeps the loop from turning. Then the watchdog ends the process, and shows where it is stuck.
    """
    import gevent

    received = 0

    def stop(number: int, at_once: bool) -> None:
        how = " at once" if at_once else ""
        if server.active and not at_once:
            how = (
                f"; what runs has {server.config.graceful_timeout:g} seconds to finish "
                f"(requests: {server.active}), a second signal cuts it off"
            )
        logger.info("%s: stopping%s", signal.Signals(number).name, how)
        server.stop(0 if at_once else None)

    def on_signal(number: int, _: object) -> None:
        nonlocal received
        received += 1
        at_once = received > 1
        patience = 0 if at_once else min(server.config.graceful_timeout, _DAY)
        # 2 rather than sys.stderr, which the application may have replaced.
        faulthandler.dump_traceback_later(patience + _STUCK, exit=True, file=2)
        gevent.spawn(stop, number, at_once)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)


def _greeting(reference: Reference, server: Server) -> list[str]:
    bold, faint, plain = ("\033[1m", "\033[2m", "\033[0m") if coloured(2) else ("", "", "")
    engines = _engines(server.config.http2_engine if server.config.http2 else "")
    return [
        f"{bold}gserver {gserver.__version__}{plain} serves {bold}{reference.text}{plain}",
        *(f"  {bold}{url}{plain}" for url in server.urls),
        f"{faint}  {engines}{plain}",
        f"{faint}  process {os.getpid()}; stop with Ctrl-C or SIGTERM{plain}",
    ]


def _engines(engine: str) -> str:
    """Return the versions of what does the work; `engine` is `http2_engine`, empty for none."""
    from importlib.metadata import version

    from gserver.http1 import parser
    from gserver.http2 import engines

    hint = "" if parser.COMPILED else " (pure Python; a C compiler at installation makes it faster)"
    http2 = f"HTTP/2: {engines.describe(engine)}; " if engine else ""
    return (
        f"HTTP/1.1: httptools {version('httptools')}{hint}; {http2}gevent {version('gevent')}; "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def _fail(error: ConfigError, status: int) -> int:
    red, plain = ("\033[31m", "\033[0m") if coloured(2) else ("", "")
    print(f"{red}gserver: {error}{plain}", file=sys.stderr)
    return status


def _set_up_logging(config: Config) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter("[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s", "%F %T %z")
    )
    root = logging.getLogger("gserver")
    root.addHandler(handler)
    root.propagate = False  # or an application's own handler would say it once more
    root.setLevel(config.log_level.upper())


def _raise_descriptor_limit() -> None:
    """Allow as many open sockets as the system lets this process have, as Go does."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            pass  # macOS names an unlimited hard limit that it does not accept
