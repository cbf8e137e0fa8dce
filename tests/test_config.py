"""Config: every option from every source, which source wins, and what is refused how."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gserver.api.errors import ConfigError
from gserver.cli import read_settings
from gserver.config import OPTIONS, Config, Option, from_environment, from_file

# A value other than the default for each option that does not take just any of its type.
SAMPLES: dict[str, Any] = {
    "bind": ["127.0.0.1:0", "unix:/tmp/x"],
    "access_logformat": "%(h)s %%",
    "cert_reqs": "optional",
    "header_map": "refuse",
    "http2": False,
    "http2_connection_window_size": 70000,
    "http2_engine": "h2",
    "interface": "wsgi",
    "http2_max_frame_size": 20000,
    "log_level": "debug",
    "websocket": False,
    "websocket_compression": False,
    "websocket_max_frame_size": 20000,
}
BY_TYPE: dict[type, Any] = {int: 7, float: 2.5, str: "x y", bool: True}
# An option that makes no sense without another.
NEEDED: dict[str, dict[str, Any]] = {"keyfile": {"certfile": "cert.pem"}}


def sample(name: str) -> Any:
    return SAMPLES.get(name, BY_TYPE[OPTIONS[name].type])


def config_with(name: str, **more: Any) -> Config:
    return Config(**{name: sample(name), **NEEDED.get(name, {}), **more})


def arguments(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-")]
    return [
        part for one in (value if isinstance(value, list) else [value]) for part in (flag, str(one))
    ]


def text(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def toml(values: dict[str, Any]) -> str:
    return "".join(f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in values.items())


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_on_the_command_line(name: str) -> None:
    more = [part for k, v in NEEDED.get(name, {}).items() for part in arguments(k, v)]
    _, config = read_settings(["app:app", *more, *arguments(name, sample(name))], {})
    assert config == config_with(name)
    assert getattr(config, name) != OPTIONS[name].default


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_in_the_environment(name: str) -> None:
    values = {name: sample(name), **NEEDED.get(name, {})}
    variables = {f"GSERVER_{k.upper()}": text(v) for k, v in values.items()}
    _, config = read_settings(["app:app"], {**variables, "PATH": "/bin"})
    assert config == config_with(name)


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_in_a_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / "gserver.toml"
    file.write_text(toml({name: sample(name), **NEEDED.get(name, {})}))
    for argv, variables in (
        (["-c", str(file)], {}),
        ([f"--config={file}"], {}),
        ([], {"GSERVER_CONFIG": str(file)}),
    ):
        _, config = read_settings(["app:app", *argv], variables)
        assert config == config_with(name)


@pytest.mark.parametrize(
    ("name", "in_file", "in_variable", "argument", "expected"),
    [
        ("keepalive", "1", "2", "--keepalive=3", (1, 2, 3)),
        ("keepalive", "1", "2", "--keep-alive=3", (1, 2, 3)),
        ("certfile", '"a"', "b", "--certfile=c", ("a", "b", "c")),
        ("certfile", '"a"', "", "--certfile=", ("a", "", "")),
        ("reuse_port", "true", "no", "--reuse-port", (True, False, True)),
        ("reuse_port", "false", "ON", "--no-reuse-port", (False, True, False)),
        (
            "bind",
            '["h:1", "h:2"]',
            "h:3, h:4",
            "-bh:5",
            (("h:1", "h:2"), ("h:3", "h:4"), ("h:5",)),
        ),
        ("bind", '"h:1"', "h:3", "--bind=h:5", (("h:1",), ("h:3",), ("h:5",))),
    ],
)
def test_command_line_wins_over_environment_and_that_over_file(
    name: str,
    in_file: str,
    in_variable: str,
    argument: str,
    expected: tuple[Any, Any, Any],
    tmp_path: Path,
) -> None:
    file = tmp_path / "gserver.toml"
    file.write_text(f"{name} = {in_file}\n")
    variables = {f"GSERVER_{name.upper()}": in_variable}
    argv = ["app:app", "-c", str(file)]
    found = tuple(
        getattr(read_settings(arguments, environment)[1], name)
        for arguments, environment in (
            (argv, {}),
            (argv, variables),
            ([*argv, argument], variables),
        )
    )
    assert found == expected


def test_config_argument_wins_over_its_variable(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("keepalive = 1")
    second.write_text("keepalive = 2")
    _, config = read_settings(["app:app", "-c", str(second)], {"GSERVER_CONFIG": str(first)})
    assert config.keepalive == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backlog": 2.0}, "backlog must be a whole number, not 2.0"),
        ({"backlog": True}, "backlog must be a whole number, not True"),
        ({"backlog": "1"}, "backlog must be a whole number, not '1'"),
        ({"backlog": -1}, "backlog must be 0 or more, not -1"),
        ({"worker_connections": 0}, "worker_connections must be 1 or more, not 0"),
        ({"limit_request_line": 0}, "limit_request_line must be 1 or more, not 0"),
        ({"limit_request_fields": 0}, "limit_request_fields must be 1 or more, not 0"),
        ({"limit_request_field_size": 0}, "limit_request_field_size must be 1 or more, not 0"),
        ({"limit_request_head": 0}, "limit_request_head must be 1 or more, not 0"),
        ({"keepalive": None}, "keepalive must be a number of seconds, not None"),
        ({"keepalive": float("nan")}, "keepalive must be 0 or more, not nan"),
        ({"keepalive": float("inf")}, "keepalive must be 0 or more, not inf"),
        ({"reuse_port": 1}, "reuse_port must be true or false, not 1"),
        ({"certfile": 3}, "certfile must be a text, not 3"),
        ({"certfile": "a\0b"}, "certfile must not contain a NUL character"),
        ({"bind": 8000}, "bind must be a list of texts, not 8000"),
        ({"bind": [8000]}, "bind must be a text, not 8000"),
        ({"bind": []}, "bind must name at least one address"),
        ({"bind": None}, "bind must be a list of texts, not None"),
        (
            {"log_level": "loud"},
            "log_level must be one of debug, info, warning, error, critical, not 'loud'",
        ),
        ({"cert_reqs": ""}, "cert_reqs must be one of none, optional, required, not ''"),
        ({"keyfile": "key.pem"}, "keyfile without certfile: give the certificate too"),
        ({"server_header": "☃"}, "server_header must be printable ASCII, not '☃'"),
        (
            {"server_header": "a\r\nb: c"},
            "server_header must be printable ASCII, not 'a\\r\\nb: c'",
        ),
    ],
)
def test_wrong_value(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**options)
    assert str(caught.value) == message


def test_values_that_are_as_good() -> None:
    config = Config(bind="h:1", keepalive=3, certfile=None)
    assert (config.bind, config.keepalive, config.certfile) == (("h:1",), 3, None)
    assert Config(bind=["h:1"]) == Config(bind=("h:1",))


def test_config_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().keepalive = 3  # type: ignore[misc]


@pytest.mark.parametrize("option", OPTIONS.values(), ids=list(OPTIONS))
def test_each_option_is_explained(option: Option) -> None:
    assert option.help
    assert not option.help.endswith(".")
    option.check(option.default, option.name)


# -- the environment -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("GSERVER_BACKLOG", "x", "GSERVER_BACKLOG must be a whole number, not 'x'"),
        ("GSERVER_BACKLOG", "", "GSERVER_BACKLOG must be a whole number, not ''"),
        ("GSERVER_BACKLOG", "-1", "GSERVER_BACKLOG must be 0 or more, not -1"),
        ("GSERVER_KEEPALIVE", "soon", "GSERVER_KEEPALIVE must be a number of seconds, not 'soon'"),
        ("GSERVER_KEEPALIVE", "1e999", "GSERVER_KEEPALIVE must be 0 or more, not inf"),
        ("GSERVER_REUSE_PORT", "2", "GSERVER_REUSE_PORT must be true or false, not '2'"),
        (
            "GSERVER_CERT_REQS",
            "maybe",
            "GSERVER_CERT_REQS must be one of none, optional, required, not 'maybe'",
        ),
        (
            "GSERVER_KEEP_ALIVE",
            "1",
            "GSERVER_KEEP_ALIVE: unknown option keep_alive; did you mean keepalive?",
        ),
        ("GSERVER_XYZZY", "1", "GSERVER_XYZZY: unknown option xyzzy"),
        ("GSERVER_PORT", "80", "GSERVER_PORT: unknown option port"),
        ("GSERVER_", "1", "GSERVER_: unknown option "),
    ],
)
def test_wrong_variable(variable: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_environment({variable: value})
    assert str(caught.value) == message


def test_variables_of_kubernetes_are_not_ours() -> None:
    described = {
        "GSERVER_SERVICE_HOST": "10.0.0.1",
        "GSERVER_SERVICE_PORT": "8000",
        "GSERVER_SERVICE_PORT_HTTP": "8000",
        "GSERVER_PORT": "tcp://10.0.0.1:8000",
        "GSERVER_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "GSERVER_PORT_8000_TCP_ADDR": "10.0.0.1",
        "GSERVER_KEEPALIVE": "3",
        "OTHER_KEEPALIVE": "4",
    }
    assert from_environment(described) == {"keepalive": 3}


# -- the file --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"keepalve = 1", "{}: unknown option keepalve; did you mean keepalive?"),
        (b"keep-alive = 1", "{}: unknown option keep-alive; did you mean keepalive?"),
        (b"[server]\nkeepalive = 1", "{}: unknown option server; did you mean server_header?"),
        (b"keepalive = '1'", "{}: keepalive must be a number of seconds, not '1'"),
        (b"backlog = 1.5", "{}: backlog must be a whole number, not 1.5"),
        (b"certfile = 2020-01-01", "{}: certfile must be a text, not datetime.date(2020, 1, 1)"),
        (b'certfile = "\\u0000"\n', "{}: certfile must not contain a NUL character"),
        (b"bind = 1", "{}: bind must be a list of texts, not 1"),
        (b"bind = ['a:1', 2]", "{}: bind must be a text, not 2"),
        (b"keepalive 1", "{} is not TOML: Expected '='"),
        (b"keepalive = 1\nkeepalive = 2", "{} is not TOML: Cannot overwrite a value"),
        (b"# \xff", "{} is not TOML: 'utf-8' codec can't decode"),
    ],
)
def test_wrong_file(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "gserver.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        from_file(str(file))
    assert str(caught.value).startswith(message.format(file))


def test_unreadable_file(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "none.toml", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(ConfigError) as caught:
            from_file(str(path))
        assert str(caught.value) == f"cannot read {path}: {reason}"


# -- properties ------------------------------------------------------------------------------

# What a variable can hold: no NUL; no lone surrogates, which would be bytes that are not UTF-8.
plain_text = st.text(st.characters(exclude_categories=["Cc", "Cs"]))


def values_of(option: Option) -> st.SearchStrategy[Any]:
    if option.choices:
        return st.sampled_from(option.choices)
    if option.repeatable:
        part = plain_text.map(lambda one: one.replace(",", ";").strip()).filter(bool)
        return st.lists(part, min_size=1)
    if option.name == "server_header":
        return st.text(st.characters(min_codepoint=32, max_codepoint=126))
    return {
        int: st.integers(max(1, option.least), int(min(2**63, option.most))),
        float: st.floats(0, 1e9),
        bool: st.booleans(),
        str: plain_text,
    }[option.type]


some_values = st.fixed_dictionaries(
    {}, optional={name: values_of(option) for name, option in OPTIONS.items()}
)


@given(some_values)
def test_what_was_written_to_the_environment_is_read_again(values: dict[str, Any]) -> None:
    variables = {f"GSERVER_{name.upper()}": text(value) for name, value in values.items()}
    assert from_environment(variables) == values


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some_values)
def test_what_was_written_to_a_file_is_read_again(tmp_path: Path, values: dict[str, Any]) -> None:
    file = tmp_path / "gserver.toml"
    file.write_text(toml(values), encoding="utf-8")
    assert from_file(str(file)) == values


@given(st.sampled_from(list(OPTIONS.values())), st.text())
def test_any_text_is_a_value_or_a_config_error(option: Option, anything: str) -> None:
    try:
        value = option.parse(anything, "here")
    except ConfigError:
        return
    option.check([value] if option.repeatable else value, "here")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.sampled_from(list(OPTIONS)), anything)
def test_any_value_is_taken_or_a_config_error(name: str, value: Any) -> None:
    try:
        config = Config(**{name: value})
    except ConfigError:
        return
    assert dataclasses.replace(config) == config
