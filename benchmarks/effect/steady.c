// SPDX-License-Identifier: Apache-2.0
// Steady senders between network namespaces, all in one process, each packet's fate in a shared file.
//
//   steady FILE RECORDS INTERVAL_US CPU KIND:CLIENT:SERVER:ADDRESS:PORT...
//
// KIND is udp or tcp; CLIENT and SERVER are paths of namespaces. FILE gets, for each pair in turn, RECORDS
// pairs of 64-bit numbers: when message n was sent and when it was read at the other end, in ns of
// CLOCK_MONOTONIC, 0: not. Every INTERVAL_US each pair sends one message and reads what has come. Lines on
// standard input: "reopen N" lets pair N begin a new connection, and is answered "open N" or "shut N"; the end
// of the input ends it.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 32, MESSAGE = 64, CONNECT_MS = 3000 };

struct record {
	uint64_t sent, got;
};
struct pair {
	int tcp, home_client, home_server, from, to, listener;
	struct sockaddr_in address;
	struct record *records;
	uint64_t next;
	char part[MESSAGE];
	size_t have;
};

static struct pair pairs[MOST];
static int count;
static uint64_t most;

static void fail(const char *what)
{
	fprintf(stderr, "steady: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int socket_in(int namespace, int kind)
{
	int fd;

	if (setns(namespace, CLONE_NEWNET) || (fd = socket(AF_INET, kind | SOCK_NONBLOCK, 0)) < 0)
		fail("socket in a namespace");
	return fd;
}

static void set(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)))
		fail("setsockopt");
}

static int ready(int fd, short events)
{
	struct pollfd polled = { fd, events, 0 };

	return poll(&polled, 1, CONNECT_MS) == 1;
}

// Hang up at once, so that nothing old is sent again.
static void shut(int *fd)
{
	struct linger linger = { 1, 0 };

	if (*fd < 0)
		return;
	setsockopt(*fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(*fd);
	*fd = -1;
}

// A new connection of a TCP pair; 0 when it is not made in time.
static int connect_pair(struct pair *p)
{
	int error = 0;
	socklen_t size = sizeof(error);

	shut(&p->from);
	shut(&p->to);
	p->have = 0;
	p->from = socket_in(p->home_client, SOCK_STREAM);
	set(p->from, IPPROTO_TCP, TCP_NODELAY, 1);
	if (connect(p->from, (struct sockaddr *)&p->address, sizeof(p->address)) && errno != EINPROGRESS)
		fail("connect");
	if (!ready(p->from, POLLOUT) || getsockopt(p->from, SOL_SOCKET, SO_ERROR, &error, &size) || error ||
	    !ready(p->listener, POLLIN))
		return 0;
	p->to = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK);
	return p->to >= 0;
}

static void open_pair(struct pair *p, char *text)
{
	char *kind = strtok(text, ":"), *client = strtok(NULL, ":"), *server = strtok(NULL, ":");
	char *address = strtok(NULL, ":"), *port = strtok(NULL, ":");

	if (!port)
		fail(text);
	p->tcp = !strcmp(kind, "tcp");
	p->from = p->to = p->listener = -1;
	p->home_client = open(client, O_RDONLY | O_CLOEXEC);
	p->home_server = open(server, O_RDONLY | O_CLOEXEC);
	p->address.sin_family = AF_INET;
	p->address.sin_port = htons((uint16_t)atoi(port));
	if (p->home_client < 0 || p->home_server < 0 || inet_pton(AF_INET, address, &p->address.sin_addr) != 1)
		fail(text);
	p->listener = socket_in(p->home_server, p->tcp ? SOCK_STREAM : SOCK_DGRAM);
	set(p->listener, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(p->listener, (struct sockaddr *)&p->address, sizeof(p->address)))
		fail("bind");
	if (p->tcp) {
		if (listen(p->listener, 4) || !connect_pair(p))
			fail("a connection");
		return;
	}
	p->to = p->listener;
	p->from = socket_in(p->home_client, SOCK_DGRAM);
	if (connect(p->from, (struct sockaddr *)&p->address, sizeof(p->address)))
		fail("connect");
}

// The message before "sent" is the one that is told of; a full buffer means that it was not sent.
static void send_one(struct pair *p)
{
	uint64_t message[MESSAGE / 8] = { p->next };
	ssize_t done;

	if (p->from < 0)
		return;
	p->records[p->next].sent = now();
	done = send(p->from, message, MESSAGE, MSG_NOSIGNAL);
	if (done == MESSAGE)
		p->next++;
	else
		p->records[p->next].sent = 0;
	if (done > 0 && done < MESSAGE)
		fail("a message was cut");
}

static void take(struct pair *p, const char *message)
{
	uint64_t number;

	memcpy(&number, message, sizeof(number));
	if (number < most)
		p->records[number].got = now();
}

static void read_all(struct pair *p)
{
	char buffer[64 * MESSAGE];
	ssize_t got;

	while (p->to >= 0 && (got = recv(p->to, buffer, p->tcp ? sizeof(buffer) : MESSAGE, 0)) > 0) {
		if (!p->tcp) {
			take(p, buffer);
			continue;
		}
		for (ssize_t at = 0; at < got; at++) {
			p->part[p->have++] = buffer[at];
			if (p->have == MESSAGE) {
				take(p, p->part);
				p->have = 0;
			}
		}
		set(p->to, IPPROTO_TCP, TCP_QUICKACK, 1);
	}
}

// 0: the input has ended.
static int obey(void)
{
	struct pollfd polled = { 0, POLLIN, 0 };
	char line[64];
	int number;

	if (poll(&polled, 1, 0) != 1)
		return 1;
	if (!fgets(line, sizeof(line), stdin))
		return 0;
	if (sscanf(line, "reopen %d", &number) == 1 && number >= 0 && number < count)
		printf("%s %d\n", connect_pair(&pairs[number]) ? "open" : "shut", number);
	return 1;
}

static void place(int cpu)
{
	struct sched_param priority = { .sched_priority = 1 };
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("sched_setaffinity");
	if (sched_setscheduler(0, SCHED_FIFO, &priority))
		fprintf(stderr, "steady: without real-time priority: %s\n", strerror(errno));
}

int main(int argc, char **argv)
{
	struct timespec next;
	uint64_t interval;
	size_t size;
	int fd;

	if (argc < 6 || argc - 5 > MOST) {
		fprintf(stderr, "usage: steady FILE RECORDS INTERVAL_US CPU KIND:CLIENT:SERVER:ADDRESS:PORT...\n");
		return 2;
	}
	most = strtoull(argv[2], NULL, 10);
	interval = strtoull(argv[3], NULL, 10) * 1000;
	count = argc - 5;
	size = (size_t)count * most * sizeof(struct record);
	fd = open(argv[1], O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)size))
		fail(argv[1]);
	pairs[0].records = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (pairs[0].records == MAP_FAILED)
		fail(argv[1]);
	setvbuf(stdout, NULL, _IOLBF, 0);
	setvbuf(stdin, NULL, _IONBF, 0);
	for (int n = 0; n < count; n++) {
		pairs[n].records = pairs[0].records + (size_t)n * most;
		open_pair(&pairs[n], argv[5 + n]);
	}
	place(atoi(argv[4]));
	puts("ready");
	clock_gettime(CLOCK_MONOTONIC, &next);
	while (obey()) {
		for (int n = 0; n < count; n++) {
			if (pairs[n].next >= most) {
				errno = ENOSPC;
				fail("records");
			}
			send_one(&pairs[n]);
			read_all(&pairs[n]);
		}
		next.tv_nsec += (long)interval;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	for (int n = 0; n < count; n++)
		read_all(&pairs[n]);
	return 0;
}
