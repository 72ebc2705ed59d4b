/*
 * link.c: a long link between two network devices that it makes.
 *
 *   link NEAR AWAY DELAY_MS MBIT QUEUE_BYTES
 *
 * Makes the tun devices NEAR and AWAY, says "ready", and carries each one's
 * packets to the other: MBIT a second and direction, DELAY_MS later.  What
 * finds more than QUEUE_BYTES before it is dropped, as a router does.  Ends,
 * and the devices with it, when its standard input is closed.
 *
 * The kernel's netem does the same, where a kernel has it.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define PACKET_BYTES  2048         /* above the devices' MTU of 1500 */
#define RING          8192         /* packets: 12 MB, above any queue here */
#define NS            1000000000LL


typedef struct {
    int64_t  due;
    int      len;
    char     data[PACKET_BYTES];
} link_packet_t;


/* From one device to the other. */
typedef struct {
    int            from, to;
    int64_t        free;           /* when the wire has sent what it has */
    unsigned       head, tail;     /* of the ring, oldest and next */
    link_packet_t  ring[RING];
} link_way_t;


static int64_t  link_delay, link_byte_ps, link_queue;


static void
link_die(const char *what)
{
    fprintf(stderr, "link: %s: %s\n", what, strerror(errno));
    exit(1);
}


static int64_t
link_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return ts.tv_sec * NS + ts.tv_nsec;
}


static int
link_device(const char *name)
{
    int           fd;
    struct ifreq  ifr;

    fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    if (fd == -1) {
        link_die("/dev/net/tun");
    }

    memset(&ifr, 0, sizeof(ifr));
    ifr.ifr_flags = IFF_TUN | IFF_NO_PI;
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);

    if (ioctl(fd, TUNSETIFF, &ifr) == -1) {
        link_die(name);
    }

    return fd;
}


/* Takes in what the device has sent. */
static void
link_take(link_way_t *way, int64_t now)
{
    int64_t         waits;
    link_packet_t  *p;

    for ( ;; ) {
        p = &way->ring[way->tail % RING];
        p->len = read(way->from, p->data, PACKET_BYTES);

        if (p->len <= 0) {
            return;
        }

        if (way->free < now) {
            way->free = now;
        }

        waits = (way->free - now) * 1000 / link_byte_ps;

        if (waits + p->len > link_queue || way->tail - way->head == RING - 1) {
            continue;
        }

        way->free += p->len * link_byte_ps / 1000;
        p->due = way->free + link_delay;
        way->tail++;
    }
}


/* Hands over what has arrived; when the next will have. */
static int64_t
link_give(link_way_t *way, int64_t now)
{
    link_packet_t  *p;

    for ( /* void */ ; way->head != way->tail; way->head++) {
        p = &way->ring[way->head % RING];

        if (p->due > now) {
            return p->due;
        }

        if (write(way->to, p->data, p->len) == -1 && errno == EIO) {
            continue;                       /* the device is not up yet */
        }
    }

    return INT64_MAX;
}


static void
link_run(link_way_t *there, link_way_t *back)
{
    int64_t          now, next, other;
    struct pollfd    fds[3] = {
        { there->from, POLLIN, 0 }, { back->from, POLLIN, 0 },
        { STDIN_FILENO, POLLIN, 0 }
    };
    struct timespec  ts, *wait;

    for ( ;; ) {
        now = link_now();
        next = link_give(there, now);
        other = link_give(back, now);
        next = other < next ? other : next;
        wait = NULL;

        if (next != INT64_MAX) {
            ts.tv_sec = (next - now) / NS;
            ts.tv_nsec = (next - now) % NS;
            wait = &ts;
        }

        if (ppoll(fds, 3, wait, NULL) == -1 && errno != EINTR) {
            link_die("poll");
        }

        if (fds[2].revents) {
            return;
        }

        now = link_now();
        link_take(there, now);
        link_take(back, now);
    }
}


int
main(int argc, char **argv)
{
    link_way_t  *there, *back;

    if (argc != 6) {
        fprintf(stderr, "usage: link NEAR AWAY DELAY_MS MBIT QUEUE_BYTES\n");
        return 2;
    }

    there = calloc(1, sizeof(link_way_t));
    back = calloc(1, sizeof(link_way_t));

    if (there == NULL || back == NULL) {
        link_die("memory");
    }

    link_delay = atoll(argv[3]) * 1000000;
    link_byte_ps = 8000000 / atoll(argv[4]);
    link_queue = atoll(argv[5]);

    there->from = back->to = link_device(argv[1]);
    back->from = there->to = link_device(argv[2]);

    puts("ready");
    fflush(stdout);

    link_run(there, back);

    return 0;
}
