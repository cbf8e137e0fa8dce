# C types for frames.py, for when it is compiled; see docs/architecture.rst.

cimport cython


cdef class FrameReader:
    cdef Py_ssize_t _limit
    cdef object _deflate
    cdef bytes _data
    cdef Py_ssize_t _at
    cdef bint _between
    cdef Py_ssize_t _left
    cdef int _first
    cdef bytes _key
    cdef bytes _control
    cdef bint _begun
    cdef object _messages

    cpdef feed(self, bytes data)
    @cython.locals(
        data=bytes, at=Py_ssize_t, size=Py_ssize_t, first=int, second=int, length=Py_ssize_t,
        start=Py_ssize_t, end=Py_ssize_t
    )
    cpdef next(self)


cdef class FrameWriter:
    cdef object _deflate

    cpdef bytes message(self, object message)


cpdef bytes encode_message(object message)
cdef tuple _payload(object message)
@cython.locals(size=Py_ssize_t)
cdef bytes _frame(int first, bytes payload)
