# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Masking (RFC 6455 5.3), eight bytes at a time."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcpy


def unmask(bytes data not None, Py_ssize_t start, Py_ssize_t end, bytes key not None):
    """Return ``data[start:end]`` without its mask, whose four bytes are `key`."""
    cdef const char *source
    cdef char *target
    cdef uint64_t mask
    cdef uint64_t word
    cdef Py_ssize_t size = end - start
    cdef Py_ssize_t at = 0
    cdef const char *four = PyBytes_AS_STRING(key)
    if PyBytes_GET_SIZE(key) != 4 or start < 0 or size < 0 or end > PyBytes_GET_SIZE(data):
        raise ValueError("out of range")
    result = PyBytes_FromStringAndSize(NULL, size)
    source = PyBytes_AS_STRING(data) + start
    target = PyBytes_AS_STRING(result)
    memcpy(&mask, four, 4)
    memcpy(<char *>&mask + 4, four, 4)
    while at + 8 <= size:
        memcpy(&word, source + at, 8)
        word ^= mask
        memcpy(target + at, &word, 8)
        at += 8
    while at < size:
        target[at] = source[at] ^ four[at & 3]
        at += 1
    return result
