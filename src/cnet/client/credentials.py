"""Where a user's agent token lives and how it is read and made.

The token is never printed or logged from here. Like ssh with its keys, a token file that others
may read is refused: a secret that has been shown is no secret.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from cnet.config import default_token_file
from cnet.errors import AuthError, ConfigError, ConflictError

_TOKEN_BYTES = 32


def find_token() -> str | None:
    """The token to send: `CNET_TOKEN`, else the content of the file `cnet init` wrote, else None.

    Raises AuthError when the file is readable by others, cannot be read, or holds no usable token.
    """
    given = os.environ.get("CNET_TOKEN", "").strip()
    if given:
        return _checked(given, "CNET_TOKEN")
    return read_token(default_token_file())


def read_token(path: Path) -> str | None:
    """The token in a file; None when there is no file. Raises AuthError as `find_token`."""
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise AuthError(
                    f"token file {path} has mode {mode:04o}, so others can read it; "
                    f"run: chmod 600 {path} (and `cnet init --force` if it may have been read)",
                    code="token_exposed",
                )
            return _checked(file.read().strip(), f"token file {path}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise AuthError(f"token file {path} cannot be read: {error}") from error


def _checked(token: str, source: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise AuthError(f"{source} holds no token: one line of printable ASCII is expected")
    return token


def create_token(path: Path, *, replace: bool = False) -> str:
    """Make a new token, write it to `path` with mode 0600 and return it.

    The file appears complete or not at all, also when two callers race; the folders above it are
    made with mode 0700. Raises ConflictError when the file exists and `replace` is false, and
    ConfigError when it cannot be written.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_private(temporary, f"{token}\n".encode())
        try:
            if replace:
                temporary.replace(path)
            else:
                path.hardlink_to(temporary)  # unlike a rename, fails when `path` is there
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
    except FileExistsError as error:
        raise ConflictError(
            f"{path} exists; --force replaces it, and agents using the old token must be restarted",
            code="token_exists",
        ) from error
    except OSError as error:
        raise ConfigError(f"token file {path} cannot be written: {error}") from error
    return token


def _write_private(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
