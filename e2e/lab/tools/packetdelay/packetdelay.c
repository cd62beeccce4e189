// packetdelay makes a slow, lossy link: it takes the packets of a netfilter queue, keeps each for a while or drops it,
// and gives them back in their order.
//
//   packetdelay QUEUE DELAY_MS JITTER_MS LOSS_PERMILLE
//
// It stands in for the kernel's netem, which many small kernels are built without. It prints `ready` once it holds the
// queue. When it ends, packets pass again as if it had never been there.
#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

// Bounds the packets in flight, as the buffer of a real link does: 16384 full packets are 0.2 s of 1 Gbit/s.
enum { HELD_MAX = 16384 };

struct held_packet {
  uint32_t id;
  int64_t release_us;
};

// The packets that wait, oldest first: a ring from `first` to `end`.
struct delayed_link {
  int64_t delay_us;
  int64_t jitter_us;
  int64_t loss_permille;
  int64_t last_release_us;
  uint64_t first;
  uint64_t end;
  struct held_packet held[HELD_MAX];
};

static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static int take_packet(struct nfq_q_handle *queue, struct nfgenmsg *message, struct nfq_data *data, void *context) {
  (void)message;
  struct delayed_link *link = context;
  uint32_t id = ntohl(nfq_get_msg_packet_hdr(data)->packet_id);
  bool lost = random() % 1000 < link->loss_permille;
  if (lost || link->end - link->first == HELD_MAX) {
    return nfq_set_verdict(queue, id, NF_DROP, 0, NULL);
  }
  int64_t release_us = now_us() + link->delay_us;
  if (link->jitter_us > 0) {
    release_us += random() % (2 * link->jitter_us + 1) - link->jitter_us;
  }
  if (release_us < link->last_release_us) {
    release_us = link->last_release_us; // a wire keeps its order
  }
  link->last_release_us = release_us;
  link->held[link->end++ % HELD_MAX] = (struct held_packet){id, release_us};
  return 0;
}

static void release_due_packets(struct nfq_q_handle *queue, struct delayed_link *link) {
  int64_t now = now_us();
  while (link->first != link->end && link->held[link->first % HELD_MAX].release_us <= now) {
    nfq_set_verdict(queue, link->held[link->first++ % HELD_MAX].id, NF_ACCEPT, 0, NULL);
  }
}

static struct timespec until_next_release(const struct delayed_link *link) {
  if (link->first == link->end) {
    return (struct timespec){.tv_sec = 1};
  }
  int64_t wait_us = link->held[link->first % HELD_MAX].release_us - now_us();
  if (wait_us < 0) {
    wait_us = 0;
  }
  return (struct timespec){.tv_sec = wait_us / 1000000, .tv_nsec = wait_us % 1000000 * 1000};
}

static int fail(const char *what) {
  fprintf(stderr, "packetdelay: %s: %s\n", what, strerror(errno));
  return 1;
}

// Reads one whole number between 0 and `max`, or ends the program with a sentence.
static int64_t number(const char *name, const char *text, long max) {
  char *rest;
  long value = strtol(text, &rest, 10);
  if (*text == '\0' || *rest != '\0' || value < 0 || value > max) {
    fprintf(stderr, "packetdelay: %s is '%s'; expected a whole number from 0 to %ld\n", name, text, max);
    exit(2);
  }
  return value;
}

int main(int argument_count, char **arguments) {
  static struct delayed_link link;
  static char buffer[65536];
  if (argument_count != 5) {
    fprintf(stderr, "usage: packetdelay QUEUE DELAY_MS JITTER_MS LOSS_PERMILLE\n");
    return 2;
  }
  uint16_t queue_number = (uint16_t)number("QUEUE", arguments[1], 65535);
  link.delay_us = number("DELAY_MS", arguments[2], 60000) * 1000;
  link.jitter_us = number("JITTER_MS", arguments[3], 60000) * 1000;
  link.loss_permille = number("LOSS_PERMILLE", arguments[4], 1000);
  srandom(queue_number); // the same faults lose the same packets of a stream, run after run

  struct nfq_handle *netfilter = nfq_open();
  struct nfq_q_handle *queue = netfilter ? nfq_create_queue(netfilter, queue_number, take_packet, &link) : NULL;
  if (!queue || nfq_set_mode(queue, NFQNL_COPY_META, 0) < 0 || nfq_set_queue_maxlen(queue, HELD_MAX) < 0) {
    return fail("cannot take the netfilter queue (does this kernel have nfnetlink_queue?)");
  }
  // Large packets stay whole, and packets pass rather than vanish when this program cannot keep up.
  uint32_t flags = NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN;
  nfq_set_queue_flags(queue, flags, flags);
  int socket_fd = nfq_fd(netfilter);
  int receive_buffer = 8 << 20;
  setsockopt(socket_fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer, sizeof receive_buffer);
  puts("ready");
  fflush(stdout);

  for (;;) {
    release_due_packets(queue, &link);
    struct timespec wait = until_next_release(&link);
    struct pollfd readable = {.fd = socket_fd, .events = POLLIN};
    if (ppoll(&readable, 1, &wait, NULL) <= 0) {
      continue;
    }
    ssize_t length = recv(socket_fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (length > 0) {
      nfq_handle_packet(netfilter, buffer, (int)length);
    } else if (length < 0 && errno != ENOBUFS && errno != EAGAIN && errno != EINTR) {
      return fail("cannot read the netfilter queue");
    }
  }
}
