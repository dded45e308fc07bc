"""A connection that encrypts: OpenSSL between two buffers in memory, under one lock.

OpenSSL's object is not safe in two threads, and here one writes and another receives. So everything that
touches it, its buffers or the order of bytes on the socket holds the lock, and nothing that holds the lock
waits: the socket does not block, and poll() is called without the lock. ``close`` needs no lock.

What was encrypted must be sent as it is. Its plain bytes stay in the caller's ``pieces`` until the socket has
their ciphertext: whoever writes until ``pieces`` is empty has sent everything, and what is encrypted and not
sent counts as unsent without being counted twice.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable

from pagethrift.address import Address
from pagethrift.engine.output import drop_bytes, first_bytes
from pagethrift.errors import LinkError
from pagethrift.relay.connection import RECEIVE_BYTES, SEND_BYTES, Connection
from pagethrift.sockets import STEP_S, close_both_ways
from pagethrift.tls import TlsClient, words

HANDSHAKE_S = 30.0
"""a QEMU whose main loop is busy answers late"""
CLOSE_S = 10.0
"""for the last record, when the socket is full"""


class TlsConnection(Connection):
    """TLS 1.3 as a client.

    In TLS 1.3 our handshake is over before the server has looked at our certificate. QEMU refuses one by
    closing the connection, without a word: a connection that is closed before anything came back says so.
    """

    def __init__(self, connected: socket.socket, tls: TlsClient) -> None:
        """Take over a connected socket; `handshake` must follow."""
        super().__init__(connected)
        self._settings = tls
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.context.wrap_bio(self._incoming, self._outgoing, server_hostname=tls.host)
        self._lock = threading.Lock()
        self._encrypted = memoryview(b"")
        """not yet taken by the socket"""
        self._owed = 0
        """plain bytes at the head of the caller's pieces that ``_encrypted`` holds"""
        self._read_ahead: deque[bytes] = deque()
        self._refusal = ""
        self._notified = False
        self.read_to_end = False
        """the destination reads this connection to its end: a multifd channel"""

    @classmethod
    def opened(
        cls, connected: socket.socket, tls: TlsClient, address: Address, given_up: Callable[[], bool]
    ) -> TlsConnection:
        """Return a connection after its handshake. Raises LinkError, and closes the socket then."""
        try:
            connection = cls(connected, tls)
            connection._handshake(time.monotonic() + HANDSHAKE_S, given_up)
        except OSError as error:
            close_both_ways(connected)
            raise LinkError(f"TLS with {address}: {_why(error, tls)}") from error
        except BaseException:
            close_both_ways(connected)
            raise
        return connection

    def write(self, pieces: deque[memoryview]) -> int:
        """See `Connection`; pass the same ``pieces`` until they are empty. Raises OSError."""
        with self._lock:
            try:
                if not self._owed:
                    self._owed = self._encrypt(first_bytes(pieces, SEND_BYTES))
                self._flush()
            except OSError as error:
                raise self._ended(error) from error
            # Ciphertext is longer than what it hides: no more plain bytes than these can be left in it.
            left = min(self._owed, len(self._encrypted))
            count, self._owed = self._owed - left, left
        if pieces:
            drop_bytes(pieces, count)
        return count

    def receive(self, timeout_s: float) -> bytes | None:
        """See `Connection`; also None when only a part of a record came. Raises OSError."""
        with self._lock:
            data = self._decrypted()
        if data is not None:
            return data
        if not self.wait_readable(timeout_s):
            return None
        with self._lock:
            try:
                self._take_in()
            except OSError as error:
                if self._notified and self.answered and isinstance(error, ConnectionResetError):
                    return b""
                raise self._ended(error) from error
            return self._decrypted()

    def finish(self) -> None:
        """Send close_notify, and tell the socket too; the way back stays open.

        QEMU does not read main behind the stream's end: when it closes, close_notify waits there unread, and
        its kernel says so by a reset. Behind its last answer that is the end, and nothing is lost: the source
        ends main only after that. A destination that has not answered gets no close_notify on main, so that a
        reset is what it looks like: it has failed.
        """
        with self._lock:
            with contextlib.suppress(OSError):  # `receive` tells
                while data := self._decrypt():
                    self._read_ahead.append(data)  # unwrap() refuses to lose it
            self._notified = self.answered or self.read_to_end
            if self._notified:
                with contextlib.suppress(ssl.SSLError):  # it asks for the other side's close_notify
                    self._tls.unwrap()
        deadline_s = time.monotonic() + CLOSE_S
        while self._left_after_flush() and time.monotonic() < deadline_s:
            self.wait_writable(STEP_S)
        with contextlib.suppress(OSError):  # it has gone already; `receive` tells how
            super().finish()

    def hint(self) -> str:
        """See `Connection`."""
        if self.answered:
            return ""
        return f", without an answer: it may have refused {self._settings.certificate}; see its log"

    def _handshake(self, deadline_s: float, given_up: Callable[[], bool]) -> None:
        """Shake hands. Raises OSError."""
        while True:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush()  # the alert: the destination's log can say why
                raise
            self._flush()
            if done and not self._encrypted:
                return
            if given_up():
                raise OSError(errno.ECANCELED, "given up")
            if time.monotonic() > deadline_s:
                raise TimeoutError(errno.ETIMEDOUT, "timed out")
            if self._encrypted:
                self.wait_writable(STEP_S)
            elif self.wait_readable(STEP_S):
                self._take_in()

    def _encrypt(self, pieces: list[memoryview]) -> int:
        """Encrypt pieces together, since each write makes a record; return how many bytes. Raises OSError."""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return self._tls.write(data) if len(data) else 0

    def _flush(self) -> None:
        """Send what the socket takes of what was encrypted. Raises OSError."""
        if self._outgoing.pending:
            made = self._outgoing.read()
            self._encrypted = memoryview(bytes(self._encrypted) + made if self._encrypted else made)
        if not self._encrypted:
            return
        try:
            count = self._socket.send(self._encrypted)
        except BlockingIOError:
            return
        self.sent_bytes += count
        self._encrypted = self._encrypted[count:]

    def _left_after_flush(self) -> int:
        """Return how many encrypted bytes the socket has not taken; 0 when it takes no more at all."""
        with self._lock:
            try:
                self._flush()
            except OSError:
                return 0
            return len(self._encrypted)

    def _take_in(self) -> None:
        """Receive once what the socket has. Raises OSError."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _decrypted(self) -> bytes | None:
        """Return what has come, b"" at its end, None if no record is complete. Raises OSError."""
        return self._read_ahead.popleft() if self._read_ahead else self._decrypt()

    def _decrypt(self) -> bytes | None:
        """Decrypt what has come and was not read ahead. Raises OSError."""
        if self._refusal:
            raise OSError(errno.EPROTO, self._refusal)
        try:
            data = self._tls.read(RECEIVE_BYTES)
        except ssl.SSLWantReadError:
            data = None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):  # QEMU closes without close_notify
            return b""
        except ssl.SSLError as error:
            self._refusal = _why(error, self._settings)
            raise OSError(errno.EPROTO, self._refusal) from error
        if self._outgoing.pending:  # an answer to new keys
            with contextlib.suppress(OSError):
                self._flush()
        self.answered = self.answered or bool(data)
        return data

    def _ended(self, error: OSError) -> OSError:
        """Return the error to raise: with the destination's last words, if it left any."""
        if not self.answered and not self._refusal:
            with contextlib.suppress(OSError):
                self._take_in()
                if data := self._decrypt():
                    self._read_ahead.append(data)
        if self._refusal:
            return OSError(errno.EPROTO, self._refusal)
        return super()._ended(error)


def _why(error: OSError, tls: TlsClient) -> str:
    """Return why a handshake failed, and what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _why_not_believed(error, tls)
    if not isinstance(error, ssl.SSLError) and error.errno in (errno.ECANCELED, errno.ETIMEDOUT):
        if error.errno == errno.ECANCELED:
            return "given up"
        return f"no answer within {HANDSHAKE_S:g} s; does it expect TLS (tls-creds)?"
    reason = words(error)
    if "alert" in reason:
        if "version" in reason or "handshake failure" in reason:
            return f"it offers no TLS 1.3 ({reason})"
        if any(each in reason for each in ("certificate", "unknown ca", "access denied")):
            return f"it refused {tls.certificate} ({reason}); its authority must be one that it knows"
        return f"it broke TLS off ({reason}); see its log"
    if reason in ("wrong version number", "record layer failure", "http request"):
        return "it does not speak TLS; set tls-creds there, or leave --tls-dir out"
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return f"{reason}; see the destination's log"
    return (
        f"it closed the connection during the handshake ({reason}); set tls-creds there, or leave --tls-dir"
        " out"
    )


def _why_not_believed(error: ssl.SSLCertVerificationError, tls: TlsClient) -> str:
    said = error.verify_message
    if error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
        return (
            f"its certificate is not for {tls.host}; is it the right host? --tls-hostname says another name"
        )
    if error.verify_code in (9, 10, 23):  # not yet valid, expired, revoked
        return f"its certificate is refused: {said}; give the destination another one"
    if error.verify_code in (2, 18, 19, 20, 21):  # an issuer that is not known, or itself
        return f"its certificate is of no authority in {tls.authorities} ({said})"
    return f"its certificate is refused: {said}; see {tls.authorities.parent}"
