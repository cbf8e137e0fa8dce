# C types for protocol.py, for when it is compiled; see docs/architecture.rst.

cimport cython

from gserver.http2.defence cimport Defence
from gserver.http2.stream cimport Http2Stream
from gserver.request cimport Limits
from gserver.transport cimport Transport

cdef int DATA, DRAINED, END, GOAWAY, PONG, PRIORITY, REQUEST, RESET
cdef double PER_REQUEST, PER_BLOCK


cdef class Http2:
    cdef readonly Transport connection
    cdef readonly object engine
    cdef readonly dict streams
    cdef readonly Py_ssize_t window
    cdef dict _unread
    cdef Limits _limits
    cdef dict _template
    cdef Py_ssize_t _most
    cdef Defence _defence
    cdef Py_ssize_t _requests
    cdef bint _scheduled
    cdef readonly bint draining
    cdef bint _leaving
    cdef bint _broken

    cpdef receive_data(self, bytes data)
    cpdef schedule(self)
    cpdef release(self, object number)
    @cython.locals(happened=list, fed=dict, lost=set, kind=int)
    cdef _act(self)
    @cython.locals(kind=int)
    cdef set _note_losses(self, list happened)
    @cython.locals(request=Http2Stream)
    cdef _tell(self, stream, int kind, payload)
    cdef _begin(self, object number, list fields, bint ended)
    @cython.locals(connection=Transport, stream=Http2Stream)
    cpdef _dispatch(self, object number, dict environ, bint ended=*)
    @cython.locals(data=bytes, connection=Transport)
    cpdef _flush(self)
