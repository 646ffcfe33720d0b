// SPDX-License-Identifier: Apache-2.0
// Sends frames to the programs by BPF_PROG_TEST_RUN, as src/cloche/datapath/testrun.py does, and has each answer
// judged.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "storm.h"

// With fewer bytes of IP header the kernel refuses the test run, and no device would hand them on.
static int is_too_short(const struct sent *sent)
{
	__u32 kind = get16(sent->frame + 12);

	return (kind == 0x0800 && sent->length < LEAST + 20) || (kind == 0x86dd && sent->length < LEAST + 40);
}

static int test_run(const struct site *site, const struct sent *sent, struct answer *answer)
{
	struct __sk_buff in = { 0 }, out = { 0 };
	union bpf_attr attr;
	__u32 ifindex = sent->by < PARTIES ? site->parties[sent->by].ifindex : site->stack_ifindex;
	enum program_kind program = sent->by < PARTIES ? PROGRAM_ENDPOINT : PROGRAM_STACK;

	in.ifindex = in.ingress_ifindex = ifindex;
	in.mark = sent->by == SENDER_HOST ? site->host_mark : 0;
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = site->programs[sent->by == SENDER_UPLINK ? PROGRAM_UPLINK : program];
	attr.test.data_in = (__u64)(unsigned long)sent->frame;
	attr.test.data_size_in = sent->length;
	attr.test.data_out = (__u64)(unsigned long)answer->frame;
	attr.test.data_size_out = sizeof(answer->frame);
	attr.test.repeat = 1;
	attr.test.ctx_in = (__u64)(unsigned long)&in;
	attr.test.ctx_size_in = sizeof(in);
	attr.test.ctx_out = (__u64)(unsigned long)&out;
	attr.test.ctx_size_out = sizeof(out);
	if (syscall(__NR_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)))
		return -1;
	answer->retval = attr.test.retval;
	answer->length = attr.test.data_size_out;
	answer->mark = out.mark;
	memcpy(answer->cb, out.cb, sizeof(answer->cb));
	return 0;
}

static void count(struct site *site, const struct sent *sent, const struct answer *answer)
{
	__u32 reason = answer->cb[0] >> 8 & 0xff, delivery = answer->cb[0] >> 16 & 0xff;

	if (sent->by == SENDER_UPLINK && answer->retval == 0xffffffffu)
		delivery = DELIVER_PASS;  // what is no IP is let on without an answer
	if (reason < REASON_COUNT && delivery < DELIVERIES)
		site->seen[reason][delivery][entry_of(sent->by)]++;
}

// What is wrong with what became of a frame.
static enum wrong send_and_judge(struct site *site, const struct sent *sent, struct answer *answer)
{
	if (sent->wait_ns)
		*site->clock += sent->wait_ns;
	if (test_run(site, sent, answer))
		return errno == EINVAL && is_too_short(sent) ? UNTRIED : KERNEL_REFUSED;
	count(site, sent, answer);
	return judge(site, sent, answer);
}

__u32 send_frame(struct site *site, const struct sent *sent, struct answer *answer)
{
	return answer->wrong = send_and_judge(site, sent, answer);
}

// Sends the variations seed, seed + 1, ... of a frame, up to the first that does what none may. Returns how many
// were sent as they should be; the last one and its answer are left. Those too short for a test run are not sent,
// and counted in *untried.
__u64 storm(struct site *site, const struct sent *base, __u64 seed, __u64 count, struct sent *sent,
	    struct answer *answer, __u32 *untried)
{
	for (__u64 number = 0; number < count; number++) {
		vary(site, base, seed + number, sent);
		if (send_frame(site, sent, answer) == UNTRIED)
			++*untried;
		else if (answer->wrong)
			return number;
	}
	return count;
}

// Of struct site, sent and answer, for whoever has them in another language.
__u64 struct_sizes(__u32 which)
{
	const __u64 sizes[] = { sizeof(struct site), sizeof(struct sent), sizeof(struct answer) };

	return which < sizeof(sizes) / sizeof(sizes[0]) ? sizes[which] : 0;
}
