"""Stock clients that are no part of the developers' environment.

CNET_TEST_S3_CLIENTS names the environment that `make s3-clients` makes: with it each of them has to
be there, without it they are skipped. rclone and s3cmd are Debian's.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from tests.gateway.gateways import KEY, SECRET, Gateway

CLIENTS = os.environ.get("CNET_TEST_S3_CLIENTS") or None
FILES = 2000
Run = Callable[..., str]


@pytest.fixture(scope="module")
def clients() -> Path:
    """The programs of the clients' environment."""
    if CLIENTS is None:
        pytest.skip("CNET_TEST_S3_CLIENTS is not set: `make s3-clients` says how")
    folder = Path(CLIENTS).absolute() / "bin"
    assert (folder / "aws").exists(), f"CNET_TEST_S3_CLIENTS: there are no clients in {CLIENTS}"
    return folder


def debian(program: str) -> str:
    """Its path; skipped where it is missing and nobody asked for the clients."""
    path = shutil.which(program)
    if path is None and CLIENTS is None:
        pytest.skip(f"{program} is not installed")
    assert path is not None, f"CNET_TEST_S3_CLIENTS is set, and {program} is not installed"
    return path


@pytest.fixture
def run(gateway: Gateway, tmp_path: Path) -> Run:
    """Runs a command with the keys in its environment, in a home of its own; returns its output."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": gateway.endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "LC_ALL": "C.UTF-8",
    }

    def call(*command: str | Path, expect: int = 0) -> str:
        ended = subprocess.run(
            [str(word) for word in command],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ended.returncode == expect, (command, ended.stdout, ended.stderr)
        return ended.stdout

    return call


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two thousand small files, some with names that need care, and one of 40 MiB."""
    root = tmp_path_factory.mktemp("tree")
    rng = random.Random(4)
    for number in range(FILES):
        name = ["plain", "with space", "plus+sign", "é", "per%cent", "a&b=c", "q'uote"][number % 7]
        path = root / f"d{number % 13}" / f"s{number % 5}" / f"{name}-{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(number % 1500))
    (root / "large").write_bytes(rng.randbytes(40 << 20))
    return root


def content(root: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    paths = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


@pytest.mark.timeout(600)
def test_awscli(
    gateway: Gateway, clients: Path, run: Run, tree: Path, tmp_path: Path, bucket: str
) -> None:
    aws = clients / "aws"
    run(aws, "s3", "sync", tree, f"s3://{bucket}/tree", "--only-show-errors")
    assert run(aws, "s3", "sync", tree, f"s3://{bucket}/tree") == ""
    run(aws, "s3", "sync", f"s3://{bucket}/tree", "down", "--only-show-errors")
    assert content(tmp_path / "down") == content(tree)
    summary = run(aws, "s3", "ls", f"s3://{bucket}/tree/", "--recursive", "--summarize")
    assert f"Total Objects: {FILES + 1}" in summary
    assert "PRE tree/" in run(aws, "s3", "ls", f"s3://{bucket}")
    run(aws, "s3", "cp", f"s3://{bucket}/tree/large", f"s3://{bucket}/copy", "--quiet")
    run(aws, "s3", "mv", f"s3://{bucket}/copy", f"s3://{bucket}/moved", "--quiet")
    run(aws, "s3", "cp", f"s3://{bucket}/moved", "moved", "--quiet")
    assert (tmp_path / "moved").read_bytes() == (tree / "large").read_bytes()
    url = run(aws, "s3", "presign", f"s3://{bucket}/moved", "--expires-in", "60").strip()
    run("curl", "--silent", "--show-error", "--fail", "--output", "curled", url)
    assert (tmp_path / "curled").read_bytes() == (tree / "large").read_bytes()
    command = ("s3api", "head-object", "--bucket", bucket, "--key", "moved")
    assert '"ContentLength": 41943040' in run(aws, *command, "--checksum-mode", "ENABLED")
    run(aws, "s3", "rb", f"s3://{bucket}", "--force")
    assert gateway.ask("HEAD", f"/{bucket}").status == 404


def test_s3fs_with_pandas(clients: Path, run: Run, bucket: str, gateway: Gateway) -> None:
    script = f"""
        import pandas, s3fs
        options = {{"endpoint_url": {gateway.endpoint!r}}}
        frame = pandas.DataFrame({{"number": range(50_000), "text": ["é" * 9] * 50_000}})
        frame.to_csv("s3://{bucket}/a/frame.csv", index=False, storage_options=options)
        back = pandas.read_csv("s3://{bucket}/a/frame.csv", storage_options=options)
        pandas.testing.assert_frame_equal(frame, back)
        files = s3fs.S3FileSystem(endpoint_url={gateway.endpoint!r})
        with files.open("{bucket}/large", "wb", block_size=5 << 20) as file:
            for _ in range(12):
                file.write(b"x" * (1 << 20))
        assert files.size("{bucket}/large") == 12 << 20
        with files.open("{bucket}/large", "rb", block_size=1 << 20) as file:
            file.seek(7 << 20)
            assert file.read(10) == b"x" * 10
        assert files.ls("{bucket}") == ["{bucket}/a", "{bucket}/large"]
        assert files.glob("{bucket}/**/*.csv") == ["{bucket}/a/frame.csv"]
        assert files.isdir("{bucket}/a") and not files.exists("{bucket}/none")
        files.copy("{bucket}/large", "{bucket}/copy")
        files.mv("{bucket}/copy", "{bucket}/moved")
        assert files.cat_ranges(["{bucket}/moved"], [5], [9]) == [b"xxxx"]
        files.rm("{bucket}", recursive=True)
        assert not files.exists("{bucket}/a")
    """
    run(clients / "python", "-c", dedent(script))


def test_pyarrow_dataset(clients: Path, run: Run, bucket: str, gateway: Gateway) -> None:
    script = f"""
        import pyarrow, pyarrow.dataset as ds
        from pyarrow import fs
        files = fs.S3FileSystem(
            endpoint_override="127.0.0.1:{gateway.port}", scheme="http",
            access_key={KEY!r}, secret_key={SECRET!r}, region="us-east-1",
        )
        table = pyarrow.table({{
            "year": [2020 + n % 4 for n in range(100_000)],
            "value": [n * 0.5 for n in range(100_000)],
        }})
        ds.write_dataset(table, "{bucket}/set", filesystem=files, format="parquet",
                         partitioning=ds.partitioning(pyarrow.schema([("year", pyarrow.int64())]),
                                                      flavor="hive"))
        found = ds.dataset("{bucket}/set", filesystem=files, format="parquet", partitioning="hive")
        assert found.count_rows() == 100_000
        some = found.to_table(filter=ds.field("year") == 2021)
        assert some.num_rows == 25_000 and some["value"][0].as_py() == 0.5
        infos = files.get_file_info(fs.FileSelector("{bucket}/set"))
        names = sorted(info.base_name for info in infos)
        assert names == [f"year={{year}}" for year in range(2020, 2024)]
        with files.open_output_stream("{bucket}/small") as stream:
            stream.write(b"1000 bytes" * 100)
        with files.open_input_file("{bucket}/small") as file:
            assert file.read_at(10, 5) == b"bytes1000 "[:10]
        with files.open_output_stream("{bucket}/large") as stream:
            for _ in range(30):
                stream.write(b"y" * (1 << 20))
        assert files.get_file_info("{bucket}/large").size == 30 << 20
        files.move("{bucket}/small", "{bucket}/moved")
        files.delete_dir("{bucket}/set")
        assert files.get_file_info("{bucket}/set").type == fs.FileType.NotFound
    """
    run(clients / "python", "-c", dedent(script))


def test_duckdb(clients: Path, run: Run, bucket: str, gateway: Gateway) -> None:
    script = f"""
        import duckdb, pathlib, duckdb_extension_httpfs
        folder = pathlib.Path(duckdb_extension_httpfs.__file__).parent
        (extension,) = folder.rglob("httpfs.duckdb_extension")
        base = duckdb.connect(config={{"allow_unsigned_extensions": "true"}})
        base.execute(f"LOAD '{{extension}}'")
        base.execute('''CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}',
            ENDPOINT '127.0.0.1:{gateway.port}', URL_STYLE 'path', USE_SSL false,
            REGION 'us-east-1')''')
        base.execute("COPY (SELECT range AS n, 'é' AS t FROM range(500000)) "
                     "TO 's3://{bucket}/a b/table.parquet'")
        found = base.execute("SELECT sum(n), count(*) FROM 's3://{bucket}/a b/*.parquet'")
        assert found.fetchone() == (124999750000, 500000)
        base.execute("COPY (SELECT 1 AS n) TO 's3://{bucket}/one.csv'")
        assert base.execute("SELECT n FROM 's3://{bucket}/one.csv'").fetchone() == (1,)
        names = base.execute("SELECT file FROM glob('s3://{bucket}/**')").fetchall()
        assert sorted(n for n, in names) == ["s3://{bucket}/a b/table.parquet",
                                             "s3://{bucket}/one.csv"]
    """
    run(clients / "python", "-c", dedent(script))


@pytest.mark.timeout(600)
def test_rclone(gateway: Gateway, run: Run, tree: Path, tmp_path: Path, bucket: str) -> None:
    config = tmp_path / "rclone.conf"
    config.write_text(
        f"[cnet]\ntype = s3\nprovider = Other\naccess_key_id = {KEY}\n"
        f"secret_access_key = {SECRET}\nendpoint = {gateway.endpoint}\n"
    )
    rclone = (debian("rclone"), "--config", config, "--transfers", "8")
    run(*rclone, "copy", tree, f"cnet:{bucket}/tree")
    run(*rclone, "check", tree, f"cnet:{bucket}/tree")
    run(*rclone, "check", "--download", tree / "d1", f"cnet:{bucket}/tree/d1")
    run(*rclone, "sync", f"cnet:{bucket}/tree", tmp_path / "down")
    assert content(tmp_path / "down") == content(tree)
    assert run(*rclone, "size", f"cnet:{bucket}").startswith("Total objects: 2.001k")
    run(*rclone, "copyto", f"cnet:{bucket}/tree/large", f"cnet:{bucket}/copy")
    run(*rclone, "mkdir", "cnet:of-rclone")
    assert "of-rclone" in run(*rclone, "lsd", "cnet:")
    run(*rclone, "rmdir", "cnet:of-rclone")
    run(*rclone, "purge", f"cnet:{bucket}")
    assert gateway.ask("HEAD", f"/{bucket}").status == 404


@pytest.mark.timeout(600)
def test_s3cmd(gateway: Gateway, run: Run, tree: Path, tmp_path: Path, bucket: str) -> None:
    config = tmp_path / "s3cfg"
    host = f"127.0.0.1:{gateway.port}"
    config.write_text(
        f"[default]\naccess_key = {KEY}\nsecret_key = {SECRET}\nhost_base = {host}\n"
        f"host_bucket = {host}\nuse_https = False\n"
    )
    s3cmd = (debian("s3cmd"), "--config", config, "--no-progress")
    run(*s3cmd, "put", tree / "large", f"s3://{bucket}/large")
    run(*s3cmd, "sync", f"{tree}/d1/", f"s3://{bucket}/d1/")
    assert f"s3://{bucket}/large" in run(*s3cmd, "ls", f"s3://{bucket}")
    run(*s3cmd, "get", f"s3://{bucket}/large", tmp_path / "large")
    assert (tmp_path / "large").read_bytes() == (tree / "large").read_bytes()
    (tmp_path / "d1").mkdir()
    run(*s3cmd, "sync", f"s3://{bucket}/d1/", f"{tmp_path}/d1/")
    assert content(tmp_path / "d1") == content(tree / "d1")
    run(*s3cmd, "info", f"s3://{bucket}")
    run(*s3cmd, "info", f"s3://{bucket}/large")
    run(*s3cmd, "cp", f"s3://{bucket}/large", f"s3://{bucket}/copy")
    run(*s3cmd, "mv", f"s3://{bucket}/copy", f"s3://{bucket}/moved")
    run(*s3cmd, "del", "--recursive", "--force", f"s3://{bucket}")
    run(*s3cmd, "rb", f"s3://{bucket}")
    assert gateway.ask("HEAD", f"/{bucket}").status == 404
