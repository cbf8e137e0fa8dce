# C types for stream.py, for when it is compiled; see docs/architecture.rst.

cimport cython

from gserver.fields cimport FieldCache
from gserver.exchange cimport AssociatedContent, EarlyHints, Exchange, SendTrailers
from gserver.websocket.offer cimport Offer


# Names of gserver.fields, as C has them.
cdef int BODYLESS, CONTENT_LENGTH
cdef dict STATUSES


cdef class Stream:
    cdef public dict environ
    cdef public object state
    cdef public object status
    cdef public object headers
    cdef public long long length
    cdef public long long sent
    cdef public list fields
    cdef public int kinds
    cdef readonly Exchange exchange
    cdef public bint head_request
    cdef public list trailers
    cdef public object never_indexed
    cdef readonly FieldCache fields_known
    cdef public Offer offer

    @cython.locals(
        exchange=Exchange, hints=EarlyHints, trailers=SendTrailers, content=AssociatedContent
    )
    cpdef begin(self, dict environ, FieldCache fields_known)
    @cython.locals(
        status_line=object, kinds=int, kind=int, known=dict, fields=list, entry=tuple
    )
    cdef _take_head(self, status, headers)
    cpdef write(self, data)
    @cython.locals(bodyless=bint)
    cdef _send_block(self, bytes data)
    cpdef bint bodyless(self)
    cpdef end(self)
    cpdef respond(self, bytes body)
    cpdef send_head(self, bytes data)
    cpdef send_data(self, bytes data)
    cpdef send_end(self)
    cpdef finished(self)
