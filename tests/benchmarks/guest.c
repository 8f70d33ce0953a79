/* The function of the benchmarks: an echo that costs as little as an echo can, so that what is measured is the caller.
 *
 * FN_FORMAT=http: one HTTP/1.1 request after another on stdin, each with a Content-Length, each body sent back.
 * Otherwise: stdin to its end, sent back once. Any surprise ends it with a status of its own.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { ROOM = 1 << 20 };
static char in[ROOM + 1], out[ROOM + 128];

static void send_all(const char *data, size_t left) {
    while (left > 0) {
        ssize_t sent = write(1, data, left);
        if (sent <= 0)
            _exit(2);
        data += sent;
        left -= (size_t)sent;
    }
}

static size_t more(size_t held) {
    ssize_t got = held < ROOM ? read(0, in + held, ROOM - held) : -1;
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

static void serve_http(void) {
    size_t held = 0;
    for (;;) {
        char *end;
        while (held == 0 || (end = strstr(in, "\r\n\r\n")) == NULL)
            held = more(held);
        size_t head = (size_t)(end - in) + 4, body = length_of_body();
        while (held < head + body)
            held = more(held);
        int start = sprintf(out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", body);
        memcpy(out + start, in + head, body);
        send_all(out, (size_t)start + body);
        held -= head + body;
        memmove(in, in + head + body, held);
        in[held] = '\0';
    }
}

static void serve_once(void) {
    size_t held = 0;
    ssize_t got;
    while ((got = read(0, in + held, ROOM - held)) > 0)
        held += (size_t)got;
    send_all(in, held);
}

int main(void) {
    const char *format = getenv("FN_FORMAT");
    if (format != NULL && strcmp(format, "http") == 0)
        serve_http();
    serve_once();
    return 0;
}
