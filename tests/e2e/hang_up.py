"""The end of a conversation with a peer that may have ended it before."""

import errno
import socket

# What a system call says of a connection that the peer has closed or reset. A timeout is none.
ENDED = (errno.ENOTCONN, errno.EPIPE, errno.ECONNRESET)


def send_and_hang_up(connection, data):
    """Sends, ends our side, and reads until the peer ends its own; a peer that does not is a TimeoutError."""
    assert connection.gettimeout(), "a peer that does not close would be waited for without end"
    try:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    except OSError as error:
        if error.errno not in ENDED:
            raise
