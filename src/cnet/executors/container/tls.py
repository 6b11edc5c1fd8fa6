"""TLS that can be closed one way, which anyio's own cannot: that is how input of a command ends."""

from __future__ import annotations

import ssl

import anyio
from anyio.abc import ByteStream


class TlsStream(ByteStream):
    """Over another stream; `handshake` comes first. One task may send and another receive."""

    def __init__(self, raw: ByteStream, context: ssl.SSLContext, host: str) -> None:
        self._raw = raw
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._sending = anyio.Lock()

    async def handshake(self) -> None:
        """Raises OSError; ssl.SSLError is one."""
        while True:
            try:
                self._ssl.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            else:
                return await self._flush()

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """See ByteStream."""
        while True:
            try:
                data = self._ssl.read(max_bytes)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
                continue
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                raise anyio.EndOfStream from None
            if not data:
                raise anyio.EndOfStream
            return data

    async def send(self, item: bytes) -> None:
        """See ByteStream."""
        self._ssl.write(item)
        await self._flush()

    async def send_eof(self) -> None:
        """Nothing more is sent; what comes can still be received."""
        try:
            self._ssl.unwrap()
        except ssl.SSLError:  # the other side has not closed yet, as it should not
            await self._flush()

    async def aclose(self) -> None:
        """See ByteStream."""
        await self._raw.aclose()

    async def _flush(self) -> None:
        async with self._sending:
            if self._outgoing.pending:
                await self._raw.send(self._outgoing.read())

    async def _fill(self) -> None:
        try:
            self._incoming.write(await self._raw.receive())
        except anyio.EndOfStream:
            self._incoming.write_eof()
