"""The deadline of a connection, set anew with each step that it takes."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod

from uvicorn.protocols.http.flow_control import FlowControl

from gateway.errors import GatewayTimeout, RequestError
from gateway.http.reader_pace import ReaderPace
from gateway.http.request_cycle import Cycle

UPLOAD_BYTES = 1024 * 1024
"""Of an upload, so much must come within each time that another request may take in all."""


class Deadline(ABC):
    """A base class, since another object beside each connection would be a hop more in each of its steps.

    One timer for a connection, which looks at the clock when it fires and sleeps again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    @abstractmethod
    def _late(self) -> None:
        """The deadline has come; it stands until another is set, and is not looked at again."""

    def _set_deadline(self, delay_s: float) -> None:
        self._deadline = deadline = self.loop.time() + delay_s
        # A later one leaves the timer: to look once in vain costs less than a timer made anew at each step.
        if self._timer_at > deadline:
            self._arm(deadline)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self.loop.call_at(deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        if self._deadline == math.inf:
            return
        if self._deadline > self.loop.time():
            self._arm(self._deadline)
        else:
            self._late()


class ClientDeadline(Deadline):
    """How long a client may take: to send a request, to take its answer, to send the next one."""

    receive_timeout_s = 60.0
    transport: asyncio.Transport
    flow: FlowControl

    def __init__(self, loop: asyncio.AbstractEventLoop, keep_alive_s: int) -> None:
        super().__init__(loop)
        self.timeout_keep_alive = keep_alive_s
        self.cycle: Cycle | None = None  # the request that was read last
        self._running: Cycle | None = None  # the one that is being answered, or was last
        self._receiving = False
        self._uploaded_bytes = -1
        """Since the last look; under 0 where it is no upload that is coming."""
        self._pace: ReaderPace | None = None  # while the client does not take all that is written

    @abstractmethod
    def refuse(self, error: RequestError) -> None:
        """Answer with that error, and close once it was taken."""

    def _late(self) -> None:
        if self.transport.is_closing() or self.flow.write_paused:
            pace = self._pace or self._new_pace(1)  # as if a byte had been taken: the next look judges
            unsent_bytes = self.transport.get_write_buffer_size()
            whole = self._running is None or self._running.response_complete
            look_s = pace.next_look_s(unsent_bytes, self.loop.time(), self.timeout_keep_alive, whole=whole)
            if look_s is None:  # a client that takes nothing would keep its place and its answer for good
                self.transport.abort()
            else:
                self._set_deadline(look_s)
        elif self._answering_another:  # a pipelined request has its time once the answer before it is out
            self._set_deadline(self.receive_timeout_s)
        elif self._receiving and self._uploaded_bytes >= UPLOAD_BYTES:  # a file is long, but goes on coming
            self._uploaded_bytes = 0
            self._set_deadline(self.receive_timeout_s)
        elif self._receiving and not self._answered_early:
            late = f"The request was not here within {self.receive_timeout_s:.0f} s."
            self.refuse(GatewayTimeout(late, status=408))
        else:
            self._close()

    def _new_pace(self, more_bytes: int = 0) -> ReaderPace:
        unsent_bytes = self.transport.get_write_buffer_size() + more_bytes
        self._pace = pace = ReaderPace(unsent_bytes, self.loop.time(), self.receive_timeout_s)
        return pace

    def _close(self) -> None:
        """Close once what was written is taken, or the client takes nothing any more."""
        self.transport.close()
        self._set_deadline(self.timeout_keep_alive)

    @property
    def _answering_another(self) -> bool:
        """Whether an answer is under way to a request before the one that is still coming."""
        running = self._running
        if running is None or running.response_complete:
            return False
        return running is not self.cycle or not running.more_body

    @property
    def _answered_early(self) -> bool:
        """Whether the request that is still coming has had its answer, such as a 401."""
        return self.cycle is not None and self.cycle.response_complete and self.cycle.more_body

    def pause_writing(self) -> None:
        """For the transport: the client takes less than is written."""
        self.flow.pause_writing()
        self._new_pace()
        self._set_deadline(self.timeout_keep_alive)

    def resume_writing(self) -> None:
        """For the transport: it takes bytes again."""
        self.flow.resume_writing()
        self._pace = None  # what is written later has its own
        running = self._running
        if running is None:
            return
        if running.drained is not None:
            running.drained()
        if self._receiving:
            self._set_deadline(self.receive_timeout_s)
        elif not (running.response_complete or running.disconnected):  # else it was refused in its body
            self._deadline = math.inf
        else:
            self._set_deadline(self.timeout_keep_alive)
