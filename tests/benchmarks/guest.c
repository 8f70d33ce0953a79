/* The function of the benchmarks: an echo that costs as little as an echo can, so that what is measured is the caller.
 *
 * FN_FORMAT=http: one HTTP/1.1 request after another on stdin, each with a Content-Length, each body sent back once it
 * is there. The path asks for something else: /take answers with no body, /give?N with N bytes, /wait?N echoes after
 * N microseconds, /exit ends without an answer. FN_FORMAT=json: one line after another, each "body" sent back.
 * Otherwise: stdin to its end, sent back once. Any surprise ends it with a status of its own.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/uio.h>
#include <unistd.h>

static char *in;
static size_t room = 1 << 16;

static void send_two(const char *head, size_t size, const char *body, size_t length) {
    struct iovec parts[2] = {{(void *)head, size}, {(void *)body, length}};
    while (parts[0].iov_len + parts[1].iov_len > 0) {
        ssize_t sent = writev(1, parts, 2);
        if (sent <= 0)
            _exit(2);
        for (int i = 0; i < 2; i++) {
            size_t part = (size_t)sent < parts[i].iov_len ? (size_t)sent : parts[i].iov_len;
            parts[i].iov_base = (char *)parts[i].iov_base + part;
            parts[i].iov_len -= part;
            sent -= (ssize_t)part;
        }
    }
}

static void grow(size_t wanted) {
    while (room < wanted)
        room *= 2;
    in = realloc(in, room + 1);
    if (in == NULL)
        _exit(5);
}

static size_t more(size_t held) {
    if (held == room)
        grow(2 * room);
    ssize_t got = read(0, in + held, room - held);
    if (got < 0)
        _exit(3);
    if (got == 0)
        _exit(held ? 4 : 0);
    in[held + (size_t)got] = '\0';
    return held + (size_t)got;
}

static size_t length_of_body(void) {
    const char *line = strcasestr(in, "\r\ncontent-length:");
    return line ? strtoul(line + 17, NULL, 10) : 0;
}

static void answer_http(size_t head, size_t body) {
    static char *given;
    char line[128], what = strncmp(in, "POST /", 6) == 0 ? in[6] : ' ';
    const char *from = in + head, *asked = memchr(in, '?', head);
    size_t number = asked ? strtoul(asked + 1, NULL, 10) : 0;
    if (what == 'e')
        _exit(7);
    if (what == 'w')
        usleep((useconds_t)number);
    if (what == 't')
        body = 0;
    if (what == 'g') {
        if (given == NULL && (given = malloc(number)) != NULL) /* always as many */
            memset(given, 'x', number);
        from = given, body = number;
    }
    int start = sprintf(line, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", body);
    send_two(line, (size_t)start, from, body);
}

static void serve_http(void) {
    size_t held = 0;
    for (;;) {
        char *end;
        while (held == 0 || (end = strstr(in, "\r\n\r\n")) == NULL)
            held = more(held);
        size_t head = (size_t)(end - in) + 4, body = length_of_body();
        if (room < head + body)
            grow(head + body);
        while (held < head + body)
            held = more(held);
        answer_http(head, body);
        held -= head + body;
        memmove(in, in + head + body, held);
        in[held] = '\0';
    }
}

static void serve_json(void) {
    static const char key[] = "\"body\":\"", before[] = "{\"body\":\"";
    size_t held = 0;
    for (;;) {
        char *end;
        while (held == 0 || (end = memchr(in, '\n', held)) == NULL)
            held = more(held);
        char *body = strstr(in, key);
        if (body == NULL)
            _exit(6);
        body += sizeof key - 1;
        char *tail = body;
        while (*tail != '"')
            tail += *tail == '\\' ? 2 : 1;
        memcpy(tail, "\"}\n", 3); /* there is always more of the line than this behind a body */
        send_two(before, sizeof before - 1, body, (size_t)(tail - body) + 3);
        size_t line = (size_t)(end - in) + 1;
        held -= line;
        memmove(in, in + line, held);
        in[held] = '\0';
    }
}

static void serve_once(void) {
    size_t held = 0;
    ssize_t got;
    do {
        if (held == room)
            grow(2 * room);
        got = read(0, in + held, room - held);
        held += got > 0 ? (size_t)got : 0;
    } while (got > 0);
    send_two(in, held, "", 0);
}

int main(void) {
    const char *format = getenv("FN_FORMAT");
    grow(room);
    in[0] = '\0';
    if (format != NULL && strcmp(format, "http") == 0)
        serve_http();
    if (format != NULL && strcmp(format, "json") == 0)
        serve_json();
    serve_once();
    return 0;
}
