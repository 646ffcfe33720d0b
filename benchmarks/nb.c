// SPDX-License-Identifier: Apache-2.0
// Traffic for the benchmarks: one server, one client, TCP and UDP, blocking, on CPUs that the caller chose.
//
//   nb serve ADDRESS PORT                       answer one connection at a time, and datagrams, for ever
//   nb crr|rr|stream|udp ADDRESS PORT SECONDS   ask for so long; print what happened per second
//
// crr: connect, send a request, read the response, close; the rate of those. The server closes first, as
// in HTTP/1.0, so that the client's ports are free again at once.
// rr: request and response on one connection. stream: bytes received by the server.
// udp: small datagrams received by the server, sent in bursts; it answers each burst once it has all of it, so
// that none is lost for want of room, and what is counted has arrived.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 64, CHUNK = 128 * 1024, BURST = 32, LOST_MS = 200 };

static char buffer[CHUNK];

static void fail(const char *what)
{
	fprintf(stderr, "nb: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static socklen_t parse(struct sockaddr_storage *where, const char *address, const char *port)
{
	struct sockaddr_in *four = (struct sockaddr_in *)where;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)where;
	uint16_t number = htons((uint16_t)atoi(port));

	memset(where, 0, sizeof(*where));
	if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = number;
		return sizeof(*four);
	}
	if (inet_pton(AF_INET6, address, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = number;
		return sizeof(*six);
	}
	errno = EINVAL;
	fail(address);
	return 0;
}

// Read exactly so many bytes; 0 when the other end closed before the first.
static int read_all(int fd, char *into, size_t count)
{
	size_t have = 0;

	while (have < count) {
		ssize_t got = read(fd, into + have, count - have);

		if (got == 0 && have == 0)
			return 0;
		if (got <= 0)
			return -1;
		have += (size_t)got;
	}
	return 1;
}

static void no_delay(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

// The first byte of a connection says which kind it is.
static void answer(int fd)
{
	uint64_t total = 0;
	ssize_t got;

	if (read_all(fd, buffer, MESSAGE) <= 0)
		return;
	switch (buffer[0]) {
	case 'c':
		if (write(fd, buffer, MESSAGE) < 0)
			return;
		break;
	case 'r':
		no_delay(fd);
		while (write(fd, buffer, MESSAGE) == MESSAGE && read_all(fd, buffer, MESSAGE) > 0)
			;
		break;
	case 's':
		while ((got = read(fd, buffer, CHUNK)) > 0)
			total += (uint64_t)got;
		if (write(fd, &total, sizeof(total)) < 0)
			return;
		break;
	}
}

// Answer a burst when all of it is there: a datagram says which burst it is of, and how many that has. Does not
// displace the sender, so that a burst is sent in one go where both share a CPU.
static void serve_datagrams(const struct sockaddr_storage *where, socklen_t length)
{
	struct sched_param batch = { 0 };
	int fd = socket(where->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint32_t current = 0, have = 0, words[MESSAGE / 4];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sched_setscheduler(0, SCHED_BATCH, &batch);
	if (fd < 0 || bind(fd, (const struct sockaddr *)where, length))
		fail("datagrams");
	for (;;) {
		struct sockaddr_storage from;
		socklen_t size = sizeof(from);
		ssize_t got = recvfrom(fd, words, MESSAGE, 0, (struct sockaddr *)&from, &size);

		if (got != MESSAGE)
			continue;
		if (words[0] != current) {
			current = words[0];
			have = 0;
		}
		if (++have == words[1])
			sendto(fd, words, MESSAGE, 0, (struct sockaddr *)&from, size);
	}
}

static void serve(const struct sockaddr_storage *where, socklen_t length)
{
	int on = 1, listening = socket(where->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (listening < 0)
		fail("socket");
	setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listening, (const struct sockaddr *)where, length) || listen(listening, 1024))
		fail("listen");
	if (fork() == 0)
		serve_datagrams(where, length);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int fd = accept(listening, NULL, NULL);

		if (fd < 0)
			fail("accept");
		answer(fd);
		close(fd);
	}
}

static int open_to(const struct sockaddr_storage *where, socklen_t length)
{
	int fd = socket(where->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("socket");
	if (connect(fd, (const struct sockaddr *)where, length))
		fail("connect");
	return fd;
}

static double crr(const struct sockaddr_storage *where, socklen_t length, double seconds)
{
	double begin = now(), end = begin;
	uint64_t count = 0;

	while (end - begin < seconds) {
		int fd = open_to(where, length);

		memset(buffer, 'c', MESSAGE);
		if (write(fd, buffer, MESSAGE) != MESSAGE || read_all(fd, buffer, MESSAGE) != 1)
			fail("response");
		if (read_all(fd, buffer, 1) != 0)
			fail("close");
		close(fd);
		count++;
		end = now();
	}
	return count / (end - begin);
}

static double rr(const struct sockaddr_storage *where, socklen_t length, double seconds)
{
	int fd = open_to(where, length);
	double begin, end;
	uint64_t count = 0;

	no_delay(fd);
	memset(buffer, 'r', MESSAGE);
	begin = end = now();
	while (end - begin < seconds) {
		if (write(fd, buffer, MESSAGE) != MESSAGE || read_all(fd, buffer, MESSAGE) != 1)
			fail("response");
		count++;
		end = now();
	}
	close(fd);
	return count / (end - begin);
}

static double stream(const struct sockaddr_storage *where, socklen_t length, double seconds)
{
	int fd = open_to(where, length);
	double begin = now();
	uint64_t total = 0;

	memset(buffer, 's', CHUNK);
	if (write(fd, buffer, MESSAGE) != MESSAGE)
		fail("begin");
	while (now() - begin < seconds)
		if (write(fd, buffer, CHUNK) < 0)
			fail("write");
	shutdown(fd, SHUT_WR);
	if (read_all(fd, (char *)&total, sizeof(total)) != 1)
		fail("total");
	close(fd);
	return total / (now() - begin);
}

// One burst, until it is answered: false when something of it was lost.
static int send_burst(int fd, uint32_t number)
{
	struct pollfd waiting = { .fd = fd, .events = POLLIN };
	uint32_t words[MESSAGE / 4] = { number, BURST };

	for (int i = 0; i < BURST; i++)
		if (send(fd, words, MESSAGE, 0) != MESSAGE)
			fail("send");
	do {
		if (poll(&waiting, 1, LOST_MS) == 0)
			return 0;
		if (recv(fd, words, MESSAGE, 0) != MESSAGE)
			fail("answer");
	} while (words[0] != number);
	return 1;
}

static double udp(const struct sockaddr_storage *where, socklen_t length, double seconds)
{
	int fd = socket(where->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint32_t number = (uint32_t)getpid() << 16;
	double begin = now(), end = begin;
	uint64_t count = 0;

	if (fd < 0 || connect(fd, (const struct sockaddr *)where, length))
		fail("connect");
	while (end - begin < seconds) {
		if (!send_burst(fd, ++number)) {
			fprintf(stderr, "nb: datagrams were lost\n");
			exit(1);
		}
		count += BURST;
		end = now();
	}
	close(fd);
	return count / (end - begin);
}

int main(int count, char **words)
{
	struct sockaddr_storage where;
	socklen_t length;
	double rate = 0;

	signal(SIGPIPE, SIG_IGN);
	if (count < 4) {
		fprintf(stderr, "usage: nb serve ADDRESS PORT | nb crr|rr|stream|udp ADDRESS PORT SECONDS\n");
		return 2;
	}
	length = parse(&where, words[2], words[3]);
	if (!strcmp(words[1], "serve"))
		serve(&where, length);
	if (count < 5)
		return 2;
	if (!strcmp(words[1], "crr"))
		rate = crr(&where, length, atof(words[4]));
	else if (!strcmp(words[1], "rr"))
		rate = rr(&where, length, atof(words[4]));
	else if (!strcmp(words[1], "stream"))
		rate = stream(&where, length, atof(words[4]));
	else if (!strcmp(words[1], "udp"))
		rate = udp(&where, length, atof(words[4]));
	else
		return 2;
	printf("%.3f\n", rate);
	return 0;
}
