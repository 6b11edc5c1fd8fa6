"""The whole error tree.

Each class answers the reader's question "whose fault, and what next". `code` is the stable
snake_case word that travels on the wire; the sentence is for people and names the field, the
workload or the node it speaks of. HTTP status codes live in one table in `cnet.api.errors`.

    CnetError
    ├── ConfigError            the agent's own configuration is wrong; the agent does not start
    ├── SpecError              the request is wrong, asking again will not help
    │   ├── MalformedError     not even parseable
    │   ├── MediaTypeError     a content type that is not taken here
    │   ├── TooLargeError      over a size limit
    │   └── DigestError        the bytes are not those that were announced
    ├── AuthError              who is asking is not known, or not allowed
    ├── NotFoundError
    ├── ConflictError          a right request in the wrong state
    │   ├── TransitionError    the lifecycle table has no such step
    │   ├── PortTakenError     somebody else holds the port
    │   └── CapacityError      no room, with a line per node saying why
    ├── ExecutionError         the workload itself failed: a status, not a fault of the agent
    ├── BadGatewayError        a service broke off, or gave an answer that cannot be passed on
    ├── DamagedError           stored bytes are not what was stored
    └── TransientError         may work when asked again
        ├── DeadlineError      not done in the time that whoever asked had given
        ├── UnreachableError   no connection to an agent or service
        └── StorageFullError   the disk, or the room given to stored data, is full
"""

from __future__ import annotations

from collections.abc import Sequence


class CnetError(Exception):
    """Base of every error CNET raises on purpose.

    `code` is the stable word on the wire, `message` the sentence for people.
    """

    code = "internal_error"
    retryable = False

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class ConfigError(CnetError):
    """The agent's configuration cannot be used; the message names the key."""

    code = "invalid_config"


class SpecError(CnetError):
    """The request has an invalid field; `field` is its dotted path where one is to blame."""

    code = "invalid_field"

    def __init__(self, message: str, *, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.field = field


class MalformedError(SpecError):
    """The body is not what its content type says."""

    code = "malformed_body"


class MediaTypeError(SpecError):
    """The content type is not taken here."""

    code = "unsupported_media_type"


class TooLargeError(SpecError):
    """The body, the picture or the like is over its limit."""

    code = "too_large"


class DigestError(SpecError):
    """The bytes that came are not those announced; `field` says by what: `size`, `md5`, `crc32`…"""

    code = "digest_mismatch"


class AuthError(CnetError):
    """The request carries no acceptable credentials, or comes from a foreign page."""

    code = "unauthorized"


class ForbiddenError(AuthError):
    """Known or not, whoever asks may not do this from there."""

    code = "forbidden"


class NotFoundError(CnetError):
    """No workload, route or object of that name."""

    code = "not_found"


class ConflictError(CnetError):
    """The request is right but the present state does not allow it."""

    code = "conflict"


class TransitionError(ConflictError):
    """The lifecycle table has no entry for this phase and event."""

    code = "wrong_state"


class PortTakenError(ConflictError):
    """The asked-for port is held by somebody else, who is named."""

    code = "port_taken"


class CapacityError(ConflictError):
    """No node has room; `reasons` holds one line per node saying what is short."""

    code = "no_capacity"

    def __init__(
        self, message: str, *, reasons: Sequence[str] = (), code: str | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.reasons = tuple(reasons)


class ExecutionError(CnetError):
    """The workload could not be started or did not become ready; `log_tail` says more."""

    code = "execution_failed"

    def __init__(
        self, message: str, *, code: str | None = None, log_tail: Sequence[str] = ()
    ) -> None:
        super().__init__(message, code=code)
        self.log_tail = tuple(log_tail)


class BadGatewayError(CnetError):
    """A service broke off, or gave an answer that cannot be passed on."""

    code = "bad_gateway"


class DamagedError(CnetError):
    """What is on the disk is not what was stored there."""

    code = "damaged"


class TransientError(CnetError):
    """May work when asked again."""

    code = "unavailable"
    retryable = True


class DeadlineError(TransientError):
    """It was not done in the time that whoever asked had given."""

    code = "deadline_exceeded"


class UnreachableError(TransientError):
    """No connection could be made, or it broke."""

    code = "unreachable"


class StorageFullError(TransientError):
    """The disk, or the room given to stored data, is full; nothing was accepted."""

    code = "storage_full"
