# C types for blocking.py, for when it is compiled; see docs/architecture.rst.

cimport cython

from gserver.websocket.session cimport Session

cdef object _switch
cdef Py_ssize_t HIGH_WATER, OVERHEAD, _STREAK


cdef class WebSocket(Session):
    cdef dict __dict__
    cdef object __weakref__

    @cython.locals(messages=list)
    cpdef receive(self, object timeout=*)
    cpdef send(self, object message)
    cdef _send(self, bytes frame)
    cdef _await(self, object come, object timeout)
