# C types for exchange.py, for when it is compiled; see docs/architecture.rst.

cimport cython


@cython.final
cdef class Exchange:
    cdef readonly object stream
    cdef list things
    cdef object watcher

    cpdef finish(self)


@cython.final
cdef class EarlyHints:
    cdef Exchange exchange


@cython.final
cdef class SendTrailers:
    cdef Exchange exchange


@cython.final
cdef class AssociatedContent:
    cdef readonly Exchange exchange
