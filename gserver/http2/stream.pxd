# C types for stream.py, for when it is compiled; see docs/architecture.rst.

cimport cython

from gserver.clock cimport Patience
from gserver.http2.protocol cimport Http2
from gserver.stream cimport Stream


# Names of gserver.fields and of the module, as C has them.
cdef int BODYLESS, CONTENT_LENGTH, DATE, SERVER
cdef Py_ssize_t _LEFT_BEHIND
cdef dict _STATUSES


cdef class Http2Stream(Stream):
    cdef readonly object id
    cdef readonly bint gone
    cdef readonly bint incomplete
    cdef readonly list trailers_received
    cdef Http2 _protocol
    cdef object _engine
    cdef object _body
    cdef object _reader
    cdef object _writer
    cdef tuple _priority
    cdef object _tunnel
    cdef list _chunks
    cdef Py_ssize_t _held
    cdef Py_ssize_t _least
    cdef object _received
    cdef object _failure
    cdef Patience _patience
    cdef double _since
    cdef bint _expects_continue
    cdef bint _widened

    cpdef open(self, Http2 protocol, object id, dict environ)
    @cython.locals(length=Py_ssize_t, fields=list)
    cpdef respond(self, bytes body)
    @cython.locals(fields=list, kinds=int)
    cdef list _finish_head(self, Py_ssize_t length)
    cpdef send_head(self, bytes data)
    cpdef send_data(self, bytes data)
    cpdef send_end(self)
    cdef _await_taken(self)
    cdef _check_gone(self, reason=*)
    cpdef finished(self)
    @cython.locals(chunks=list)
    cpdef take(self, bytes data)
    cpdef wake_reader(self)
    cpdef bytes receive(self, Py_ssize_t size, Py_ssize_t least=*)
    cdef _await_content(self)
    cdef _wait_for_more(self)
    cdef _count_wait(self)
    @cython.locals(chunks=list, taken=Py_ssize_t, count=Py_ssize_t)
    cdef bytes _take_held(self, Py_ssize_t size)
