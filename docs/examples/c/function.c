/* A hot function in C, format "http", without a library: cc -O2 -static -o function function.c
   It answers each body turned around, and one that is empty with status 400. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define HEAD 65536

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
        char *body = malloc(size + 1);
        if (body == NULL || fread(body, 1, size, stdin) != size) return 1;
        for (size_t left = 0, right = size; left + 1 < right; left++) {
            char other = body[--right];
            body[right] = body[left];
            body[left] = other;
        }
        const char *status = size > 0 ? "200 OK" : "400 Bad Request";
        all(head, (size_t)sprintf(head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n", status, size));
        all(body, size);
        free(body);
    }
    return 0;
}
