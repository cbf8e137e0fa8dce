# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The engine on libnghttp2, the library behind curl, Apache httpd and Node.js.

A thin binding: nghttp2 calls back for what it finds in the client's bytes, and each callback does
no more than note it. The rules of RFC 9113 are nghttp2's to check. See `gserver.http2.engine` for
what the methods promise. libnghttp2 1.49 is the first with the priorities of RFC 9218.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from gserver.http2.libnghttp2 cimport *
from gserver.inplace cimport PyObject, as_string, finish, new_bytes

from gserver.http2.engine import ConnectionBroken, ErrorCode



cdef enum:
    # Frame types and flags (RFC 9113 6)
    DATA_FRAME = 0
    HEADERS_FRAME = 1
    PRIORITY_FRAME = 2
    RST_STREAM_FRAME = 3
    PING_FRAME = 6
    GOAWAY_FRAME = 7
    CONTINUATION_FRAME = 9
    FIRST_UNKNOWN_FRAME = 10
    PRIORITY_UPDATE_FRAME = 16
    END_STREAM = 1
    ACK = 1
    # nghttp2's names for what it returns and wants returned
    TEMPORAL_CALLBACK_FAILURE = -521
    DEFERRED = -508
    CANCEL = -535
    CALLBACK_FAILURE = -902
    FLOODED = -904
    TOO_MANY_CONTINUATIONS = -905
    DATA_FLAG_EOF = 1
    DATA_FLAG_NO_END_STREAM = 2
    NV_NO_INDEX = 1
    NV_NO_COPY = 6
    HCAT_REQUEST = 0
    # Settings (RFC 9113 6.5.2, RFC 9218 2.1)
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8
    NO_RFC7540_PRIORITIES = 9
    # Events, as `gserver.http2.engine` numbers them
    REQUEST_EVENT = 1
    DATA_EVENT = 2
    END_EVENT = 3
    RESET_EVENT = 4
    DRAINED_EVENT = 5
    PRIORITY_EVENT = 6
    PONG_EVENT = 7
    GOAWAY_EVENT = 8
    # Fields of one section that need no memory of their own on the way to nghttp2
    FEW_FIELDS = 32
    LONGEST_PRIORITY = 256
    REMEMBERED = 256
    LONGEST_REMEMBERED = 128
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FRAME_SIZE_ERROR = 6
    ENHANCE_YOUR_CALM = 11
    # Blocks below this are put together while they wait
    SMALL = 4096
    # The longest frame that pull() adds to what it has: a DATA frame of the default size
    FRAME_ROOM = 16384 + 9
    # Kinds of field sections that nghttp2 copies
    INFORMATIONAL = 0
    TRAILERS = 1
    PROMISE = 2

VERSION = nghttp2_version(0).version_str.decode("ascii")
"""The version of the library."""


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class _Stream:
    """One stream, as long as nghttp2 knows it."""

    cdef int32_t id
    cdef list fields  # of the section that is being received; None once it is too long
    cdef size_t list_size
    cdef object head  # the response's fields: nghttp2 points into them until the frame is made
    cdef bytes block  # what is being sent, from `offset`
    cdef Py_ssize_t offset
    cdef list blocks  # what comes behind it
    cdef Py_ssize_t unsent
    cdef list trailers
    cdef Py_ssize_t wanted  # so much content is to be given out together
    cdef bytes room  # where it goes; nobody else has seen it yet
    cdef Py_ssize_t filled
    cdef bint requested  # its REQUEST event was given out
    cdef bint remote_ended
    cdef bint local_ended  # END_STREAM was sent
    cdef bint ending  # nothing comes behind `blocks`
    cdef bint deferred  # nghttp2 waits for more content
    cdef bint tell  # a DRAINED event is wanted
    cdef bint discarded
    cdef bint forgotten  # no event follows
    cdef bint pushed


@cython.final
cdef class NghttpEngine:
    """See `gserver.http2.engine.Engine`.

    Args:
        settings: What the server announces, and bounds.
        charge: Is told of frames that move nothing forward.
    """

    cdef nghttp2_session *_session
    cdef readonly list events
    cdef readonly Py_ssize_t active
    cdef dict _streams
    cdef _Stream _receiving  # whose field section comes: nothing comes between its frames
    cdef object _charge
    cdef size_t _max_list
    cdef int _max_continuations
    cdef int _continuations
    cdef Py_ssize_t _pushed
    cdef int _broken  # the error code with which a callback wants the connection broken, or -1
    cdef int _sent_goaway  # the error code of a GOAWAY that was sent, or -1
    cdef bint _client_leaves
    cdef bytes _extension  # payload of a PRIORITY_UPDATE, as it comes
    cdef bytes _words  # made and not pulled yet

    def __cinit__(self, settings, charge):
        cdef nghttp2_option *option
        cdef int kind
        self._charge = charge
        self._broken = self._sent_goaway = -1
        self._max_list = settings.max_header_list_size
        self._max_continuations = settings.max_continuations
        self._words = self._extension = b""
        self._streams = {}
        self.events = []
        if nghttp2_option_new(&option):
            raise MemoryError
        nghttp2_option_set_no_auto_window_update(option, 1)
        # Closed streams are of use to the priorities of RFC 7540 only.
        nghttp2_option_set_no_closed_streams(option, 1)
        for kind in range(FIRST_UNKNOWN_FRAME, 256):
            # Else nghttp2 would not tell of them, and they could not be counted. PRIORITY_UPDATE is
            # among them: nghttp2 takes the stream of an early one for one that is open.
            nghttp2_option_set_user_recv_extension_type(option, kind)
        nghttp2_option_set_max_deflate_dynamic_table_size(option, settings.encoder_table_size)
        # One more than we allow: `_begin_frame` counts them as well.
        set_max_continuations(option, self._max_continuations + 1)
        failed = nghttp2_session_server_new2(&self._session, _callbacks, <void *>self, option)
        nghttp2_option_del(option)
        if failed:
            raise MemoryError
        self._announce(settings)

    def __dealloc__(self):
        if self._session is not NULL:
            nghttp2_session_del(self._session)

    def _announce(self, settings):
        cdef nghttp2_settings_entry[7] entries
        values = (
            (HEADER_TABLE_SIZE, settings.header_table_size),
            (MAX_CONCURRENT_STREAMS, settings.max_concurrent_streams),
            (INITIAL_WINDOW_SIZE, settings.initial_window_size),
            (MAX_FRAME_SIZE, settings.max_frame_size),
            (MAX_HEADER_LIST_SIZE, settings.max_header_list_size),
            (ENABLE_CONNECT_PROTOCOL, settings.connect_protocol),
            (NO_RFC7540_PRIORITIES, 1),
        )
        for i, (name, value) in enumerate(values):
            entries[i].settings_id = name
            entries[i].value = value
        _check(nghttp2_submit_settings(self._session, 0, entries, 7))
        _check(nghttp2_session_set_local_window_size(
            self._session, 0, 0, settings.connection_window_size))

    @property
    def can_push(self):
        cdef uint32_t most
        if self._client_leaves or self._sent_goaway >= 0:
            return False
        if not nghttp2_session_get_remote_settings(self._session, ENABLE_PUSH):
            return False
        most = nghttp2_session_get_remote_settings(self._session, MAX_CONCURRENT_STREAMS)
        return <uint32_t>self._pushed < most

    @property
    def last_stream(self):
        return nghttp2_session_get_last_proc_stream_id(self._session)

    # -- the client's bytes -------------------------------------------------------------------

    def receive(self, bytes data not None):
        cdef ssize_t taken = nghttp2_session_mem_recv(
            self._session, <const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        if self._broken < 0 and (taken == FLOODED or taken == TOO_MANY_CONTINUATIONS):
            self._broken = ENHANCE_YOUR_CALM
        if self._broken >= 0:
            nghttp2_session_terminate_session(self._session, self._broken)
            raise ConnectionBroken(
                self._broken,
                "too many frames, or too large a header section"
                if self._broken == ENHANCE_YOUR_CALM else "malformed frame")
        if taken < 0:
            nghttp2_session_terminate_session(self._session, ErrorCode.PROTOCOL_ERROR)
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, _reason(taken))
        if nghttp2_session_get_outbound_queue_size(self._session):
            self._answer()

    cdef int _answer(self) except -1:
        """Make the frames that nghttp2 has queued: a GOAWAY among them tells of an error."""
        cdef const uint8_t *frame
        cdef ssize_t length
        cdef list frames = [self._words]
        while nghttp2_session_get_outbound_queue_size(self._session):
            length = nghttp2_session_mem_send(self._session, &frame)
            if length <= 0:
                break
            frames.append(PyBytes_FromStringAndSize(<const char *>frame, length))
        self._words = b"".join(frames)
        if self._sent_goaway > NO_ERROR:
            raise ConnectionBroken(self._sent_goaway)
        return 0

    def upgrade(self, bytes settings not None, bint head):
        cdef _Stream stream = self._open(1)
        stream.requested = stream.remote_ended = True
        code = nghttp2_session_upgrade2(
            self._session, <const uint8_t *>PyBytes_AS_STRING(settings),
            PyBytes_GET_SIZE(settings), head, NULL)
        if code:
            nghttp2_session_terminate_session(self._session, ErrorCode.PROTOCOL_ERROR)
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "malformed HTTP2-Settings")
        self._answer()

    cdef _Stream _open(self, int32_t id):
        cdef _Stream stream = _Stream.__new__(_Stream)
        stream.id = id
        self._streams[id] = stream
        self.active += 1
        return stream

    # -- our bytes ----------------------------------------------------------------------------

    def pull(self, Py_ssize_t size):
        cdef const uint8_t *frame
        cdef ssize_t length
        cdef Py_ssize_t filled = 0
        cdef Py_ssize_t room
        cdef PyObject *output
        cdef object result
        cdef bytes words = self._words
        if words:
            self._words = b""
            return words + self.pull(size - len(words)) if len(words) < size else words
        length = nghttp2_session_mem_send(self._session, &frame)
        if length <= 0:
            return b""
        room = size + FRAME_ROOM
        if length > room:
            return PyBytes_FromStringAndSize(<const char *>frame, length)
        output = new_bytes(NULL, room)
        while length > 0:
            memcpy(as_string(output) + filled, frame, length)
            filled += length
            if filled >= size:
                break
            length = nghttp2_session_mem_send(self._session, &frame)
            if length > room - filled:
                # Larger than any DATA frame: a large header section.
                result = finish(output, filled)
                return result + PyBytes_FromStringAndSize(<const char *>frame, length)
        return finish(output, filled)

    def respond(self, int32_t id, list fields not None, bytes body not None):
        cdef _Stream stream = self._streams.get(id)
        if stream is None:
            return
        stream.head = fields
        if not body:
            self._submit(stream, fields, False)
            return
        stream.block = body
        stream.offset = 0
        stream.unsent = PyBytes_GET_SIZE(body)
        stream.ending = True
        self._submit(stream, fields, True)

    def send_head(self, int32_t id, list fields not None):
        cdef _Stream stream = self._streams.get(id)
        if stream is not None:
            stream.head = fields
            self._submit(stream, fields, True)

    cdef int _submit(self, _Stream stream, list fields, bint content) except -1:
        cdef nghttp2_nv[FEW_FIELDS] few
        cdef nghttp2_nv *nv = few
        cdef nghttp2_data_provider provider
        cdef Py_ssize_t count = len(fields)
        if count > FEW_FIELDS:
            nv = <nghttp2_nv *>malloc(count * sizeof(nghttp2_nv))
            if nv is NULL:
                raise MemoryError
        try:
            _fill(nv, fields, NV_NO_COPY)
            provider.source.ptr = <void *>stream
            provider.read_callback = _on_read
            _check(nghttp2_submit_response(
                self._session, stream.id, nv, count, &provider if content else NULL))
        finally:
            if nv is not few:
                free(nv)
        return 0

    def send_informational(self, int32_t id, list fields not None):
        if id in self._streams:
            self._submit_copied(id, fields, INFORMATIONAL)

    cdef int32_t _submit_copied(self, int32_t id, list fields, int kind) except -1:
        """Submit a field section that nghttp2 copies; return what it returns."""
        cdef Py_ssize_t count = len(fields)
        cdef int32_t result
        cdef _Stream stream
        cdef nghttp2_nv *nv = <nghttp2_nv *>malloc(count * sizeof(nghttp2_nv))
        if nv is NULL:
            raise MemoryError
        try:
            _fill(nv, fields, 0)
            if kind == INFORMATIONAL:
                result = nghttp2_submit_headers(self._session, 0, id, NULL, nv, count, NULL)
            elif kind == TRAILERS:
                result = nghttp2_submit_trailer(self._session, id, nv, count)
            else:
                result = nghttp2_submit_push_promise(self._session, 0, id, nv, count, NULL)
        finally:
            free(nv)
        return _check(result)

    def send_data(self, int32_t id, bytes data not None):
        cdef _Stream stream = self._streams.get(id)
        cdef Py_ssize_t last
        if stream is None:
            return
        stream.tell = True
        stream.unsent += PyBytes_GET_SIZE(data)
        if stream.block is None:
            stream.block = data
            stream.offset = 0
        elif not stream.blocks:
            stream.blocks = [data]
        else:
            last = len(stream.blocks) - 1
            if len(<bytes>stream.blocks[last]) < SMALL:
                stream.blocks[last] = stream.blocks[last] + data  # many small ones: many objects
            else:
                stream.blocks.append(data)
        self._resume(stream)

    def send_end(self, int32_t id, list trailers not None):
        cdef _Stream stream = self._streams.get(id)
        if stream is not None:
            stream.ending = True
            stream.trailers = trailers
            self._resume(stream)

    cdef int _resume(self, _Stream stream) except -1:
        if stream.deferred:
            stream.deferred = False
            nghttp2_session_resume_data(self._session, stream.id)
        return 0

    def unsent(self, int32_t id):
        cdef _Stream stream = self._streams.get(id)
        return 0 if stream is None else stream.unsent

    def reset(self, int32_t id, uint32_t code):
        cdef _Stream stream = self._streams.get(id)
        if stream is not None and not stream.forgotten:
            stream.forgotten = True
            _check(nghttp2_submit_rst_stream(self._session, 0, id, code))

    def discard(self, int32_t id):
        cdef _Stream stream = self._streams.get(id)
        if stream is not None and not stream.discarded:
            stream.discarded = True
            if stream.local_ended:
                self._stop_client(stream)

    cdef int _stop_client(self, _Stream stream) except -1:
        """Tell a client that still sends that the response is complete."""
        if not stream.remote_ended and not stream.forgotten:
            stream.forgotten = True
            _check(nghttp2_submit_rst_stream(self._session, 0, stream.id, NO_ERROR))
        return 0

    def gather(self, int32_t id, Py_ssize_t size):
        cdef _Stream stream = self._streams.get(id)
        if stream is not None and stream.room is None:
            stream.wanted = size

    def gathered(self, int32_t id):
        cdef _Stream stream = self._streams.get(id)
        return b"" if stream is None else _emptied(stream)

    def consume(self, int32_t id, size_t size):
        if id in self._streams:
            _check(nghttp2_session_consume_stream(self._session, id, size))

    def widen(self, int32_t id, int32_t size):
        cdef _Stream stream = self._streams.get(id)
        if stream is not None and not stream.remote_ended:
            _check(nghttp2_session_set_local_window_size(self._session, 0, id, size))

    def push(self, int32_t id, list fields not None):
        cdef int32_t promised = self._submit_copied(id, fields, PROMISE)
        cdef _Stream stream = self._open(promised)
        stream.requested = stream.remote_ended = stream.pushed = True
        self._pushed += 1
        return promised

    def prioritise(self, int32_t id, uint32_t urgency, bint incremental):
        cdef nghttp2_extpri priority
        priority.urgency = urgency
        priority.inc = incremental
        if id in self._streams:
            nghttp2_session_change_extpri_stream_priority(self._session, id, &priority, 1)

    def ping(self):
        _check(nghttp2_submit_ping(self._session, 0, NULL))

    def announce_shutdown(self):
        _check(nghttp2_submit_shutdown_notice(self._session))

    def go_away(self, uint32_t code):
        _check(nghttp2_submit_goaway(
            self._session, 0, nghttp2_session_get_last_proc_stream_id(self._session), code,
            NULL, 0))

    # -- what nghttp2 calls back for ----------------------------------------------------------

    cdef int _begin_frame(self, const nghttp2_frame_hd *frame) except -1:
        if frame.type == DATA_FRAME:
            # One that is nothing but padding shows only when it has come.
            if frame.length or frame.flags & END_STREAM:
                return 0
        elif frame.type == HEADERS_FRAME:
            self._continuations = 0
            if frame.stream_id > nghttp2_session_get_last_proc_stream_id(self._session):
                return 0
        elif frame.type == CONTINUATION_FRAME:
            self._continuations += 1
            if self._continuations > self._max_continuations:
                self._broken = ENHANCE_YOUR_CALM
            return 0
        elif frame.type == PRIORITY_FRAME and not frame.stream_id:
            self._broken = PROTOCOL_ERROR  # nghttp2 does not look at these frames
            return 0
        self._count(frame.type, frame.length)
        return 0

    cdef int _count(self, int kind, size_t length) except -1:
        if not self._charge(kind, length):
            self._broken = ENHANCE_YOUR_CALM
        return 0

    cdef int _begin_section(self, const nghttp2_frame *frame) except -1:
        cdef _Stream stream
        cdef nghttp2_extpri priority
        self._receiving = None
        if <int>frame.headers.cat == HCAT_REQUEST:
            stream = self._open(frame.hd.stream_id)
            # Where the client asks for no order its streams take turns: RFC 9218 would have the
            # first response go first, whole.
            priority.urgency = 3
            priority.inc = 1
            nghttp2_session_change_extpri_stream_priority(
                self._session, frame.hd.stream_id, &priority, 0)
        else:
            stream = self._streams.get(frame.hd.stream_id)
            if stream is None:
                return 0
        stream.fields = []
        stream.list_size = 0
        self._receiving = stream
        return 0

    cdef int _field(
        self, const uint8_t *name, size_t name_length, const uint8_t *value, size_t value_length
    ) except -1:
        cdef _Stream stream = self._receiving
        if stream is None:
            return 0
        stream.list_size += name_length + value_length + 32  # RFC 9113 6.5.2
        if stream.list_size <= self._max_list:
            stream.fields.append((
                _remembered(_names, name, name_length),
                _remembered(_values, value, value_length),
            ))
        else:
            stream.fields = None
            if stream.list_size > 4 * self._max_list:
                self._broken = ENHANCE_YOUR_CALM
        return 0

    cdef int _frame(self, const nghttp2_frame *frame) except -1:
        cdef int kind = frame.hd.type
        cdef _Stream stream
        if kind == HEADERS_FRAME:
            stream = self._receiving
            if stream is not None:
                self._receiving = None
                self._section(stream, frame.hd.flags & END_STREAM)
        elif kind == DATA_FRAME:
            if frame.hd.length == frame.data.padlen and not frame.hd.flags & END_STREAM:
                if frame.hd.length:
                    self._count(DATA_FRAME, 0)
            if frame.hd.flags & END_STREAM:
                stream = self._streams.get(frame.hd.stream_id)
                if stream is not None:
                    self._ended(stream, [])
        elif kind == PING_FRAME:
            if frame.hd.flags & ACK:
                self.events.append((PONG_EVENT, 0, None))
        elif kind == GOAWAY_FRAME:
            self._client_leaves = True
            self.events.append((GOAWAY_EVENT, 0, frame.goaway.error_code))
        elif kind == PRIORITY_UPDATE_FRAME:
            self._priority_update(&frame.hd)
        return 0

    cdef int _section(self, _Stream stream, bint ended) except -1:
        """Give out the request, or its trailers."""
        fields = stream.fields
        stream.fields = None
        if stream.requested:
            self._ended(stream, [] if fields is None else fields)
        else:
            stream.requested = True
            stream.remote_ended = ended
            self.events.append((REQUEST_EVENT, stream.id, (fields, ended)))
        return 0

    cdef int _ended(self, _Stream stream, list trailers) except -1:
        stream.remote_ended = True
        if not stream.discarded and not stream.forgotten:
            if stream.room is not None:
                self.events.append((DATA_EVENT, stream.id, _emptied(stream)))
            self.events.append((END_EVENT, stream.id, trailers))
        return 0

    cdef int _extend(self, const nghttp2_frame_hd *frame, const uint8_t *data, size_t length) except -1:
        """Keep the payload of a PRIORITY_UPDATE, as far as it is of a sensible length."""
        if frame.type == PRIORITY_UPDATE_FRAME:
            if PyBytes_GET_SIZE(self._extension) + <Py_ssize_t>length <= 4 + LONGEST_PRIORITY:
                self._extension += PyBytes_FromStringAndSize(<const char *>data, length)
        return 0

    cdef int _priority_update(self, const nghttp2_frame_hd *frame) except -1:
        cdef int32_t id = 0
        cdef bytes payload = self._extension
        self._extension = b""
        if frame.length < 4:
            self._broken = FRAME_SIZE_ERROR
            return 0
        id = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
        if frame.stream_id or not id or (
            # A stream that the client has yet to open may have one, an idle one of ours not.
            not id & 1 and <uint32_t>id >= nghttp2_session_get_next_stream_id(self._session)
        ):
            self._broken = PROTOCOL_ERROR
        elif id in self._streams and frame.length <= 4 + LONGEST_PRIORITY:
            self.events.append((PRIORITY_EVENT, id, payload[4:]))
        return 0

    cdef int _content(self, int32_t id, const uint8_t *data, size_t length) except -1:
        cdef _Stream stream = self._streams.get(id)
        cdef size_t part
        nghttp2_session_consume_connection(self._session, length)
        if stream is None or stream.discarded or stream.forgotten:
            return 0
        if stream.wanted:
            if stream.room is None:
                stream.room = PyBytes_FromStringAndSize(NULL, stream.wanted)
                stream.filled = 0
            part = min(length, <size_t>(stream.wanted - stream.filled))
            memcpy(PyBytes_AS_STRING(stream.room) + stream.filled, data, part)
            stream.filled += part
            if stream.filled < stream.wanted:
                return 0
            self.events.append((DATA_EVENT, id, _emptied(stream)))
            data += part
            length -= part
        if length:
            self.events.append(
                (DATA_EVENT, id, PyBytes_FromStringAndSize(<const char *>data, length)))
        return 0

    cdef int _sent(self, const nghttp2_frame *frame) except -1:
        cdef _Stream stream
        cdef int kind = frame.hd.type
        if kind == HEADERS_FRAME or kind == DATA_FRAME:
            if frame.hd.flags & END_STREAM:
                stream = self._streams.get(frame.hd.stream_id)
                if stream is not None:
                    stream.local_ended = True
                    if stream.discarded:
                        self._stop_client(stream)
        elif kind == RST_STREAM_FRAME:
            stream = self._streams.get(frame.hd.stream_id)
            if stream is None or not stream.forgotten:
                # nghttp2's own: the client broke a rule.
                self._count(RST_STREAM_FRAME, 4)
        elif kind == GOAWAY_FRAME:
            self._sent_goaway = frame.goaway.error_code
        return 0

    cdef int _closed(self, int32_t id, uint32_t code) except -1:
        cdef _Stream stream = self._streams.pop(id, None)
        if stream is None:
            return 0
        self.active -= 1
        self._pushed -= stream.pushed
        if self._receiving is stream:
            self._receiving = None
        if stream.requested and not stream.forgotten:
            if not (stream.remote_ended and stream.local_ended):
                self.events.append((RESET_EVENT, id, code))
        return 0

    cdef ssize_t _read(
        self, _Stream stream, uint8_t *buffer, size_t length, uint32_t *flags
    ) except -1:
        """Copy content of the response into a frame; say whether it was the last."""
        cdef Py_ssize_t filled = 0
        cdef Py_ssize_t part
        cdef Py_ssize_t room = length
        stream.head = None
        while stream.block is not None and filled < room:
            part = min(PyBytes_GET_SIZE(stream.block) - stream.offset, room - filled)
            memcpy(buffer + filled, PyBytes_AS_STRING(stream.block) + stream.offset, part)
            filled += part
            stream.offset += part
            if stream.offset == PyBytes_GET_SIZE(stream.block):
                stream.block = stream.blocks.pop(0) if stream.blocks else None
                stream.offset = 0
        stream.unsent -= filled
        if stream.block is not None:
            return filled
        if stream.tell:
            stream.tell = False
            self.events.append((DRAINED_EVENT, stream.id, None))
        if stream.ending:
            flags[0] |= DATA_FLAG_EOF
            if stream.trailers:
                flags[0] |= DATA_FLAG_NO_END_STREAM
                self._submit_copied(stream.id, stream.trailers, TRAILERS)
        elif not filled:
            stream.deferred = True
            return DEFERRED
        return filled


cdef bytes _emptied(_Stream stream):
    """Return what was gathered; nothing more is."""
    cdef bytes room = stream.room
    stream.wanted = 0
    stream.room = None
    if room is None:
        return b""
    return room if stream.filled == PyBytes_GET_SIZE(room) else room[:stream.filled]


# Names and short values come again and again: the one that came last with a certain length, first
# and last letter is likely to be it. Half the time that a new object takes, and its hash is known.
cdef list _names = [b""] * REMEMBERED
cdef list _values = [b""] * REMEMBERED


cdef bytes _remembered(list known, const uint8_t *text, size_t length):
    cdef bytes found
    cdef size_t slot
    if not length or length > LONGEST_REMEMBERED:
        return PyBytes_FromStringAndSize(<const char *>text, length)
    slot = (length * 31 + text[0] * 7 + text[length - 1] + text[length // 2] * 3) % REMEMBERED
    found = <bytes>PyList_GET_ITEM(known, slot)
    if PyBytes_GET_SIZE(found) == <Py_ssize_t>length:
        if not memcmp(PyBytes_AS_STRING(found), text, length):
            return found
    found = PyBytes_FromStringAndSize(<const char *>text, length)
    known[slot] = found
    return found


cdef int _fill(nghttp2_nv *nv, list fields, uint8_t flags) except -1:
    cdef Py_ssize_t i
    cdef tuple field
    cdef bytes name, value
    for i in range(len(fields)):
        field = fields[i]
        name = field[0]
        value = field[1]
        nv[i].name = <uint8_t *>PyBytes_AS_STRING(name)
        nv[i].namelen = PyBytes_GET_SIZE(name)
        nv[i].value = <uint8_t *>PyBytes_AS_STRING(value)
        nv[i].valuelen = PyBytes_GET_SIZE(value)
        nv[i].flags = flags | NV_NO_INDEX if field[2] else flags
    return 0


cdef int32_t _check(int32_t code) except -1:
    if code < 0:
        if code == -901:
            raise MemoryError
        raise RuntimeError(_reason(code))
    return code


cdef str _reason(int code):
    return nghttp2_strerror(code).decode("ascii")


# Exceptions cannot pass through C: a defect of ours breaks the connection, and is printed.
cdef int _on_begin_frame(
    nghttp2_session *session, const nghttp2_frame_hd *frame, void *engine
) noexcept:
    (<NghttpEngine>engine)._begin_frame(frame)
    return CALLBACK_FAILURE if (<NghttpEngine>engine)._broken >= 0 else 0


cdef int _on_begin_headers(
    nghttp2_session *session, const nghttp2_frame *frame, void *engine
) noexcept:
    (<NghttpEngine>engine)._begin_section(frame)
    return 0


cdef int _on_header(
    nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
    const uint8_t *value, size_t value_length, uint8_t flags, void *engine,
) noexcept:
    (<NghttpEngine>engine)._field(name, name_length, value, value_length)
    return CALLBACK_FAILURE if (<NghttpEngine>engine)._broken >= 0 else 0


cdef int _on_invalid_header(
    nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
    const uint8_t *value, size_t value_length, uint8_t flags, void *engine,
) noexcept:
    # Without this nghttp2 would leave the field out, and let the request pass.
    return TEMPORAL_CALLBACK_FAILURE


cdef int _on_frame(
    nghttp2_session *session, const nghttp2_frame *frame, void *engine
) noexcept:
    (<NghttpEngine>engine)._frame(frame)
    return CALLBACK_FAILURE if (<NghttpEngine>engine)._broken >= 0 else 0


cdef int _on_data(
    nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t length,
    void *engine,
) noexcept:
    (<NghttpEngine>engine)._content(id, data, length)
    return 0


cdef int _on_sent(
    nghttp2_session *session, const nghttp2_frame *frame, void *engine
) noexcept:
    (<NghttpEngine>engine)._sent(frame)
    return 0


cdef int _on_close(
    nghttp2_session *session, int32_t id, uint32_t code, void *engine
) noexcept:
    (<NghttpEngine>engine)._closed(id, code)
    return 0


cdef int _on_extension(
    nghttp2_session *session, const nghttp2_frame_hd *frame, const uint8_t *data, size_t length,
    void *engine,
) noexcept:
    (<NghttpEngine>engine)._extend(frame, data, length)
    return 0


cdef int _on_unpack(
    nghttp2_session *session, void **payload, const nghttp2_frame_hd *frame, void *engine
) noexcept:
    payload[0] = NULL
    # The others are to be ignored (RFC 9113 4.1).
    return 0 if frame.type == PRIORITY_UPDATE_FRAME else CANCEL


cdef ssize_t _on_read(
    nghttp2_session *session, int32_t id, uint8_t *buffer, size_t length, uint32_t *flags,
    nghttp2_data_source *source, void *engine,
) noexcept:
    return (<NghttpEngine>engine)._read(<_Stream>source.ptr, buffer, length, flags)


cdef nghttp2_session_callbacks *_callbacks = NULL
if nghttp2_session_callbacks_new(&_callbacks):
    raise MemoryError
nghttp2_session_callbacks_set_on_begin_frame_callback(_callbacks, _on_begin_frame)
nghttp2_session_callbacks_set_on_begin_headers_callback(_callbacks, _on_begin_headers)
nghttp2_session_callbacks_set_on_header_callback(_callbacks, _on_header)
nghttp2_session_callbacks_set_on_invalid_header_callback(_callbacks, _on_invalid_header)
nghttp2_session_callbacks_set_on_frame_recv_callback(_callbacks, _on_frame)
nghttp2_session_callbacks_set_on_data_chunk_recv_callback(_callbacks, _on_data)
nghttp2_session_callbacks_set_on_frame_send_callback(_callbacks, _on_sent)
nghttp2_session_callbacks_set_on_stream_close_callback(_callbacks, _on_close)
nghttp2_session_callbacks_set_on_extension_chunk_recv_callback(_callbacks, _on_extension)
nghttp2_session_callbacks_set_unpack_extension_callback(_callbacks, _on_unpack)
