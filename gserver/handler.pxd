# C types for handler.py, for when it is compiled; see docs/architecture.rst.

cimport cython

from gserver.stream cimport Stream


cdef object _switch
cdef int _TOGETHER

cdef tuple _triple(object response)
cdef _send(Stream stream, object body)
cdef _send_blocks(Stream stream, object body)


cdef class Handler:
    cdef object _application
    cdef bint _lite
    cdef object _hub
    cdef object _clock
    cdef double _request_timeout
    cdef list _waiting
    cdef bint _scheduled
    cdef list _parked
    cdef set _greenlets
    cdef public object run
    cdef object _own_run

    cpdef dispatch(self, Stream stream)
    @cython.locals(parked=list, stream=Stream, wrapped=bint)
    cpdef _work(self)
    cpdef _serve(self)
    cdef _park(self)
    @cython.locals(body=object)
    cpdef _run(self, Stream stream)
