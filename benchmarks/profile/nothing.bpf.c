/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What a test run costs by itself. */
#include "../../bpf/helpers.h"

char _license[] SEC("license") = "Dual BSD/GPL";

SEC("tc") int nothing(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}
