# C types for session.py, for when it is compiled; see docs/architecture.rst.

cimport cython

from gserver.websocket.frames cimport FrameReader, FrameWriter

cdef double _NEVER
cdef Py_ssize_t _PIECES, _WORK, _FRAME
cdef int BINARY, PING, PONG


cdef class Session:
    cdef readonly dict environ
    cdef readonly object subprotocol
    cdef readonly object close_code
    cdef readonly str close_reason
    cdef public double deadline
    cdef object _server
    cdef object _hub
    cdef object _carrier
    cdef FrameReader _frames
    cdef FrameWriter _writer
    cdef Py_ssize_t _limit
    cdef Py_ssize_t _max_queue
    cdef list _messages
    cdef list _pieces
    cdef Py_ssize_t _queued
    cdef Py_ssize_t _size
    cdef object _stream
    cdef bint _streaming
    cdef bint _dropping
    cdef bint _paused
    cdef object _reader
    cdef list _writers
    cdef object _turn
    cdef object _fragmenter
    cdef Py_ssize_t _streak
    cdef Py_ssize_t _written
    cdef Py_ssize_t _taken_off
    cdef double _write_deadline
    cdef object _pong
    cdef bytes _pongs
    cdef bint _behind
    cdef tuple _end
    cdef tuple _closing
    cdef bint _over
    cdef list _closers
    cdef double _close_deadline
    cdef bint _alive
    cdef dict _pings
    cdef double _next_ping
    cdef double _pong_deadline

    cdef _taken(self, Py_ssize_t size)
    @cython.locals(unsent=Py_ssize_t)
    cdef Py_ssize_t _write(self, bytes frame) except -1
    cdef _take_piece(self, object payload, bint last)
    cpdef receive_data(self, bytes data)
    @cython.locals(frames=FrameReader, kind=int, work=Py_ssize_t)
    cdef _take_events(self)
    cpdef bint try_send(self, bytes frame)
