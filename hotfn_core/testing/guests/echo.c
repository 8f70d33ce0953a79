/* A function in C that answers every call with the call's own body: what a benchmark of the way there and back needs.
 *
 * FN_FORMAT names the format: "http" and "json" as hotfn writes them (Content-Length, no chunks; one line of JSON),
 * "http-stream" is "http" over the unix socket that FN_LISTENER names, anything else copies stdin to stdout. Requests
 * and replies may be of any size. It exits with 0 at the end of stdin, with 1 when it cannot go on, with 2 when it does
 * not understand.
 */
#define _GNU_SOURCE /* memmem */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* What was read and not yet used: data[start..end). */
static struct {
    char *data;
    size_t start, end, size;
} in;

static void fail(int code, const char *why) {
    fprintf(stderr, "echo: %s\n", why);
    exit(code);
}

static void write_all(const char *data, size_t size) {
    while (size > 0) {
        ssize_t done = write(1, data, size);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) fail(1, strerror(errno));
        data += done;
        size -= (size_t)done;
    }
}

/* Make room for `size` bytes behind what is held. */
static void reserve(size_t size) {
    if (in.start > 0) {
        memmove(in.data, in.data + in.start, in.end - in.start);
        in.end -= in.start;
        in.start = 0;
    }
    if (in.size - in.end >= size) return;
    in.size = (in.end + size) * 2;
    in.data = realloc(in.data, in.size);
    if (in.data == NULL) fail(1, "out of memory");
}

/* Read once more; 0 at the end of stdin. */
static int fill(size_t at_least) {
    if (in.size - in.end < at_least) reserve(at_least);
    for (;;) {
        ssize_t done = read(0, in.data + in.end, in.size - in.end);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) fail(1, strerror(errno));
        in.end += (size_t)done;
        return done > 0;
    }
}

/* Wait until `mark` is held and return how many bytes there are up to its end; 0 at the end of stdin. */
static size_t until(const char *mark) {
    size_t length = strlen(mark), seen = 0;
    for (;;) {
        size_t held = in.end - in.start;
        char *found = held > seen ? memmem(in.data + in.start + seen, held - seen, mark, length) : NULL;
        if (found != NULL) return (size_t)(found - in.data) - in.start + length;
        seen = held < length ? 0 : held - length + 1;
        if (!fill(65536)) return 0;
    }
}

static void use_up(size_t size) {
    in.start += size;
    if (in.start == in.end) in.start = in.end = 0;
}

static size_t content_length(const char *head, size_t size) {
    static const char name[] = "\r\ncontent-length:";
    const char *end = head + size;
    for (const char *at = head; (at = memchr(at, '\r', (size_t)(end - at))) != NULL; at++) {
        if ((size_t)(end - at) > sizeof name && strncasecmp(at, name, sizeof name - 1) == 0)
            return strtoull(at + sizeof name - 1, NULL, 10);
    }
    return 0;
}

static void serve_http(void) {
    size_t head;
    while ((head = until("\r\n\r\n")) > 0) {
        size_t body = content_length(in.data + in.start, head);
        while (in.end - in.start < head + body)
            if (!fill(head + body - (in.end - in.start))) fail(2, "stdin ended in a body");
        char reply[64], *answer = in.data + in.start + head;
        int size = snprintf(reply, sizeof reply, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", body);
        if ((size_t)size <= head) { /* in front of the body, where the request's head was: one write, no copy */
            answer -= size;
            memcpy(answer, reply, (size_t)size);
            write_all(answer, (size_t)size + body);
        } else {
            write_all(reply, (size_t)size);
            write_all(answer, body);
        }
        use_up(head + body);
    }
}

/* Return the end of the JSON string that begins at `at`, behind its closing quote; NULL when there is none. */
static const char *string_end(const char *at, const char *end) {
    for (at++; at < end; at++) {
        if (*at == '\\') at++;
        else if (*at == '"') return at + 1;
    }
    return NULL;
}

/* Find the value of the key "body" of the outermost object: a string, with its quotes. */
static const char *body_of(const char *at, const char *end, size_t *size) {
    for (int depth = 0; at < end; at++) {
        if (*at == '{' || *at == '[') depth++;
        if (*at == '}' || *at == ']') depth--;
        if (*at != '"') continue;
        const char *behind = string_end(at, end);
        if (behind == NULL) return NULL;
        if (depth == 1 && behind - at == 6 && memcmp(at, "\"body\"", 6) == 0 && behind < end && *behind == ':') {
            const char *value = behind + 1;
            while (value < end && *value == ' ') value++;
            const char *last = value < end && *value == '"' ? string_end(value, end) : NULL;
            if (last == NULL) return NULL;
            *size = (size_t)(last - value);
            return value;
        }
        at = behind - 1;
    }
    return NULL;
}

static void serve_json(void) {
    static const char before[] = "{\"body\":", after[] = "}\n";
    size_t line;
    while ((line = until("\n")) > 0) {
        size_t size = 0;
        const char *text = in.data + in.start, *body = body_of(text, text + line, &size);
        if (body == NULL) fail(2, "this is no call in JSON");
        char *reply = malloc(sizeof before + size + sizeof after);
        if (reply == NULL) fail(1, "out of memory");
        memcpy(reply, before, sizeof before - 1);
        memcpy(reply + sizeof before - 1, body, size);
        memcpy(reply + sizeof before - 1 + size, after, sizeof after - 1);
        write_all(reply, sizeof before + sizeof after - 2 + size);
        free(reply);
        use_up(line);
    }
}

static void serve_raw(void) {
    while (fill(65536)) {
        write_all(in.data, in.end);
        in.end = 0;
    }
}

/* Listen under another name, and take the right one when that can be connected to. */
static int listen_at(const char *path) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if ((size_t)snprintf(at.sun_path, sizeof at.sun_path, "%s.new", path) >= sizeof at.sun_path)
        fail(2, "the path of the socket is too long");
    int door = socket(AF_UNIX, SOCK_STREAM, 0);
    if (door < 0 || bind(door, (struct sockaddr *)&at, sizeof at) < 0) fail(1, strerror(errno));
    if (chmod(at.sun_path, 0666) < 0 || listen(door, 8) < 0) fail(1, strerror(errno));
    if (rename(at.sun_path, path) < 0) fail(1, strerror(errno));
    return door;
}

/* Serve one connection after the other: each is stdin and stdout while it lasts. */
static void serve_http_stream(void) {
    static const char scheme[] = "unix:";
    const char *path = getenv("FN_LISTENER");
    if (path == NULL || strncmp(path, scheme, sizeof scheme - 1) != 0) fail(2, "FN_LISTENER names no unix socket");
    int door = listen_at(path + sizeof scheme - 1);
    for (;;) {
        int connection = accept(door, NULL, NULL);
        if (connection < 0) fail(1, strerror(errno));
        if (dup2(connection, 0) < 0 || dup2(connection, 1) < 0) fail(1, strerror(errno));
        close(connection);
        serve_http();
        shutdown(1, SHUT_RDWR); /* 0 and 1 stay open until the next one takes their place */
        in.start = in.end = 0;
    }
}

int main(void) {
    const char *format = getenv("FN_FORMAT");
    if (format != NULL && strcmp(format, "http") == 0) serve_http();
    else if (format != NULL && strcmp(format, "json") == 0) serve_json();
    else if (format != NULL && strcmp(format, "http-stream") == 0) serve_http_stream();
    else serve_raw();
    return 0;
}
