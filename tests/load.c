/* The two ends of the benchmark that must cost next to nothing: an echo server on epoll, as the limit, and clients.

   load serve                                  an echo server on a free port, announced on stdout
   load lines PORT CONNECTIONS SECONDS LINE    each connection sends LINE, waits for a line, and again: lines a second
   load bulk PORT MEGABYTES                    writes of 64 KiB of random bytes, read back meanwhile: MB a second
   load connect PORT SECONDS LINE              connect, send LINE, wait for a line, close, and again: times a second
   load datagrams PORT RATE COUNT SIZE         sends COUNT datagrams at RATE a second: the rate that it reached
   load chat PORT LISTENERS LINES HELLO PREFIX one client says LINES lines to all others: deliveries a second
   load steady PORT LISTENERS LINES HELLO PREFIX the same at 40 lines a second: p99 of a delivery, in ms
                                               (each client begins with HELLO, and each line with PREFIX)
*/
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 65536
#define EVENTS 256

static char chunk[CHUNK];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void check(int good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

static void send_all(int connection, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(connection, data, size, MSG_NOSIGNAL);
        check(sent >= 0, "send");
        data += sent;
        size -= sent;
    }
}

static void no_delay(int connection)
{
    int on = 1;
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int dial(int port)
{
    struct sockaddr_in address = loopback(port);
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    check(connect(connection, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    no_delay(connection);
    return connection;
}

static void watch(int epoll, int descriptor)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    check(epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0, "epoll_ctl");
}

static void serve(void)
{
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0);
    struct epoll_event events[EVENTS];

    check(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    listen(listener, 4096);
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("Server listening on 127.0.0.1:%d...\n", ntohs(address.sin_port));
    fflush(stdout);
    watch(epoll, listener);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int connection = events[i].data.fd;
            if (connection == listener) {
                connection = accept(listener, NULL, NULL);
                no_delay(connection);
                watch(epoll, connection);
                continue;
            }
            ssize_t size = recv(connection, chunk, CHUNK, 0);
            if (size > 0)
                send_all(connection, chunk, size);
            else
                close(connection);
        }
    }
}

static void lines(int port, int connections, double seconds, const char *line)
{
    int epoll = epoll_create1(0);
    size_t size = strlen(line);
    long done = 0;
    struct epoll_event events[EVENTS];
    double start = now(), end = start + seconds;

    for (int i = 0; i < connections; i++) {
        int connection = dial(port);
        watch(epoll, connection);
        send_all(connection, line, size);
    }
    start = now(), end = start + seconds;
    while (now() < end) {
        int count = epoll_wait(epoll, events, EVENTS, 1000);
        for (int i = 0; i < count; i++) {
            ssize_t got = recv(events[i].data.fd, chunk, CHUNK, 0);
            check(got > 0, "recv");
            if (chunk[got - 1] == '\n') {
                done++;
                send_all(events[i].data.fd, line, size);
            }
        }
    }
    printf("%f\n", done / (now() - start));
}

struct stream {
    int connection;
    long size;
};

static void *pour(void *argument)
{
    struct stream *stream = argument;
    for (long sent = 0; sent < stream->size; sent += CHUNK)
        send_all(stream->connection, chunk, CHUNK);
    return NULL;
}

static void bulk(int port, long megabytes)
{
    static char sink[1 << 20];
    struct stream stream = {dial(port), megabytes << 20};
    FILE *random = fopen("/dev/urandom", "r");
    pthread_t thread;
    long received = 0;

    check(random && fread(chunk, 1, CHUNK, random) == CHUNK, "/dev/urandom");
    double start = now();
    pthread_create(&thread, NULL, pour, &stream);
    while (received < stream.size) {
        ssize_t got = recv(stream.connection, sink, sizeof sink, 0);
        check(got > 0, "recv");
        received += got;
    }
    printf("%f\n", received / 1e6 / (now() - start));
}

static void connects(int port, double seconds, const char *line)
{
    long done = 0;
    double start = now();
    struct linger reset = {1, 0};

    while (now() < start + seconds) {
        int connection = dial(port);
        char last = 0;
        send_all(connection, line, strlen(line));
        while (last != '\n') {
            ssize_t got = recv(connection, chunk, CHUNK, 0);
            check(got > 0, "recv");
            last = chunk[got - 1];
        }
        shutdown(connection, SHUT_WR);
        while (recv(connection, chunk, CHUNK, 0) > 0)
            ;
        setsockopt(connection, SOL_SOCKET, SO_LINGER, &reset, sizeof reset); /* or the ports run out */
        close(connection);
        done++;
    }
    printf("%f\n", done / (now() - start));
}

static void datagrams(int port, double rate, long count, int size)
{
    struct sockaddr_in address = loopback(port);
    int sender = socket(AF_INET, SOCK_DGRAM, 0);
    double start = now();

    for (long i = 0; i < count; i++) {
        while (now() < start + i / rate)
            ;
        check(sendto(sender, chunk, size, 0, (struct sockaddr *)&address, sizeof address) == size, "sendto");
    }
    printf("%f\n", count / (now() - start));
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void chat(int port, int listeners, long lines, const char *hello, const char *prefix, double pace)
{
    int epoll = epoll_create1(0), sender = dial(port), delivered = 0, count;
    long expected = listeners * lines, sent = 0;
    double *late = calloc(expected, sizeof *late), start, begun;
    struct epoll_event events[EVENTS];
    struct rest {
        char data[512];
        size_t size;
    } *rests = calloc(listeners + 100, sizeof *rests);
    char line[512];

    snprintf(line, sizeof line, hello, 0);
    send_all(sender, line, strlen(line));
    for (int i = 1; i <= listeners; i++) {
        int connection = dial(port);
        snprintf(line, sizeof line, hello, i);
        send_all(connection, line, strlen(line));
        watch(epoll, connection);
        /* not too many at once for a short backlog, and what is said of newcomers must not pile up */
        while ((count = epoll_wait(epoll, events, EVENTS, 2)) > 0)
            for (int j = 0; j < count; j++)
                recv(events[j].data.fd, chunk, CHUNK, 0);
    }
    while ((count = epoll_wait(epoll, events, EVENTS, 700)) > 0)
        for (int j = 0; j < count; j++)
            recv(events[j].data.fd, chunk, CHUNK, 0);
    begun = start = now();
    while (delivered < expected) {
        while (sent < lines && now() >= begun + sent * pace) {
            snprintf(line, sizeof line, "%s~~%.9f hello, this is a line of a chat\n", prefix, now());
            send_all(sender, line, strlen(line));
            sent++;
            if (pace == 0 && sent % 20 == 0)
                break;
        }
        count = epoll_wait(epoll, events, EVENTS, pace > 0 ? 1 : 100);
        for (int i = 0; i < count; i++) {
            struct rest *rest = &rests[events[i].data.fd - epoll];
            memcpy(chunk, rest->data, rest->size);
            ssize_t got = recv(events[i].data.fd, chunk + rest->size, CHUNK - 1 - rest->size, 0);
            check(got > 0, "recv");
            char *at = chunk, *end, *stop = chunk + rest->size + got;
            double arrived = now();
            while ((end = memchr(at, '\n', stop - at))) {
                *end = 0;
                char *stamp = strstr(at, "~~");
                if (stamp && delivered < expected)
                    late[delivered++] = (arrived - atof(stamp + 2)) * 1000;
                at = end + 1;
            }
            rest->size = stop - at;
            memcpy(rest->data, at, rest->size);
        }
        check(now() < start + 50, "too slow");
        recv(sender, line, sizeof line, MSG_DONTWAIT);
    }
    qsort(late, expected, sizeof *late, compare);
    printf("%f\n", pace > 0 ? late[expected * 99 / 100] : expected / (now() - start));
}

int main(int count, char **words)
{
    if (count == 2 && !strcmp(words[1], "serve"))
        serve();
    else if (count == 6 && !strcmp(words[1], "lines"))
        lines(atoi(words[2]), atoi(words[3]), atof(words[4]), words[5]);
    else if (count == 4 && !strcmp(words[1], "bulk"))
        bulk(atoi(words[2]), atol(words[3]));
    else if (count == 5 && !strcmp(words[1], "connect"))
        connects(atoi(words[2]), atof(words[3]), words[4]);
    else if (count == 6 && !strcmp(words[1], "datagrams"))
        datagrams(atoi(words[2]), atof(words[3]), atol(words[4]), atoi(words[5]));
    else if (count == 7 && !strcmp(words[1], "chat"))
        chat(atoi(words[2]), atoi(words[3]), atol(words[4]), words[5], words[6], 0);
    else if (count == 7 && !strcmp(words[1], "steady"))
        chat(atoi(words[2]), atoi(words[3]), atol(words[4]), words[5], words[6], 1 / 40.0);
    else
        return 2;
    return 0;
}
