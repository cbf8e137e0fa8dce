# C types for parser.py, for when it is compiled; see docs/architecture.rst.

cimport cython

from gserver.request cimport Limits

cdef int _SPACE
cdef int _CR
cdef dict _METHODS
cdef dict _NAMES
cdef int _SLASH
cdef set _GOOD_HOSTS
cdef dict _GOOD_PATHS


cdef class RequestParser:
    cdef Limits _limits
    cdef dict _template
    cdef Py_ssize_t _most_keys
    cdef object _parser
    cdef dict _environ
    cdef bytes _target
    cdef bytes _data
    cdef bytes _head
    cdef bytes _tail
    cdef Py_ssize_t _extra
    cdef bint _suspect
    cdef Py_ssize_t _overhead
    cdef public list trailers
    cdef public dict request
    cdef public object length
    cdef public bint keep_alive
    cdef public bint http11
    cdef public list chunks
    cdef public bint complete
    cdef public bytes unused
    cdef public bint upgrade

    @cython.locals(key=str, environ=dict, text=str)
    cpdef on_header(self, bytes name, bytes value)
    @cython.locals(environ=dict, target=bytes, method=str, path=str, size=Py_ssize_t)
    cpdef on_headers_complete(self)
    cpdef on_message_begin(self)
    cpdef on_url(self, bytes target)
    cpdef feed(self, bytes data)
    cpdef next(self)
