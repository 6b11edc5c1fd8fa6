"""Settings: file, environment, overrides; what is wrong is named with what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cnet import config
from cnet.config import Settings, is_loopback
from cnet.errors import ConfigError

DOCUMENTED = """\
agent:
  node_id: "nanjing"      # 节点ID（唯一）
  address: "0.0.0.0"      # 监听地址
  port: 8081              # 监听端口

resources:
  cpu: 8.0                # CPU核心数
  gpu: 1                  # GPU数量
  memory: 17179869184     # 内存（16GB）
  storage: 214748364800   # 存储（200GB）

parent:
  enabled: {links}           # 启用父节点连接
  address: "localhost:8080"  # 父节点地址

peers:
  enabled: {links}           # 启用peer发现
  addresses:
    - "localhost:8082"    # peer节点1
    - "localhost:8083"    # peer节点2

logging:
  level: "info"           # 日志级别
  format: "json"          # 日志格式

storage:
  sqlite:
    db_path: "/tmp/cnet_storage.db"   # 元数据数据库
    data_path: "/tmp/cnet_data"       # 对象数据根目录
"""


def _load(path: Path, text: str, **kwargs: Any) -> Settings:
    file = path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return config.load(file, env=kwargs.pop("env", {}), **kwargs)


def test_defaults() -> None:
    settings = config.load(env={})
    assert (settings.agent.address, settings.agent.port) == ("127.0.0.1", 8080)
    assert settings.is_loopback
    assert settings.resources.cpu is None  # detected
    assert settings.agent.max_body_bytes == 1024 * 1024


def test_the_documents_configuration(tmp_path: Path) -> None:
    settings = _load(tmp_path, DOCUMENTED.format(links="false"))
    assert (settings.agent.node_id, settings.agent.port) == ("nanjing", 8081)
    assert settings.resources.model_dump() == {
        "cpu": 8.0,
        "gpu": 1,
        "memory": 17_179_869_184,
        "storage": 214_748_364_800,
    }
    assert settings.peers.addresses == ["localhost:8082", "localhost:8083"]
    assert settings.storage.type == "sqlite"
    assert settings.storage.sqlite.data_path == Path("/tmp/cnet_data")
    assert not settings.is_loopback


def test_a_link_needs_an_address(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^parent\.address: must be given"):
        _load(tmp_path, "parent: {enabled: true}")
    with pytest.raises(ConfigError, match=r"^peers\.addresses: at least one"):
        _load(tmp_path, "peers: {enabled: true}")
    settings = _load(tmp_path, DOCUMENTED.format(links="true"))
    assert settings.parent.enabled and settings.peers.enabled


def test_an_object_store_needs_a_bucket_and_tls() -> None:
    chosen: dict[str, object] = {"storage.type": "s3"}
    with pytest.raises(ConfigError, match=r"storage\.s3\.bucket: must be given"):
        config.load(env={}, overrides=chosen)
    chosen |= {"storage.s3.bucket": 2026, "storage.s3.endpoint": "http://minio:9000/"}
    with pytest.raises(ConfigError, match=r"storage\.s3\.endpoint: .*allow_http"):
        config.load(env={}, overrides=chosen)
    found = config.load(env={}, overrides=chosen | {"storage.s3.allow_http": True}).storage.s3
    assert (found.bucket, found.endpoint) == ("2026", "http://minio:9000")


def test_the_example_of_this_repository() -> None:
    settings = config.load(Path(__file__).parents[2] / "config.yaml", env={})
    assert (settings.agent.node_id, settings.resources.cpu) == ("agent-1", 4.0)


@pytest.mark.parametrize("text", ["", "---", "# nothing", "agent: {}\nresources: {}"])
def test_an_empty_file_is_all_defaults(tmp_path: Path, text: str) -> None:
    assert _load(tmp_path, text) == config.load(env={})


def test_later_sources_win(tmp_path: Path) -> None:
    env = {"CNET_AGENT__PORT": "2", "CNET_AGENT__NODE_ID": "from-env", "CNET_TOKEN": "not a key"}
    text = "agent: {port: 1, node_id: from-file, address: 127.0.0.3}"
    settings = _load(tmp_path, text, env=env, overrides={"agent.port": 3})
    assert settings.agent.port == 3
    assert settings.agent.node_id == "from-env"
    assert settings.agent.address == "127.0.0.3"


@pytest.mark.parametrize(
    ("name", "value", "path", "expected"),
    [
        ("CNET_AGENT__PORT", "9000", "agent.port", 9000),
        ("CNET_AGENT__LABELS", "{city: nanjing}", "agent.labels", {"city": "nanjing"}),
        ("CNET_AGENT__STOP_WORKLOADS_ON_EXIT", "true", "agent.stop_workloads_on_exit", True),
        ("CNET_RESOURCES__CPU", "0.5", "resources.cpu", 0.5),
        ("CNET_LOGGING__LEVEL", "debug", "logging.level", "debug"),
        ("CNET_STORAGE__SQLITE__DB_PATH", "/x", "storage.sqlite.db_path", Path("/x")),
        ("CNET_AGENT__AUTH__TOKEN_FILE", "/t", "token_file", Path("/t")),
    ],
)
def test_every_key_by_environment(name: str, value: str, path: str, expected: object) -> None:
    found: Any = config.load(env={name: value})
    for part in path.split("."):
        found = getattr(found, part)
    assert found == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("agnet: {}", "agnet: unknown key; did you mean agent?"),
        ("agent: {prot: 1}", "agent.prot: unknown key; did you mean port?"),
        (
            "agent: {auth: {tokenfile: x}}",
            "agent.auth.tokenfile: unknown key; did you mean token_f",
        ),
        ("resources: {disk: 1}", "resources.disk: unknown key; allowed: cpu, gpu, memory, storage"),
        ("logging: {level: loud}", "logging.level: input should be 'debug', 'info', 'warn' or"),
        ("agent: {port: 70000}", "agent.port: input should be less than or equal to 65535"),
        ("agent: {port: http}", "agent.port: input should be a valid integer"),
        ("agent: {node_id: 'a b'}", "agent.node_id: string should match pattern"),
        ("agent: {node_id: a/b}", "agent.node_id: string should match pattern"),
        ("agent: 8080", "agent: input should be a valid dictionary"),
        ("resources: {cpu: -1}", "resources.cpu: input should be greater than or equal to 0"),
        ("resources: {cpu: .nan}", "resources.cpu: input should be a finite number"),
        ("resources: {cpu: .inf}", "resources.cpu: input should be"),
        ("resources: {memory: 1.5}", "resources.memory: input should be a valid integer"),
        ("resources: {gpu: 1}\nagent: {x: 1}", "agent.x: unknown key; allowed: address, adver"),
        ("storage: {type: badger}", "storage.type: input should be 'sqlite' or 's3'"),
        ("storage: {s3: {bucket: a/b}}", "storage.s3.bucket: string should match pattern"),
        ("storage: {s3: {prefix: /a}}", "storage.s3.prefix: string should match pattern"),
        ("storage: {s3: {prefix: a//b}}", "storage.s3.prefix: string should match pattern"),
        ("storage: {s3: {endpoint: far}}", "storage.s3.endpoint: 'far' must be http:// or https"),
        ("storage: {s3: {endpoint: 'https://a:b@c'}}", "storage.s3.endpoint: "),
        ("storage: {s3: {secret: x}}", "storage.s3.secret: unknown key; allowed: allow_http"),
        ("workload_logs: {max_bytes: 1}", "workload_logs.max_bytes: input should be greater"),
        ("[1, 2]", "the top level must be a mapping of sections"),
        ("just text", "the top level must be a mapping of sections"),
        ("a: [", "not YAML"),
        ("a: b: c", "not YAML: line 1, column 5: mapping values are not allowed here"),
        ("x: !!python/object:os.system {}", "not YAML"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        _load(tmp_path, text)
    assert sentence in raised.value.message
    assert str(tmp_path / "config.yaml") in raised.value.message
    assert raised.value.code == "invalid_config"


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        _load(tmp_path, "agent: {prot: 1, port: x}\nresources: {cpu: many}")
    for key in ("agent.prot", "agent.port", "resources.cpu"):
        assert key in raised.value.message


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        config.load(tmp_path / "config.yaml", env={})
    with pytest.raises(ConfigError, match="Is a directory"):
        config.load(tmp_path, env={})
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not YAML"):
        config.load(tmp_path / "config.yaml", env={})


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("CNET_AGENT__PROT", "1", "agent.prot: unknown key; did you mean port?"),
        ("CNET_AGENT__PORT", "x", "agent.port: input should be a valid integer"),
        ("CNET_AGENT__PORT__X", "1", "agent.port"),
        ("CNET_AGENT__LABELS", "{", "CNET_AGENT__LABELS: not a YAML value"),
    ],
)
def test_wrong_environment(name: str, value: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config.load(env={name: value})
    assert sentence in raised.value.message


def test_environment_below_a_key_that_is_no_section(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"agent\.port\.x: port is not a section"):
        _load(tmp_path, "agent: {port: 1}", env={"CNET_AGENT__PORT__X": "1"})


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.1", False),
        ("localhost.evil.example", False),
        ("127.1", False),
        ("2130706433", False),
        ("::ffff:8.8.8.8", False),
    ],
)
def test_loopback_is_only_what_surely_is(address: str, loopback: bool) -> None:
    """Where in doubt an address counts as reachable: then a token is asked for."""
    assert is_loopback(address) is loopback


def test_where_state_and_token_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    named = config.load(env={}, overrides={"agent.node_id": "nanjing"})
    assert named.data_dir == tmp_path / "state" / "cnet" / "nanjing"
    assert named.token_file == tmp_path / "config" / "cnet" / "token"
    ports = {config.load(env={}, overrides={"agent.port": port}).data_dir for port in (1, 2)}
    assert len(ports) == 2  # two agents of one machine do not share their state
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert named.data_dir == tmp_path / ".local" / "state" / "cnet" / "nanjing"
    given = config.load(env={}, overrides={"agent.data_dir": "~/here"})
    assert given.data_dir == tmp_path / "here"


def test_settings_cannot_be_changed_in_use() -> None:
    settings = config.load(env={})
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings.agent, "port", 1)  # noqa: B010  mypy knows already


def test_settings_survive_yaml(tmp_path: Path) -> None:
    settings = config.load(env={}, overrides={"agent.labels": {"a": "b"}, "agent.port": 0})
    text = yaml.safe_dump(settings.model_dump(mode="json"))
    assert _load(tmp_path, text) == settings
