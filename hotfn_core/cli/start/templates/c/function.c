/* `answer` is the function. The rest is format "http" on stdin and stdout: cc -O2 -static -o function function.c */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define HEAD 65536

/* Write the reply to a body of `size` bytes; return its length. `reply` has room for size + 64. */
static size_t answer(const char *body, size_t size, char *reply) {
    while (size > 0 && body[size - 1] == '\n') size--;
    return (size_t)sprintf(reply, "hello %.*s\n", size ? (int)size : 5, size ? body : "world");
}

static void all(const char *data, size_t size) {
    while (size > 0) {
        ssize_t sent = write(1, data, size);
        if (sent < 0) exit(1);
        data += sent;
        size -= (size_t)sent;
    }
}

/* Read a line of a head without its end. Returns 0 at the end of the input. */
static int line(char *text) {
    size_t size = 0;
    int one;
    while ((one = getchar()) != '\n') {
        if (one == EOF) return 0;
        if (size < HEAD - 1) text[size++] = (char)one;
    }
    while (size > 0 && text[size - 1] == '\r') size--;
    text[size] = 0;
    return 1;
}

int main(void) {
    static char text[HEAD], head[128];
    while (line(text)) { /* the request line */
        size_t size = 0;
        while (line(text) && text[0])
            if (strncasecmp(text, "content-length:", 15) == 0) size = strtoul(text + 15, NULL, 10);
        char *body = malloc(size + 1), *reply = malloc(size + 64);
        if (body == NULL || reply == NULL || fread(body, 1, size, stdin) != size) return 1;
        size = answer(body, size, reply);
        all(head, (size_t)sprintf(head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", size));
        all(reply, size);
        free(body);
        free(reply);
    }
    return 0;
}
