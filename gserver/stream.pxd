# C types for stream.py, for when it is compiled; see docs/architecture.rst.

cdef class Closing:
    cdef list _things
    cdef bint _over

    cpdef finish(self)


cdef class Stream:
    cdef public dict environ
    cdef public object state
    cdef public object status
    cdef public object headers
    cdef public object length
    cdef public object sent
    cdef public list fields
    cdef public int kinds
    cdef readonly Closing closing
    cdef public bint head_request
    cdef object _fields_known

    cpdef begin(self, dict environ, object fields_known)
