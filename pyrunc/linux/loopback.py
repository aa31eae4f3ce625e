"""The one thing every new network namespace needs: its loopback interface up."""

import _socket
import fcntl

from pyrunc import _linux


def loopback_up() -> None:
    """Set IFF_UP on "lo" of the caller's network namespace (netdevice(7)). Raises OSError."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        # struct ifreq: 16 bytes of name, then the flags as a short.
        request = b"lo".ljust(16, b"\0") + bytes(24)
        answer = fcntl.ioctl(sock.fileno(), _linux.SIOCGIFFLAGS, request)
        flags = int.from_bytes(answer[16:18], "little") | _linux.IFF_UP
        fcntl.ioctl(sock.fileno(), _linux.SIOCSIFFLAGS, answer[:16] + flags.to_bytes(2, "little") + answer[18:])
    finally:
        sock.close()
