"""The command: arguments, environment and file -> Config -> Server.

Together with `gserver.worker` the only place that monkey-patches. Errors of use are one clear line
and exit status 2; what goes wrong with the application or the system is status 1.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import gserver
from gserver.api.errors import ConfigError
from gserver.config import OPTIONS, Config, Option, from_environment, from_file

logger = logging.getLogger("gserver.error")

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
    "access_logfile": "logging",
    "server_header": "the rest",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = _parser()
    arguments = vars(parser.parse_args(argv))
    try:
        application, config = _settings(arguments)
        if application is None:
            raise ConfigError("which application? give MODULE:APP, for example hello:app")
    except ConfigError as exc:
        return _fail(exc, 2)
    _set_up_logging(config)
    try:
        return _serve(application, config)
    except ConfigError as exc:
        return _fail(exc, 1)


def _settings(arguments: dict[str, Any]) -> tuple[str | None, Config]:
    application = arguments.pop("application")
    path = arguments.pop("config") or os.environ.get("GSERVER_CONFIG")
    environment = {k: v for k, v in os.environ.items() if k != "GSERVER_CONFIG"}
    values = from_file(path) if path else {}
    values |= from_environment(environment)
    values |= arguments
    return application, Config(**values)


def _serve(name: str, config: Config) -> int:
    # Before the application, and before anything else that could keep what blocks.
    from gserver import patching

    for line in patching.patch():
        logger.warning("%s", line)
    import gevent

    from gserver.loader import describe_cause, load_application
    from gserver.server import Server

    try:
        application = load_application(name)
    except ConfigError as exc:
        sys.stderr.write(describe_cause(exc))
        raise
    _raise_descriptor_limit()
    server = Server(application, config)
    server.start()
    for line in _greeting(name, server.urls, config):
        sys.stderr.write(line + "\n")
    sys.stderr.flush()
    stops = 0

    def stop(number: int) -> None:
        nonlocal stops
        stops += 1
        logger.info("%s: stopping%s", signal.Signals(number).name, " at once" * (stops > 1))
        server.stop(0 if stops > 1 else None)

    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop, number)
    server.serve_forever()
    logger.info("stopped")
    return 0


def _greeting(name: str, urls: Sequence[str], config: Config) -> list[str]:
    bold, faint, plain = ("\033[1m", "\033[2m", "\033[0m") if _coloured() else ("", "", "")
    lines = [f"{bold}gserver {gserver.__version__}{plain} serves {bold}{name}{plain}"]
    lines += [f"  {bold}{url}{plain}" for url in urls]
    lines.append(f"{faint}  {engines()}{plain}")
    lines.append(f"{faint}  process {os.getpid()}; stop with Ctrl-C or SIGTERM{plain}")
    return lines


def engines() -> str:
    """Return the versions of what does the work."""
    from importlib.metadata import version

    from gserver.http1 import parser

    compiled = "" if parser.COMPILED else " (pure Python; a C compiler at installation makes it faster)"
    return (
        f"HTTP/1.1: httptools {version('httptools')}{compiled}; gevent {version('gevent')}; "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # Without the usage: with this many options it would bury the message.
        self.exit(_fail(ConfigError(f"{message}; gserver --help lists the options"), 2))


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(f"gserver {gserver.__version__}; {engines()}")
        parser.exit()


def _coloured() -> bool:
    return sys.stderr.isatty() and "NO_COLOR" not in os.environ


def _fail(error: ConfigError, status: int) -> int:
    red, plain = ("\033[31m", "\033[0m") if _coloured() else ("", "")
    sys.stderr.write(f"{red}gserver: {error}{plain}\n")
    return status


def _set_up_logging(config: Config) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter("[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s", "%F %T %z")
    )
    root = logging.getLogger("gserver")
    root.addHandler(handler)
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


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gserver",
        description="Serve a blocking Python application, WSGI or Lite, on gevent.",
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
        "-c", "--config", default=None, metavar="FILE", help="read options from a TOML file"
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
    names = ["--" + option.name.replace("_", "-")]
    if option.name == "bind":
        names.insert(0, "-b")
    text = option.help.replace("%", "%%")
    if option.default not in (None, ""):
        default = ", ".join(option.default) if option.repeatable else option.default
        text += f" (default: {str(default).replace('%', '%%')})"

    def parse(value: str) -> Any:
        try:
            parsed = option.parse(value)
            option.check((parsed,) if option.repeatable else parsed)
        except ConfigError as exc:
            raise argparse.ArgumentTypeError(str(exc)) from exc
        return parsed

    if option.type is bool:
        group.add_argument(
            *names, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
        )
        return
    metavar = option.metavar or {int: "N", float: "SECONDS"}.get(option.type, "TEXT")
    group.add_argument(
        *names,
        type=parse,
        help=text,
        metavar="|".join(option.choices) or metavar,
        action="append" if option.repeatable else "store",
    )
