# C types for stream.py, for when it is compiled; see docs/architecture.rst.

cimport cython

from gserver.clock cimport Patience
from gserver.http1.parser cimport RequestParser
from gserver.http1.protocol cimport Http1
from gserver.stream cimport Stream
from gserver.transport cimport Transport


# Names of gserver.fields, as C has them.
cdef int BODYLESS, CONTENT_LENGTH, DATE, SERVER, UPGRADE
cdef Py_ssize_t _GATHER


cdef class Http1Stream(Stream):
    cdef public bint keep_alive
    cdef public bint incomplete
    cdef Http1 _protocol
    cdef Transport _connection
    cdef RequestParser _parser
    cdef bint _http11
    cdef bint _ordinary
    cdef bint _chunked
    cdef bint _expects_continue
    cdef object _body
    cdef list _chunks
    cdef object _received
    cdef object _failure
    cdef Patience _patience
    cdef object _missing

    cpdef open(self, Http1 protocol, dict environ, RequestParser parser)
    @cython.locals(fields=list, length=Py_ssize_t)
    cpdef respond(self, bytes body)
    cpdef send_head(self, bytes data)
    cpdef send_data(self, bytes data)
    cpdef send_end(self)
    cpdef finished(self)
