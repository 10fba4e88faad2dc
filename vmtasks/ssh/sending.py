"""Sending on a channel, in order with its end.

paramiko makes a message under the channel's lock and sends it after that: in between, its own thread may answer the
other side's close (paramiko issues 1115, 1584, 1705). What comes behind that answer is for a channel that sshd no
longer knows, and has it end the whole connection. So here, a message goes out under the lock that it was made under.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paramiko.channel import Channel
    from paramiko.transport import Transport

MSG_CHANNEL_DATA = 94
MSG_CHANNEL_EOF = 96
"""RFC 4254, 9."""
_HEADER_BYTES = 64
"""What of a packet is no data, at most."""
_KEYS_TURN_S = 0.1


def send(channel: Channel, data: bytes) -> int:
    """Send the first part of *data*, as much as the other side takes at once; return how many bytes that is.

    :raise TimeoutError: it takes nothing within the channel's time limit.
    :raise OSError: the channel is closed, or its end was sent.
    :raise EOFError: the connection is no more.
    """
    while True:
        with channel.lock:
            if channel.closed or channel.eof_sent:
                raise OSError("the channel is closed")
            size = min(len(data), channel.out_window_size, channel.out_max_packet_size - _HEADER_BYTES)
            if size > 0:
                if _sent(channel, MSG_CHANNEL_DATA, data[:size]):
                    channel.out_window_size -= size
                    return size
            elif not channel.out_buffer_cv.wait(channel.timeout):
                raise TimeoutError("the other side takes nothing")
            else:
                continue
        _wait_for_keys(channel)


def send_all(channel: Channel, data: bytes) -> None:
    """Send all of *data*, see :func:`send`."""
    while data:
        data = data[send(channel, data) :]


def send_end(channel: Channel) -> None:
    """Tell the other side that nothing more is sent, unless it was told, or the channel is closed.

    :raise EOFError: the connection is no more.
    """
    while True:
        with channel.lock:
            if channel.closed or channel.eof_sent:
                return
            if _sent(channel, MSG_CHANNEL_EOF):
                channel.eof_sent = True
                return
        _wait_for_keys(channel)


def hang_up(channel: Channel) -> None:
    """Close a channel. What breaks now is for whoever still wants something of the connection to find out."""
    from paramiko.ssh_exception import SSHException

    with suppress(SSHException, EOFError, OSError):
        channel.close()


def _sent(channel: Channel, kind: int, *data: bytes) -> bool:
    """Send a message of a channel whose lock we have; return False if the connection agrees on new keys just now.

    Its thread may need that lock until it has.
    """
    from paramiko import Message  # late: what only asks for help need not wait for paramiko

    message = Message()
    message.add_byte(bytes([kind]))
    message.add_int(channel.remote_chanid)
    for one in data:
        message.add_string(one)
    transport = _transport(channel)
    with transport.clear_to_send_lock:
        if transport.clear_to_send.is_set():
            transport.packetizer.send_message(message)
            return True
        return False


def _wait_for_keys(channel: Channel) -> None:
    _transport(channel).clear_to_send.wait(_KEYS_TURN_S)


def _transport(channel: Channel) -> Transport:
    transport = channel.get_transport()
    if not transport.is_active():
        raise EOFError
    return transport
