"""The program itself: arguments, exit codes, how it begins and ends."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.gateway.gateways import (
    TOKEN,
    Gateway,
    keys_file,
    make_store,
    run_to_end,
    running,
    write_secret,
)

NEW = ("--writable", "--create")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--base-path"),
        (["--base-path", "DATA"], "--anonymous"),
        (["--base-path", "DATA", "--anonymous", "--port", "70000"], "--port"),
        (["--base-path", "DATA", "--anonymous", "--port", "x"], "--port"),
        (["--base-path", "DATA", "--anonymous", "--workers", "0"], "--workers"),
        (["--base-path", "DATA", "--anonymous", "--workers", "x"], "--workers"),
        (["--base-path", "DATA", "--anonymous", "--bucket", "A"], "--bucket A"),
        (["--base-path", "DATA", "--keys-file", "DATA/none"], "cannot be read"),
        (["--base-path", "DATA", "--auth-token-file", "DATA/none"], "--auth-token-file"),
        (["--base-path", "DATA", "--auth-token", "short"], "at least 8"),
        (["--base-path", "DATA", "--anonymous", "--read-only", "--writable"], "--writable"),
        (["--base-path", "DATA", "--anonymous", "--writable", "--host", "0.0.0.0"], "anybody"),
        (["--base-path", "DATA", "--anonymous", "--host", "no.such.host.invalid"], "--host"),
        (["--base-path", "NONE", "--anonymous", "--port", "0"], "there is no store"),
        (["--base-path", "NONE", "--anonymous", "--writable", "--port", "0"], "--create"),
        (["--base-path", "NONE", "--anonymous", "--create", "--port", "0"], "--writable"),
        (["--base-path", "DATA", "--db-path", "NONE", "--anonymous"], "there is no store"),
        (["--base-path", "/proc/none", *NEW, "--anonymous", "--port", "0"], "/proc/none"),
    ],
)
def test_wrong_arguments_end_it_with_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    make_store(tmp_path / "data")
    places = {"DATA": str(tmp_path / "data"), "NONE": str(tmp_path / "none")}
    for name, place in places.items():
        arguments = [item.replace(name, place) for item in arguments]
    ended = run_to_end(*arguments)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "none").exists()


def test_a_new_store_is_made_when_told(tmp_path: Path) -> None:
    with running(tmp_path, "--anonymous", *NEW, root=tmp_path / "new") as gateway:
        gateway.send("PUT", "/cnet/k", {"host": "localhost"}, b"x")
    with running(tmp_path, "--anonymous", root=tmp_path / "new") as gateway:
        assert gateway.send("GET", "/cnet/k", {"host": "localhost"}).body == b"x"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "nonsense: [",
        '{"AK": "long-enough"}',
        '{"AKGOOD": "short"}',
        '{"AKGOOD": {"secret": "long-enough", "colour": 1}}',
        '{"AKGOOD": {"secret": "long-enough", "buckets": "cnet"}}',
        '{"AKGOOD": {"secret": "long-enough", "read_only": "no"}}',
    ],
)
def test_wrong_key_files_end_it_with_2(tmp_path: Path, content: str) -> None:
    path = write_secret(tmp_path / "keys", content)
    root = make_store(tmp_path / "data")
    ended = run_to_end("--base-path", str(root), "--keys-file", str(path))
    assert ended.returncode == 2
    assert str(path) in ended.stderr
    assert "long-enough" not in ended.stderr


def test_taken_port_ends_it_with_3(tmp_path: Path) -> None:
    root = make_store(tmp_path / "data")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run_to_end("--base-path", str(root), "--anonymous", "--port", port)
    assert ended.returncode == 3
    assert port in ended.stderr


def test_store_of_a_newer_version_ends_it_with_2(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "catalog.db").write_bytes(b"this is no database" * 100)
    ended = run_to_end("--base-path", str(tmp_path / "data"), "--anonymous", "--port", "0")
    assert ended.returncode == 2
    assert "catalog.db" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_with_0_when_told(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, "--anonymous") as gateway:
        assert gateway.stop(number) == 0
        assert "Traceback" not in gateway.log.read_text()


def test_run_is_told_in_every_reply(tmp_path: Path) -> None:
    environment = {**os.environ, "CNET_RUN_ID": "run-7"}
    with running(tmp_path, "--anonymous", environment=environment) as gateway:
        for path in ("/health", "/cnet", "/none"):
            headers = gateway.send("GET", path, {"host": "localhost"}).headers
            assert headers["x-cnet-run"] == "run-7"


def test_other_bucket_and_token_as_argument(tmp_path: Path) -> None:
    options = ("--bucket", "photos", "--writable", "--auth-token", TOKEN)
    with running(tmp_path, *options) as gateway:
        headers = {"host": "h", "authorization": f"Bearer {TOKEN}"}
        assert gateway.send("GET", "/", headers).texts("Buckets/Bucket/Name") == ["photos"]
        assert gateway.send("GET", "/cnet", headers).code == "NoSuchBucket"


def test_two_gateways_over_one_store(tmp_path: Path) -> None:
    keys = ("--keys-file", str(keys_file(tmp_path)))
    with running(tmp_path, "--writable", *keys) as first, running(tmp_path, *keys) as second:
        for number in range(50):
            first.put("/cnet/file", b"%d" % number)
            assert second.ask("GET", "/cnet/file").body == b"%d" % number


def test_reader_sees_one_version_while_it_is_replaced(tmp_path: Path) -> None:
    keys = ("--keys-file", str(keys_file(tmp_path)))
    bodies = [bytes([number]) * (200_000 + number) for number in range(4)]
    ended = threading.Event()

    def write(gateway: Gateway) -> None:
        number = 0
        while not ended.is_set():
            gateway.put("/cnet/file", bodies[number % 4])
            number += 1

    with running(tmp_path, "--writable", *keys) as gateway:
        gateway.put("/cnet/file", bodies[0])
        writer = threading.Thread(target=write, args=(gateway,))
        writer.start()
        try:
            for _ in range(150):
                answer = gateway.ask("GET", "/cnet/file")
                assert answer.status == 200
                assert answer.body in bodies
        finally:
            ended.set()
            writer.join()


def test_broken_upload_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path, "--writable", "--keys-file", str(keys_file(tmp_path))) as gateway:
        size = {"content-length": str(8 << 20)}
        target, headers = gateway.sign("PUT", "/cnet/file", size, payload="UNSIGNED-PAYLOAD")
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        temporary = gateway.root / "tmp"
        with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
            connection.sendall(f"PUT {target} HTTP/1.1\r\n{head}\r\n".encode() + b"x" * (2 << 20))
            while not list(temporary.iterdir()):
                assert gateway.process.poll() is None
        while list(temporary.iterdir()):
            assert gateway.process.poll() is None
        assert gateway.ask("GET", "/cnet/file").status == 404
        assert not [path for path in (gateway.root / "blobs").rglob("*") if path.is_file()]
        assert "Traceback" not in gateway.log.read_text()


def test_body_is_asked_for_only_when_it_is_wanted(tmp_path: Path) -> None:
    with running(tmp_path, "--writable", "--keys-file", str(keys_file(tmp_path))) as gateway:
        for secret, begins in (("wrong-secret", b"HTTP/1.1 403"), (None, b"HTTP/1.1 100")):
            options = {} if secret is None else {"secret": secret}
            fields = {"content-length": "4", "expect": "100-continue"}
            target, headers = gateway.sign("PUT", "/cnet/file", fields, b"body", **options)
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
                connection.sendall(f"PUT {target} HTTP/1.1\r\n{head}\r\n".encode())
                assert connection.recv(12) == begins
