# cython: language_level=3, binding=False
"""recv and send for non-blocking sockets, called as they are.

A socket object parses its arguments, gives up the GIL and takes it back, and makes room for as
much as might come: for a system call that never waits that is a twelfth of the instructions of a
small request over HTTP/1.1. The GIL is kept here; a packet holds it no longer than the kernel takes
to copy it.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EINTR, errno

from gserver.inplace cimport PyObject, Py_DECREF, as_string, finish, new_bytes

cdef extern from "<sys/socket.h>" nogil:
    Py_ssize_t c_recv "recv"(int descriptor, void *buffer, size_t size, int flags)
    Py_ssize_t c_send "send"(int descriptor, const void *data, size_t size, int flags)

# What is no longer than this is received here and copied: a small object is cheaper to make than
# a large one to shorten. The GIL keeps it for one call at a time.
cdef enum:
    SHARED = 32768
cdef char shared[SHARED]


cdef class Calls:
    """The system calls of one socket, which must be non-blocking and is somebody else's."""

    cdef int descriptor

    def __cinit__(self, sock):
        self.descriptor = sock.fileno()

    def recv(self, Py_ssize_t size):
        """Return at most `size` bytes, b"" at the end; raises as the method of a socket does."""
        cdef Py_ssize_t received
        cdef PyObject *room
        if 0 <= size <= SHARED:
            received = self.received(shared, size)
            return PyBytes_FromStringAndSize(shared, received)
        room = new_bytes(NULL, size)
        try:
            received = self.received(as_string(room), size)
        except:
            Py_DECREF(room)
            raise
        return finish(room, received)

    cdef Py_ssize_t received(self, char *buffer, Py_ssize_t size) except -1:
        cdef Py_ssize_t received = c_recv(self.descriptor, buffer, size, 0)
        while received < 0 and errno == EINTR:
            received = c_recv(self.descriptor, buffer, size, 0)
        if received < 0:
            PyErr_SetFromErrno(OSError)
        return received

    def send(self, data):
        """Return how many bytes of `data` were sent; raises as the method of a socket does."""
        cdef Py_buffer view
        cdef Py_ssize_t sent
        if type(data) is bytes:
            return self.sent(PyBytes_AS_STRING(data), len(<bytes> data))
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            return self.sent(view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    cdef Py_ssize_t sent(self, const void *data, Py_ssize_t size) except -1:
        cdef Py_ssize_t sent = c_send(self.descriptor, data, size, 0)
        while sent < 0 and errno == EINTR:
            sent = c_send(self.descriptor, data, size, 0)
        if sent < 0:
            PyErr_SetFromErrno(OSError)
        return sent

    def close(self):
        """Forget the socket before its descriptor becomes another's."""
        self.descriptor = -1
