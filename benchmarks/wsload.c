/* A load generator for WebSockets; wsload.py builds and drives it.
 *
 *     wsload MODE --port PORT [--path PATH] [--connections N] [--size BYTES] [--binary]
 *                 [--limit COUNT]
 *
 * It opens N connections to 127.0.0.1 and prints {"open": N}. Then each line of its input is a
 * number of seconds to make load for, and is answered with a line of JSON: what was counted, the
 * seconds that it took, and the latencies. At the end of the input it closes the connections with
 * the closing handshake. By hand: echo 3 | wsload echo --port 8000 --path /echo
 *
 *     echo       each connection has one message under way; it has to come back as it was
 *     connect    nothing is open before; a connection is opened, has one message echoed and is
 *                closed, and then the next, N at a time
 *     idle       nothing but pings is answered
 *     broadcast  the first connection sends a message, and all have to receive it; then the next
 *
 * A run also ends after COUNT messages, connections or rounds. Whatever the server does wrong ends
 * the program with status 1 and a line on standard error.
 *
 * One thread, epoll and the C library. The benchmarks run on Linux, and so does this: it is not
 * meant to build elsewhere.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)

/* What each wait and each buffer is bounded by. */
#define STALL (10 * SECOND)   /* that nothing comes although something has to */
#define GRACE (60 * SECOND)   /* that a run takes longer than it was told */
#define HOLD (600 * SECOND)   /* that no line comes */
#define MAX_SECONDS 600
#define MAX_CONNECTIONS 20000
#define MAX_SIZE (16u << 20)
#define MAX_BYTES (1u << 30)  /* of one message on each connection */
#define MAX_COUNT 100000000
#define MAX_CYCLES 20000      /* connections of a run, unless told otherwise: fewer than ports */

#define BATCH 250             /* handshakes at a time: fewer than any server's backlog */
#define EVENTS 512
#define RECEIVE (1 << 18)
#define HEAD 2048

/* The key of the example in RFC 6455 and the answer to it, so that no SHA-1 is needed here. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
enum mode { ECHO, CONNECT, IDLE, BROADCAST };
enum state { CONNECTING, HANDSHAKE, OPEN, CLOSING, ENDING };

struct connection {
    int fd;
    enum state state;
    uint32_t interest;

    unsigned char *out; /* what is to be sent, from sent to end */
    size_t sent, end, room;

    char reply[HEAD]; /* the response to the handshake, as far as it has come */
    size_t reply_size;

    unsigned char header[10]; /* of the frame that is coming */
    unsigned header_size;
    bool in_frame;
    bool last_frame;
    unsigned opcode;
    uint64_t left; /* of its content */
    unsigned char control[125];
    size_t control_size;

    unsigned message_opcode; /* 0 between two messages */
    size_t message_size;

    bool asked;     /* a message is under way */
    bool greeted;   /* the first came back */
    uint64_t heard; /* the last round of which the message came */
    uint64_t since; /* when the message went, or the connection was begun */
};

static const char *const MODES[] = {"echo", "connect", "idle", "broadcast"};
static enum mode mode;
static unsigned port;
static const char *path = "/";
static unsigned total = 1;
static size_t size = 32;
static unsigned opcode = TEXT;
static uint64_t limit;

static char request[1024];
static unsigned char *payload;
static struct connection *connections;
static unsigned char incoming[RECEIVE];
static int poller;
static bool has_input;
static uint64_t last_news;

static uint64_t begun, opened, ended; /* connections */
static uint64_t rounds;
static bool closing;

static struct {
    uint64_t until;     /* when no more is begun */
    uint64_t count;     /* what was done */
    uint64_t under_way; /* what has yet to come */
    uint64_t begun;
} run;

/* Latencies in nanoseconds: 32 buckets for each power of two, so a figure is off by 2 % at most. */
static uint64_t buckets[64 * 32];
static uint64_t longest;

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("wsload: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static uint32_t random_key(void)
{
    static uint64_t state;
    while (!state)
        if (getrandom(&state, sizeof state, 0) < 0)
            fail("no random numbers: %s", strerror(errno));
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static void record(uint64_t latency)
{
    unsigned index = (unsigned)latency;
    if (latency >= 64) {
        unsigned power = 63 - (unsigned)__builtin_clzll(latency);
        index = power * 32 + (unsigned)(latency >> (power - 5) & 31);
    }
    buckets[index]++;
    if (latency > longest)
        longest = latency;
}

static double percentile(double part)
{
    uint64_t all = 0, seen = 0;
    for (size_t i = 0; i < sizeof buckets / sizeof *buckets; i++)
        all += buckets[i];
    for (size_t i = 0; i < sizeof buckets / sizeof *buckets; i++) {
        seen += buckets[i];
        if (seen && (double)seen >= part * (double)all) {
            double power = (double)(UINT64_C(1) << i / 32), most = (double)longest;
            double middle = i < 64 ? (double)i : power * (1 + ((double)(i % 32) + 0.5) / 32);
            return middle < most ? middle : most;
        }
    }
    return 0;
}

/* -- sending ------------------------------------------------------------------------------- */

static void want(struct connection *c, uint32_t interest)
{
    struct epoll_event event = {.events = interest, .data.ptr = c};
    if (interest == c->interest)
        return;
    if (epoll_ctl(poller, c->interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
    c->interest = interest;
}

static void flush(struct connection *c)
{
    while (c->sent < c->end) {
        ssize_t sent = send(c->fd, c->out + c->sent, c->end - c->sent, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN)
                break;
            fail("a connection broke: %s", strerror(errno));
        }
        c->sent += (size_t)sent;
    }
    want(c, c->sent < c->end ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* Return where so many bytes can be put that are to be sent next. */
static unsigned char *reserve(struct connection *c, size_t bytes)
{
    if (c->sent == c->end)
        c->sent = c->end = 0;
    if (c->room - c->end < bytes) {
        /* Only pongs can pile up: the server pings and does not read. */
        if (c->end > MAX_SIZE + (1 << 16))
            fail("the server sends but does not read");
        c->room = c->end + bytes + 256;
        c->out = realloc(c->out, c->room);
        if (!c->out)
            fail("out of memory");
    }
    return c->out + c->end;
}

static void mask(unsigned char *to, const unsigned char *from, size_t bytes, uint32_t key)
{
    uint64_t wide = (uint64_t)key << 32 | key;
    unsigned char narrow[4];
    memcpy(narrow, &key, 4);
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word;
        memcpy(&word, from + i, 8);
        word ^= wide;
        memcpy(to + i, &word, 8);
    }
    for (; i < bytes; i++)
        to[i] = from[i] ^ narrow[i & 3];
}

static void send_frame(struct connection *c, unsigned kind, const unsigned char *data, size_t bytes)
{
    unsigned char *to = reserve(c, bytes + 14), *start = to;
    uint32_t key = random_key();
    *to++ = (unsigned char)(0x80 | kind);
    if (bytes < 126) {
        *to++ = (unsigned char)(0x80 | bytes);
    } else if (bytes < 1 << 16) {
        *to++ = 0x80 | 126;
        *to++ = (unsigned char)(bytes >> 8);
        *to++ = (unsigned char)bytes;
    } else {
        *to++ = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            *to++ = (unsigned char)((uint64_t)bytes >> shift);
    }
    memcpy(to, &key, 4);
    mask(to + 4, data, bytes, key);
    c->end += (size_t)(to + 4 - start) + bytes;
    flush(c);
}

static void send_message(struct connection *c)
{
    c->asked = true;
    c->since = now();
    send_frame(c, opcode, payload, size);
}

static void send_close(struct connection *c)
{
    static const unsigned char normal[] = {1000 >> 8, 1000 & 0xFF};
    c->state = CLOSING;
    send_frame(c, CLOSE, normal, sizeof normal);
}

/* -- what happens -------------------------------------------------------------------------- */

static void begin(struct connection *c);

static void count_opened(void)
{
    opened++;
    if (begun < total)
        begin(&connections[begun++]);
}

static void on_handshake(struct connection *c)
{
    c->state = OPEN;
    if (mode == BROADCAST) {
        count_opened();
    } else {
        /* The time of a connection began before. */
        uint64_t since = c->since;
        send_message(c);
        if (mode == CONNECT)
            c->since = since;
    }
}

static void on_message(struct connection *c)
{
    if (mode == BROADCAST) {
        if (c->heard == rounds)
            fail("a message came that was not sent");
        c->heard = rounds;
        run.under_way--;
        run.count++;
        record(now() - connections->since);
        return;
    }
    if (!c->asked)
        fail("a message came that was not sent");
    c->asked = false;
    if (mode == CONNECT) {
        send_close(c);
    } else if (!c->greeted) {
        c->greeted = true;
        count_opened();
    } else {
        uint64_t time = now();
        record(time - c->since);
        run.count++;
        run.under_way--;
        if (time < run.until && run.begun < limit) {
            run.begun++;
            run.under_way++;
            send_message(c);
        }
    }
}

static void on_end(struct connection *c)
{
    close(c->fd);
    c->interest = 0;
    if (closing) {
        ended++;
        return;
    }
    uint64_t time = now();
    record(time - c->since);
    run.count++;
    run.under_way--;
    if (time < run.until && run.begun < limit) {
        run.begun++;
        run.under_way++;
        begin(c);
    }
}

/* -- receiving ----------------------------------------------------------------------------- */

static bool has_token(const char *value, const char *token)
{
    size_t length = strlen(token);
    for (const char *at = value; (at = strcasestr(at, token)); at += length)
        if ((at == value || strchr(" \t,", at[-1])) && (!at[length] || strchr(" \t,", at[length])))
            return true;
    return false;
}

static void check_reply(char *reply)
{
    bool upgrade = false, connection = false, accepted = false;
    char *rest, *line = strtok_r(reply, "\r\n", &rest);
    if (!line || strncmp(line, "HTTP/1.1 101", 12) != 0)
        fail("the handshake was answered with: %s", line ? line : "nothing");
    while ((line = strtok_r(NULL, "\r\n", &rest))) {
        char *value = strchr(line, ':');
        if (!value)
            fail("the handshake was answered with a field without a colon: %s", line);
        *value++ = 0;
        value += strspn(value, " \t");
        for (size_t end = strlen(value); end && isspace((unsigned char)value[end - 1]);)
            value[--end] = 0;
        if (strcasecmp(line, "upgrade") == 0)
            upgrade = strcasecmp(value, "websocket") == 0;
        else if (strcasecmp(line, "connection") == 0)
            connection = has_token(value, "upgrade");
        else if (strcasecmp(line, "sec-websocket-accept") == 0)
            accepted = strcmp(value, ACCEPT) == 0;
        else if (strncasecmp(line, "sec-websocket-", 14) == 0)
            fail("the handshake was answered with what was not offered: %s: %s", line, value);
    }
    if (!upgrade || !connection || !accepted)
        fail("the handshake was answered without a right %s",
             !upgrade ? "Upgrade" : !connection ? "Connection" : "Sec-WebSocket-Accept");
}

/* Return how much of the data belongs to the response. */
static size_t take_reply(struct connection *c, const unsigned char *data, size_t bytes)
{
    size_t before = c->reply_size;
    size_t room = HEAD - 1 - before;
    size_t taken = bytes < room ? bytes : room;
    memcpy(c->reply + before, data, taken);
    c->reply_size += taken;
    char *end = memmem(c->reply, c->reply_size, "\r\n\r\n", 4);
    if (!end) {
        if (c->reply_size == HEAD - 1)
            fail("the handshake was answered with more than %d bytes", HEAD);
        return taken;
    }
    *end = 0;
    taken = (size_t)(end + 4 - c->reply) - before;
    check_reply(c->reply);
    on_handshake(c);
    return taken;
}

static void on_control(struct connection *c)
{
    if (c->opcode == PING) {
        if (c->state == OPEN)
            send_frame(c, PONG, c->control, c->control_size);
    } else if (c->opcode == CLOSE) {
        unsigned code = 1005;
        if (c->control_size >= 2)
            code = (unsigned)c->control[0] << 8 | c->control[1];
        /* Without a code answers it well enough: gevent-websocket drops the code. */
        if (c->state != CLOSING || (code != 1000 && code != 1005))
            fail("the server closed with code %u", code);
        c->state = ENDING;
    }
}

static void on_frame(struct connection *c)
{
    c->in_frame = false;
    c->header_size = 0;
    if (c->opcode >= CLOSE) {
        on_control(c);
        return;
    }
    if (!c->last_frame)
        return;
    if (c->message_opcode != opcode || c->message_size != size)
        fail("a message came with opcode %u and %zu bytes instead of %u and %zu",
             c->message_opcode, c->message_size, opcode, size);
    c->message_opcode = 0;
    on_message(c);
}

/* Begin a frame whose header has come, or return false as long as it has not. */
static bool take_header(struct connection *c)
{
    const unsigned char *header = c->header;
    unsigned length = c->header_size > 1 ? header[1] & 0x7F : 0;
    unsigned whole = length < 126 ? 2 : length == 126 ? 4 : 10;
    if (c->header_size < whole)
        return false;
    c->last_frame = header[0] & 0x80;
    c->opcode = header[0] & 0x0F;
    c->left = length;
    if (whole > 2)
        c->left = 0;
    for (unsigned i = 2; i < whole; i++)
        c->left = c->left << 8 | header[i];
    bool control = c->opcode >= CLOSE;
    bool follows = c->opcode == CONTINUATION;
    if (header[0] & 0x70 || header[1] & 0x80 || c->opcode > PONG ||
        (c->opcode > BINARY && !control) || (control && (!c->last_frame || length > 125)) ||
        (!control && follows != (c->message_opcode != 0)))
        fail("a frame came that must not: %02x %02x", header[0], header[1]);
    if (c->opcode == TEXT || c->opcode == BINARY) {
        c->message_opcode = c->opcode;
        c->message_size = 0;
    }
    if (!control && c->left > size - c->message_size)
        fail("a message came that is longer than the one sent");
    c->control_size = 0;
    c->in_frame = true;
    return true;
}

static size_t take_content(struct connection *c, const unsigned char *data, size_t bytes)
{
    size_t taken = bytes < c->left ? bytes : (size_t)c->left;
    if (c->opcode >= CLOSE) {
        memcpy(c->control + c->control_size, data, taken);
        c->control_size += taken;
    } else {
        if (memcmp(payload + c->message_size, data, taken) != 0)
            fail("a message came that differs from the one sent");
        c->message_size += taken;
    }
    c->left -= taken;
    return taken;
}

static void take(struct connection *c, const unsigned char *data, size_t bytes)
{
    while (bytes) {
        size_t taken = 1;
        if (c->state == HANDSHAKE) {
            taken = take_reply(c, data, bytes);
        } else if (c->state == ENDING) {
            fail("%zu bytes came after the close", bytes);
        } else if (c->in_frame) {
            taken = take_content(c, data, bytes);
        } else {
            c->header[c->header_size++] = *data;
            take_header(c);
        }
        data += taken;
        bytes -= taken;
        if (c->in_frame && !c->left)
            on_frame(c);
    }
}

static void receive(struct connection *c)
{
    static const char *const WHEN[] = {
        [CONNECTING] = "while connecting",
        [HANDSHAKE] = "within the handshake",
        [OPEN] = "without a closing handshake",
        [CLOSING] = "instead of answering the close",
        [ENDING] = "after the close",
    };
    ssize_t received = recv(c->fd, incoming, sizeof incoming, 0);
    if (received > 0)
        take(c, incoming, (size_t)received);
    else if (received < 0 && errno == EAGAIN)
        return;
    else if (c->state == ENDING && (!received || errno == ECONNRESET))
        on_end(c);
    else
        fail("the server %s a connection %s", received ? "reset" : "ended", WHEN[c->state]);
}

/* -- connections --------------------------------------------------------------------------- */

static void on_connected(struct connection *c)
{
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error)
        fail("no connection: %s", strerror(error));
    c->state = HANDSHAKE;
    size_t bytes = strlen(request);
    memcpy(reserve(c, bytes), request, bytes);
    c->end += bytes;
    flush(c);
}

static void begin(struct connection *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    /* Closing resets what the server has ended already: no TIME-WAIT that would use up ports. */
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    int on = 1;
    unsigned char *out = c->out;
    size_t room = c->room;
    memset(c, 0, sizeof *c);
    c->out = out;
    c->room = room;
    c->since = now();
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("no socket: %s", strerror(errno));
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        fail("no connection: %s", strerror(errno));
    c->state = CONNECTING;
    want(c, EPOLLOUT);
}

static void turn(void)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(poller, events, EVENTS, 100);
    if (count < 0 && errno != EINTR)
        fail("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        if (!c) {
            has_input = true;
            continue;
        }
        last_news = now();
        if (c->state == CONNECTING) {
            on_connected(c);
        } else {
            if (events[i].events & EPOLLOUT)
                flush(c);
            if (events[i].events & ~(uint32_t)EPOLLOUT)
                receive(c);
        }
    }
}

/* Wait until a counter has come to a value. */
static void wait_for(const char *what, const uint64_t *counter, uint64_t value, uint64_t until)
{
    last_news = now();
    while (*counter != value) {
        turn();
        uint64_t time = now();
        if (time > last_news + STALL || time > until)
            fail("gave up waiting for %s: %" PRIu64 " instead of %" PRIu64, what, *counter, value);
    }
}

static void open_all(void)
{
    while (begun < total && begun < BATCH)
        begin(&connections[begun++]);
    wait_for("open connections", &opened, total, now() + GRACE);
}

static void close_all(void)
{
    closing = true;
    for (unsigned i = 0; i < total; i++)
        send_close(&connections[i]);
    wait_for("the ends of connections", &ended, total, now() + GRACE);
}

/* -- runs ---------------------------------------------------------------------------------- */

static void run_rounds(void)
{
    do {
        run.begun++;
        rounds++;
        run.under_way = total;
        send_message(connections);
        wait_for("missing deliveries", &run.under_way, 0, run.until + GRACE);
    } while (now() < run.until && run.begun < limit);
}

static void run_side_by_side(void)
{
    run.begun = run.under_way = total < limit ? total : limit;
    for (uint64_t i = 0, first = run.begun; i < first; i++) {
        if (mode == CONNECT)
            begin(&connections[i]);
        else
            send_message(&connections[i]);
    }
    wait_for("what is under way", &run.under_way, 0, run.until + GRACE);
}

static void make_load(double seconds)
{
    uint64_t start = now();
    memset(buckets, 0, sizeof buckets);
    longest = 0;
    memset(&run, 0, sizeof run);
    run.until = start + (uint64_t)(seconds * SECOND);
    if (mode == BROADCAST)
        run_rounds();
    else
        run_side_by_side();
    printf("{\"count\": %" PRIu64 ", \"seconds\": %.6f, \"latency_us\": {\"p50\": %.1f, "
           "\"p90\": %.1f, \"p99\": %.1f, \"max\": %.1f}}\n",
           run.count, (double)(now() - start) / SECOND, percentile(0.5) / 1e3,
           percentile(0.9) / 1e3, percentile(0.99) / 1e3, (double)longest / 1e3);
    fflush(stdout);
}

/* Return whether another line came; meanwhile the server's pings are answered. */
static bool read_line(char *line, size_t room)
{
    static char input[256];
    static size_t have;
    struct epoll_event event = {.events = EPOLLIN};
    uint64_t until = now() + HOLD;
    char *end;
    while (!(end = memchr(input, '\n', have))) {
        if (have == sizeof input)
            fail("a line is too long");
        if (epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0)
            fail("cannot wait for input: %s", strerror(errno));
        for (has_input = false; !has_input; turn())
            if (now() > until)
                fail("no line came for %d s", (int)(HOLD / SECOND));
        epoll_ctl(poller, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
        ssize_t got = read(STDIN_FILENO, input + have, sizeof input - have);
        if (got < 0)
            fail("cannot read input: %s", strerror(errno));
        if (!got)
            return false;
        have += (size_t)got;
    }
    *end = 0;
    snprintf(line, room, "%s", input);
    have -= (size_t)(end + 1 - input);
    memmove(input, end + 1, have);
    return true;
}

static uint64_t number(const char *name, const char *text, uint64_t low, uint64_t high)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end || value < low || value > high)
        fail("%s must be from %" PRIu64 " to %" PRIu64 ": %s", name, low, high, text);
    return value;
}

static void parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},
        {"path", required_argument, NULL, 'u'},
        {"connections", required_argument, NULL, 'c'},
        {"size", required_argument, NULL, 's'},
        {"binary", no_argument, NULL, 'b'},
        {"limit", required_argument, NULL, 'l'},
        {NULL, 0, NULL, 0},
    };
    bool known = false;
    for (unsigned i = 0; argc > 1 && i < sizeof MODES / sizeof *MODES; i++)
        if (strcmp(argv[1], MODES[i]) == 0) {
            mode = (enum mode)i;
            known = true;
        }
    int option;
    while (known && (option = getopt_long(argc - 1, argv + 1, "", options, NULL)) != -1) {
        switch (option) {
        case 'p': port = (unsigned)number("port", optarg, 1, 65535); break;
        case 'u': path = optarg; break;
        case 'c': total = (unsigned)number("connections", optarg, 1, MAX_CONNECTIONS); break;
        case 's': size = number("size", optarg, 0, MAX_SIZE); break;
        case 'b': opcode = BINARY; break;
        case 'l': limit = number("limit", optarg, 1, MAX_COUNT); break;
        default: known = false;
        }
    }
    if (!known || !port || optind + 1 != argc)
        fail("usage: wsload echo|connect|idle|broadcast --port PORT [--path PATH] "
             "[--connections N] [--size BYTES] [--binary] [--limit COUNT]");
    if ((uint64_t)total * size > MAX_BYTES)
        fail("too much at once: %u connections with messages of %zu bytes", total, size);
    if (!limit)
        limit = mode == CONNECT ? MAX_CYCLES : MAX_COUNT;
}

static void prepare(void)
{
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Key: " KEY "\r\n"
                          "Sec-WebSocket-Version: 13\r\n\r\n",
                          path, port);
    if (length >= (int)sizeof request)
        fail("the path is too long");
    payload = malloc(size + 1);
    connections = calloc(total, sizeof *connections);
    if (!payload || !connections)
        fail("out of memory");
    for (size_t i = 0; i < size; i++)
        payload[i] = (unsigned char)('a' + (i * 7 + i / 26) % 26);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0)
        fail("epoll_create1: %s", strerror(errno));
}

int main(int argc, char **argv)
{
    char line[256];
    parse(argc, argv);
    prepare();
    if (mode != CONNECT)
        open_all();
    printf("{\"open\": %" PRIu64 "}\n", opened);
    fflush(stdout);
    while (read_line(line, sizeof line)) {
        char *end;
        double seconds = strtod(line, &end);
        if (end == line || *end || !(seconds > 0 && seconds <= MAX_SECONDS))
            fail("not a number of seconds up to %d: %s", MAX_SECONDS, line);
        if (mode == IDLE)
            fail("there is no load to make in this mode");
        make_load(seconds);
    }
    if (mode != CONNECT)
        close_all();
    return 0;
}
